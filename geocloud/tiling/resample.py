"""Scenes averaged to the pixel size that a model was trained on, and their probabilities interpolated back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import OptionError
from geocloud.tiling.average import average_rows, coarse_size
from geocloud.tiling.blend import ReadRows, RowQueue, Strip

Factors = tuple[float, float]
"""Ratios (height, width) of the pixels that a model sees to those of the scene, each at least 1."""

NATIVE: Factors = (1.0, 1.0)
"""The model sees the scene's own pixels."""

SIMILAR = 1.1
"""Ratio of pixel sizes below which a scene is not resampled."""

FINEST = 1e-3
"""Smallest accepted pixel size in metres."""

ROWS = 64
"""Coarse rows that are averaged at once."""


def find_factors(
    pixel_size: tuple[float, float] | None, trained: float | None, wanted: float | str | None = None
) -> Factors:
    """Find by how much a scene is downsampled for a model: to exactly its pixel size, if the scene is finer.

    Args:
        pixel_size: (height, width) of the scene's pixels in metres; None: unknown.
        trained: Pixel size in metres that the model was trained on; None: any.
        wanted: Pixel size in metres that the user asks for, or "native" for no resampling; None: ``trained``.

    Raises:
        OptionError: ``wanted`` is not a length, or the scene's pixel size is unknown or too small to be one.
    """
    if wanted == "native":
        return NATIVE
    metres = trained
    if wanted is not None:
        try:
            metres = float(wanted)
        except ValueError:
            metres = math.nan
        if not (math.isfinite(metres) and metres > 0):
            raise OptionError(f"working resolution {wanted}: wanted metres above 0, or native")
        if pixel_size is None:
            raise OptionError("a working resolution in metres needs a known pixel size: state it, --pixel-size METRES")
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

    `read` averages the valid pixels, weighted by area. `enlarge` brings the probabilities back to the scene's own
    pixels (bilinear), NaN where the scene has no data. Both go through the rows from top to bottom, once.
    """

    def __init__(self, read: ReadRows, height: int, width: int, factors: Factors) -> None:
        self._read, self._height, self._width, self.factors = read, height, width, factors
        self._valid = RowQueue()
        self._shared = np.empty((4, 0, width), "float32")  # the last row read, if the next coarse row covers part of it

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in coarse pixels; the last ones may extend beyond the scene."""
        return coarse_size(self._height, self.factors[0]), coarse_size(self._width, self.factors[1])

    def read(self, first: int, out: NDArray[np.float32]) -> None:
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
        """Probabilities of coarse pixels → those of the scene's own pixels, strip by strip from top to bottom."""
        rows = self.shape[0]
        kept: NDArray[np.float32] | None = None
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

    def _interpolate(self, coarse: NDArray[np.float32], top: int, first: int, last: int) -> NDArray[np.float32]:
        """Rows ``first`` to ``last`` (exclusive) of the scene from coarse rows, the first of which is row ``top``."""
        down, across = self.factors
        above, share = _places(np.arange(first, last), down, top, coarse.shape[1])
        tall = _between(coarse, 1, above, share[:, None])
        left, share = _places(np.arange(self._width), across, 0, coarse.shape[2])
        return _between(tall, 2, left, share)


def _places(
    fine: NDArray[np.integer], factor: float, start: int, count: int
) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    """Positions of fine pixels between the centres of ``count`` coarse ones: index of the one before, and distance."""
    at = np.clip((fine + 0.5) / factor - 0.5 - start, 0, count - 1)
    before = np.minimum(at.astype(int), max(count - 2, 0))
    return before, (at - before).astype("float32")


def _between(
    values: NDArray[np.float32], axis: int, before: NDArray[np.integer], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Values ``(classes, rows, cols)`` interpolated linearly along an axis."""
    after = np.minimum(before + 1, values.shape[axis] - 1)
    result = values.take(before, axis)
    step = values.take(after, axis)
    step -= result
    step *= share
    result += step
    return result


def _spread(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fills pixels without data with the mean of their valid neighbours (of eight), or 0 where there is none."""
    gaps = np.isnan(coarse[0])
    if not gaps.any():
        return coarse
    height, width = gaps.shape
    padded = np.pad(coarse, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    around = np.stack([padded[:, i : i + height, j : j + width][:, gaps] for i in range(3) for j in range(3)])
    known = np.isfinite(around).sum(0)
    spread = coarse.copy()
    spread[:, gaps] = np.where(known > 0, np.nansum(around, 0) / np.maximum(known, 1), 0)
    return spread
