"""Resampling: scenes are averaged to the pixel size of a model, and probabilities interpolated back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import OptionError
from geocloud.tiling.tiles import ReadRows, RowQueue, Strip

Floats = NDArray[np.float32]

Factors = tuple[float, float]
"""Ratios (height, width) of the pixel size of a model's input to that of the scene, each at least 1."""

NATIVE: Factors = (1.0, 1.0)
"""Factors without resampling."""

COARSEST = 300.0
"""Largest accepted pixel size in metres; clouds are unresolved beyond it."""

ROUNDING = 1e-6
"""Tolerance in pixels for the rounding error of a ratio of pixel sizes."""

SIMILAR = 1.1  # ratio of pixel sizes below which a scene is not resampled
FINEST = 1e-3  # smallest accepted pixel size in metres
ROWS = 64  # coarse rows that are averaged at once


def find_factors(
    pixel_size: tuple[float, float] | None, trained: float | None, wanted: float | str | None = None
) -> Factors:
    """Factors by which a scene is downsampled to the pixel size of a model; 1 if the scene is not finer.

    ``pixel_size`` (height, width) is the scene's in metres, None: unknown; ``trained`` is the model's, None: any;
    ``wanted`` replaces ``trained``, "native": no resampling. Raises OptionError for invalid or missing sizes.
    """
    if wanted == "native":
        return NATIVE
    metres = trained
    if wanted is not None:
        try:
            metres = float(wanted)
        except ValueError:
            metres = math.nan
        if not 0 < metres <= COARSEST:
            raise OptionError(f"working resolution {wanted}: wanted metres above 0, at most {COARSEST:g}, or native")
        if pixel_size is None:
            raise OptionError("a working resolution in metres needs a known pixel size: state it, pixel_size=METRES")
    if pixel_size is None or metres is None:
        return NATIVE
    if not min(pixel_size) >= FINEST:
        raise OptionError(
            f"pixel size {min(pixel_size):g} m: wanted at least {FINEST:g}; is the CRS in other units than its pixels?"
        )
    height, width = (ratio if (ratio := metres / size) >= SIMILAR else 1.0 for size in pixel_size)
    return height, width


class Coarse:
    """A scene of ``height`` × ``width`` pixels, downsampled by ``factors``.

    `read` averages the valid pixels, weighted by area. `enlarge` interpolates probabilities to the scene's own
    pixels (bilinear), NaN where the scene has no data. Both process the rows once, from top to bottom.
    """

    def __init__(self, read: ReadRows, height: int, width: int, factors: Factors) -> None:
        self._read, self._height, self._width, self.factors = read, height, width, factors
        self._valid = RowQueue()
        self._shared = np.empty((4, 0, width), "float32")  # the last row read, if the next coarse row covers part of it

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in coarse pixels; the last ones may extend beyond the scene."""
        return coarse_size(self._height, self.factors[0]), coarse_size(self._width, self.factors[1])

    def read(self, first: int, out: Floats) -> None:
        """Fills ``(4, rows, width)`` with coarse pixels from row ``first`` on; see `ReadRows`."""
        for start in range(0, out.shape[1], ROWS):
            rows = first + start, first + min(start + ROWS, out.shape[1])
            edges = [rows[0] * self.factors[0], rows[1] * self.factors[0]]
            top, bottom = math.floor(edges[0] + 1e-6), min(math.ceil(edges[1] - 1e-6), self._height)
            shared = self._shared.shape[1]
            fine = np.empty((4, bottom - top, self._width), "float32")
            fine[:, :shared] = self._shared
            self._read(top + shared, fine[:, shared:])
            self._valid.put(~np.isnan(fine[0, shared:]))
            self._shared = fine[:, math.floor(edges[1] + 1e-6) - top :].copy()
            bands = 3 if np.isnan(fine[3]).all() else 4
            part = slice(start, start + rows[1] - rows[0])
            out[:bands, part] = average_rows(fine[:bands], self.factors, rows, out.shape[2], top)
            out[bands:, part] = np.nan

    def enlarge(self, strips: Iterable[Strip]) -> Iterator[Strip]:
        """Probabilities of coarse pixels → probabilities of the scene's own pixels, in strips from top to bottom."""
        rows = self.shape[0]
        kept: Floats | None = None
        done = top = 0  # rows already yielded; coarse row at which `kept` begins
        for strip in strips:
            kept = strip.probability if kept is None else np.concatenate([kept, strip.probability], 1)
            below = top + kept.shape[1]
            # The last coarse row waits for the one below it, from which `_spread` fills its gaps.
            end = self._height if below == rows else max(done, math.floor((below - 1.5) * self.factors[0]))
            if end > done:
                fine = self._interpolate(_spread(kept), top, done, end)
                np.copyto(fine, np.nan, where=~self._valid.take(end - done))
                yield Strip(done, fine)
                done = end
            first = min(max(math.floor((done + 0.5) / self.factors[0] - 0.5) - 1, top), below - 1)
            kept, top = kept[:, first - top :], first

    def _interpolate(self, coarse: Floats, top: int, first: int, last: int) -> Floats:
        """Rows ``first`` to ``last`` (exclusive) of the scene from coarse rows, the first of which is row ``top``."""
        down, across = self.factors
        above, share = _places(np.arange(first, last), down, top, coarse.shape[1])
        tall = _between(coarse, 1, above, share[:, None])
        left, share = _places(np.arange(self._width), across, 0, coarse.shape[2])
        return _between(tall, 2, left, share)


