"""Blends the predictions of overlapping tiles into rows of the scene; memory does not grow with the scene's height."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geocloud.tiling.tiles import Tile, TileGrid

ReadRows = Callable[[int, NDArray[np.float32]], None]
"""Fills an array ``(4, rows, width)`` with a scene's reflectance from a row on, NaN where there is no data. Rows are
requested from top to bottom, each once."""


class Predict(Protocol):
    """A model: a function on batches of tiles, with the attributes that its callers need."""

    name: str
    """Name in messages and in the tags of results."""
    threshold: float
    """Pixels with a higher probability of cloud are cloud."""
    shadow_threshold: float
    """Pixels with a higher probability of shadow, the second class, are shadow."""
    pixel_size: float | None
    """Pixel size in metres that it was trained on; None: any."""
    optional_nir: bool
    """True if near-infrared may be missing: NaN over the whole image."""
    classes: int
    """Number of probabilities that it returns: 1 cloud, 2 cloud and shadow."""
    batch: int
    """Tiles per call."""
    workers: int
    """Number of threads that may call it at the same time."""

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``.

        H and W are multiples of 32.
        """
        ...


class RowQueue:
    """Rows of an image ``(rows, width)``, put in and taken out in order, by other numbers."""

    def __init__(self) -> None:
        self._parts: deque[NDArray[Any]] = deque()

    def put(self, rows: NDArray[Any]) -> None:
        """Adds the next rows."""
        self._parts.append(rows)

    def take(self, count: int) -> NDArray[Any]:
        """Takes out the next ``count`` rows."""
        parts = []
        while count:
            part = self._parts.popleft()
            if len(part) > count:
                self._parts.appendleft(part[count:])
            parts.append(part[:count])
            count -= len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class TileRow:
    """One row of tiles with its pixels."""

    first: Tile
    """The one on the left."""
    reflectance: NDArray[np.float32]
    """``(4, tile_height, reach)``, NaN where there is no data; mirrored where tiles extend beyond the scene."""


def tile_rows(grid: TileGrid, read: ReadRows) -> Iterator[TileRow]:
    """A scene's rows of tiles, from top to bottom; each pixel is read once.

    The rows share one array: each is valid until the next one is requested.
    """
    height, shift = grid.tile_height, grid.shift
    reflectance = np.empty((4, height, grid.reach), "float32")
    columns = shift + np.pad(np.arange(grid.width), (shift, grid.reach - shift - grid.width), "symmetric")
    aside = np.r_[:shift, shift + grid.width : grid.reach]
    first = 0
    for row in range(grid.rows):
        tile = grid.row(row)[0]
        top = int(tile.read.row_off)
        last = min(top + height, grid.height)
        if row:
            reflectance[:, : grid.overlap] = reflectance[:, height - grid.overlap :]
        fresh = reflectance[:, first - top : last - top]
        read(first, fresh[:, :, shift : shift + grid.width])
        fresh[:, :, aside] = fresh[:, :, columns[aside]]
        above, below = max(-top, 0), top + height - last
        if above or below:
            rows = above + np.pad(np.arange(height - above - below), (above, below), "symmetric")
            outside = np.r_[:above, height - below : height]
            reflectance[:, outside] = reflectance[:, rows[outside]]
        yield TileRow(tile, reflectance)
        first = last


@dataclass(frozen=True, slots=True)
class Strip:
    """Finished rows of the scene."""

    first_row: int
    """Row of the scene at which they begin."""
    probability: NDArray[np.float32]
    """``(class, rows, width)`` in [0, 1], NaN where there is no data."""


def blend(grid: TileGrid, rows: Iterable[TileRow], predict: Predict, classes: int = 1) -> Iterator[Strip]:
    """Predicts every tile and blends the overlaps; only the first ``classes`` probabilities are kept.

    The weights of all tiles at a pixel sum to one, see `TileGrid`. A row takes no more tiles than cover its data, and
    halves of a tile (upper, lower, left, right) without data are cut off before the model sees it.
    """
    height, shift = grid.tile_height, grid.shift

    def ask(reflectance: NDArray[np.float32], group: list[_Part]) -> NDArray[np.float32]:
        return predict(_stack(reflectance, group))

    canvas = np.zeros((classes, height, grid.reach), "float32")  # weighted sums of probabilities
    with ThreadPoolExecutor(predict.workers) as pool:
        for row, tile_row in enumerate(rows):
            top = int(tile_row.first.read.row_off)
            valid = ~np.isnan(tile_row.reflectance[0])
            valid[: max(-top, 0)] = valid[grid.height - top :] = False  # mirrored rows are not the scene
            valid[:, :shift] = valid[:, shift + grid.width :] = False
            parts = list(_parts_with_data(grid, valid))
            down = grid.row_weights(row)[:, None]
            groups = list(_groups(parts, predict.batch))
            answers = pool.map(partial(ask, tile_row.reflectance), groups)
            for group, answer in zip(groups, answers, strict=True):
                for part, probability in zip(group, answer, strict=True):
                    weighted = down[part.rows] * probability[:classes]
                    weighted *= part.weights
                    canvas[:, part.rows, part.cols] += weighted
            write = tile_row.first.write
            done = slice(int(write.row_off) - top, int(write.row_off) - top + int(write.height))
            inside = slice(shift, shift + grid.width)
            strip = canvas[:, done, inside].copy()
            np.copyto(strip, np.nan, where=~valid[done, inside])
            yield Strip(int(write.row_off), strip)
            del strip  # what is not released lies beside the next row of tiles
            canvas[:, : grid.overlap] = canvas[:, grid.step :]
            canvas[:, grid.overlap :] = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a tile that is predicted."""

    rows: slice
    """The part's pixel rows in its row of tiles."""
    cols: slice
    """The part's pixel columns in its row of tiles."""
    weights: NDArray[np.float32]
    """The part's weight in each of these columns."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start


def _parts_with_data(grid: TileGrid, valid: NDArray[np.bool_]) -> Iterator[_Part]:
    """The parts of a row of tiles that cover its data, given where that is: ``(tile_height, reach)``."""
    some = np.flatnonzero(valid.any(0))
    if not some.size:
        return
    starts = grid.starts(int(some[0]), int(some[-1]) + 1)
    for col, start in enumerate(starts):
        inside = valid[:, start : start + grid.tile_width]
        if inside.any():
            top, bottom = _extent(np.any(inside, axis=1))
            left, right = _extent(np.any(inside, axis=0))
            weights = grid.col_weights(col, len(starts))[left:right]
            yield _Part(slice(top, bottom), slice(start + left, start + right), weights)


def _extent(some: NDArray[np.bool_]) -> tuple[int, int]:
    """First and last index (exclusive) of the True values, extended to whole halves (multiples of 32 pixels).

    No tighter, as every further input shape costs the network time and memory.
    """
    where = np.flatnonzero(some)
    unit = 32 * math.ceil(some.size / 64)
    return int(where[0]) // unit * unit, min(math.ceil((int(where[-1]) + 1) / unit) * unit, some.size)


def _groups(parts: list[_Part], most: int) -> Iterator[list[_Part]]:
    """Consecutive parts of the same shape, at most ``most`` at a time."""
    for _, same in groupby(parts, key=lambda part: part.shape):
        while group := list(islice(same, most)):
            yield group


def _stack(reflectance: NDArray[np.float32], parts: list[_Part]) -> NDArray[np.float32]:
    """N parts as ``(N, 4, H, W)``; a single one is not copied."""
    tiles = [reflectance[:, part.rows, part.cols] for part in parts]
    return tiles[0][None] if len(tiles) == 1 else np.stack(tiles)
