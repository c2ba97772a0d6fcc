"""A scene averaged to the pixel size that a model was trained on, and its probabilities resampled back."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import OptionError
from geocloud.tiling.average import average
from geocloud.tiling.blend import ReadRows, Strip

FINE_ENOUGH = 20.0
"""Pixel size in metres from which a scene is not resampled, whatever the model was trained on."""

ROWS = 64
"""Coarse rows that are averaged at once."""


def find_factor(
    pixel_size: tuple[float, float] | None, trained: float | None, wanted: float | str | None = None
) -> int:
    """The factor by which a scene is downsampled for the model: factor × factor pixels are averaged into one.

    Args:
        pixel_size: (height, width) of the scene's pixels in metres; None: unknown.
        trained: Pixel size in metres that the model was trained on; None: any.
        wanted: Pixel size in metres that the user asks for, or "native" for no resampling; None: by the other two.

    Raises:
        OptionError: ``wanted`` is not a length, or the scene's pixel size is unknown.
    """
    if wanted == "native":
        return 1
    if wanted is not None:
        try:
            metres = float(wanted)
        except ValueError:
            metres = math.nan
        if not (math.isfinite(metres) and metres > 0):
            raise OptionError(f"working resolution {wanted}: wanted metres above 0, or native")
        if pixel_size is None:
            raise OptionError("a working resolution in metres needs a scene whose CRS is known, and this one has none")
        return max(1, round(metres / max(pixel_size)))
    if pixel_size is None or trained is None or max(pixel_size) >= FINE_ENOUGH:
        return 1
    return max(1, round(trained / max(pixel_size)))


class Coarse:
    """A scene of ``height`` × ``width`` pixels, downsampled by ``factor``.

    `read` averages the valid pixels. `enlarge` brings the probabilities back to the scene's own pixels (bilinear), NaN
    where the scene has no data. Both go through the rows from top to bottom, once.
    """

    def __init__(self, read: ReadRows, height: int, width: int, factor: int) -> None:
        self._read, self._height, self._width, self.factor = read, height, width, factor
        self._valid: deque[NDArray[np.bool_]] = deque()

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in coarse pixels; the last ones may extend beyond the scene."""
        return -(-self._height // self.factor), -(-self._width // self.factor)

    def read(self, first: int, out: NDArray[np.float32]) -> None:
        """Fills ``(4, rows, width)`` with coarse pixels from row ``first`` on; see `ReadRows`."""
        for start in range(0, out.shape[1], ROWS):
            stop = min(start + ROWS, out.shape[1])
            top, bottom = (first + start) * self.factor, min((first + stop) * self.factor, self._height)
            fine = np.full((4, (stop - start) * self.factor, out.shape[2] * self.factor), np.nan, "float32")
            inside = fine[:, : bottom - top, : self._width]
            self._read(top, inside)
            self._valid.append(~np.isnan(inside[0]))
            bands = 3 if np.isnan(inside[3]).all() else 4
            out[:bands, start:stop] = average(fine[:bands], self.factor)
            out[bands:, start:stop] = np.nan

    def enlarge(self, strips: Iterable[Strip]) -> Iterator[Strip]:
        """Probabilities of coarse pixels → those of the scene's own pixels, strip by strip from top to bottom."""
        rows = self.shape[0]
        kept: NDArray[np.float32] | None = None
        done = top = 0  # rows already yielded; coarse row at which `kept` begins
        for strip in strips:
            kept = strip.probability if kept is None else np.concatenate([kept, strip.probability], 1)
            below = top + kept.shape[1]
            # The last coarse row waits for the one below it, from which `_spread` fills its gaps.
            end = self._height if below == rows else max(done, math.floor((below - 1.5) * self.factor))
            if end > done:
                fine = self._interpolate(_spread(kept), top, done, end)
                np.copyto(fine, np.nan, where=~self._pop_valid(end - done))
                yield Strip(done, fine)
                done = end
            first = min(max(math.floor((done + 0.5) / self.factor - 0.5) - 1, top), below - 1)
            kept, top = kept[:, first - top :], first

    def _interpolate(self, coarse: NDArray[np.float32], top: int, first: int, last: int) -> NDArray[np.float32]:
        """Rows ``first`` to ``last`` (exclusive) of the scene from coarse rows, the first of which is row ``top``."""
        classes, count, cols = coarse.shape
        at = np.clip((np.arange(first, last) + 0.5) / self.factor - 0.5 - top, 0, count - 1)
        above = np.minimum(at.astype(int), max(count - 2, 0))
        share = (at - above).astype("float32")[:, None]
        below = np.minimum(above + 1, count - 1)
        tall = coarse[:, above] * (1 - share) + coarse[:, below] * share  # (classes, rows, cols)
        padded = np.pad(tall, ((0, 0), (0, 0), (1, 1)), "edge")
        fine = np.empty((classes, last - first, cols * self.factor), "float32")
        for phase in range(self.factor):
            offset = (phase + 0.5) / self.factor - 0.5
            left = 0 if offset < 0 else 1  # the padded column to the left of it
            weight = np.float32(offset + 1 if offset < 0 else offset)
            fine[:, :, phase :: self.factor] = (
                padded[:, :, left : left + cols] * (1 - weight) + padded[:, :, left + 1 : left + 1 + cols] * weight
            )
        return fine[:, :, : self._width]

    def _pop_valid(self, rows: int) -> NDArray[np.bool_]:
        parts = []
        while rows:
            part = self._valid.popleft()
            if len(part) > rows:
                self._valid.appendleft(part[rows:])
                part = part[:rows]
            parts.append(part)
            rows -= len(part)
        return np.concatenate(parts)


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