def _places(fine: NDArray[np.integer], factor: float, start: int, count: int) -> tuple[NDArray[np.integer], Floats]:
    """Positions of fine pixels among ``count`` coarse ones: index of the previous coarse pixel, and distance to it."""
    at = np.clip((fine + 0.5) / factor - 0.5 - start, 0, count - 1)
    before = np.minimum(at.astype(int), max(count - 2, 0))
    return before, (at - before).astype("float32")


def _between(values: Floats, axis: int, before: NDArray[np.integer], share: Floats) -> Floats:
    """Values ``(classes, rows, cols)`` interpolated linearly along an axis."""
    after = np.minimum(before + 1, values.shape[axis] - 1)
    result = values.take(before, axis)
    step = values.take(after, axis)
    step -= result
    step *= share
    result += step
    return result


def _spread(coarse: Floats) -> Floats:
    """Fills pixels without data with the mean of their valid neighbours (of eight), or 0 if there are none."""
    gaps = np.isnan(coarse[0])
    if not gaps.any():
        return coarse
    height, width = gaps.shape
    padded = np.pad(coarse, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    neighbours = np.stack([padded[:, i : i + height, j : j + width][:, gaps] for i in range(3) for j in range(3)])
    known = np.isfinite(neighbours).sum(0)
    spread = coarse.copy()
    spread[:, gaps] = np.where(known > 0, np.nansum(neighbours, 0) / np.maximum(known, 1), 0)
    return spread


def average(fine: Floats, factor: float) -> Floats:
    """Averages an image to pixels ``factor`` ≥ 1 times as large, weighted by overlapping area.

    ``(bands, h, w)``, NaN where there is no data → ``(bands, ceil(h / factor), ceil(w / factor))``: means over the
    valid part of each pixel, NaN where nothing is valid. The last row and column may extend beyond the image.
    """
    rows, cols = (coarse_size(size, factor) for size in fine.shape[1:])
    return average_rows(fine, (factor, factor), (0, rows), cols)


def coarse_size(size: int, factor: float) -> int:
    """Number of pixels ``factor`` times as large that cover ``size`` pixels."""
    return math.ceil(size / factor - ROUNDING)


def average_rows(
    fine: Floats, factors: tuple[float, float], rows: tuple[int, int], cols: int, start: int = 0
) -> Floats:
    """Averages an image to the coarse rows ``rows[0]`` to ``rows[1]`` (exclusive).

    ``factors`` are the ratios of the pixels' heights and widths; the first row of ``fine`` is row ``start`` of the
    image.
    """
    total = _sums(fine, factors, rows, cols, start)
    area = _sums(np.ones((1, fine.shape[1], 1), "float32"), (factors[0], 1), rows, 1, start)
    area = area * _sums(np.ones((1, 1, fine.shape[2]), "float32"), (1, factors[1]), (0, 1), cols, 0)
    gaps = np.isnan(total)
    if gaps.any():
        valid = ~np.isnan(fine)
        total = _sums(np.where(valid, fine, np.float32(0)), factors, rows, cols, start)
        area = _sums(valid.astype("float32"), factors, rows, cols, start)
        total[area <= ROUNDING] = np.nan
    total /= np.maximum(area, ROUNDING)
    return total


def _sums(values: Floats, factors: tuple[float, float], rows: tuple[int, int], cols: int, start: int) -> Floats:
    tall = _sum(values, 1, factors[0], rows, start)
    return _sum(tall, 2, factors[1], (0, cols), 0)


def _sum(values: Floats, axis: int, factor: float, coarse: tuple[int, int], start: int) -> Floats:
    """Sums values along an axis over each coarse pixel, weighted by the fraction of the value that lies inside it."""
    edges = np.arange(coarse[0], coarse[1] + 1) * factor - start
    edges = np.where(np.abs(edges - np.rint(edges)) < ROUNDING * np.maximum(1, edges), np.rint(edges), edges)
    first, size = np.floor(edges[:-1]).astype(int), values.shape[axis]
    before, along = (slice(None),) * axis, (-1,) + (1,) * (values.ndim - 1 - axis)
    total: Floats | None = None
    for step in range(math.ceil(factor) + 1):
        at = first + step
        weight = np.minimum(edges[1:], at + 1) - np.maximum(edges[:-1], at)
        weight = np.where(at < size, np.maximum(weight, 0), 0).astype("float32")
        if not weight.any():
            continue
        if (weight == 1).all() and factor == int(factor):  # five times as fast
            part = values[(*before, slice(at[0], at[-1] + 1, int(factor)))]
        else:
            part = values.take(np.minimum(at, size - 1), axis) * weight.reshape(along)
        total = part.copy() if total is None else np.add(total, part, out=total)
    assert total is not None, "each coarse pixel covers part of the image"
    return total
