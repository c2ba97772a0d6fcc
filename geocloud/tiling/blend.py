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

from geocloud.tiling.tiles import TileGrid

ReadRows = Callable[[int, NDArray[np.float32]], None]
"""Fills an array ``(4, rows, width)`` with a scene's reflectance from a row on, NaN where there is no data. Rows are
requested from top to bottom, each once."""


class Predict(Protocol):
    """A model: a function on batches of tiles, with those of `geocloud.ModelMetadata` that its callers need."""

    name: str
    threshold: float
    shadow_threshold: float
    pixel_size: float | None
    optional_nir: bool
    classes: int
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


def tile_rows(grid: TileGrid, read: ReadRows) -> Iterator[NDArray[np.float32]]:
    """A scene's rows of tiles, from top to bottom, each ``(4, tile_height, reach)``; each pixel is read once.

    NaN where there is no data; mirrored where tiles extend beyond the scene. The rows share one array: each is valid
    until the next one is requested.
    """
    reflectance = np.empty((4, grid.tile_height, grid.reach), "float32")
    first = 0
    for top in range(0, grid.rows * grid.step, grid.step):
        if top:
            reflectance[:, : grid.overlap] = reflectance[:, grid.step :]
        inside = min(grid.tile_height, grid.height - top)
        fresh = reflectance[:, first - top : inside]
        read(first, fresh[:, :, : grid.width])
        fresh[:, :, grid.width :] = fresh[:, :, _mirrored(grid.width, grid.reach)]
        reflectance[:, inside:] = reflectance[:, _mirrored(inside, grid.tile_height)]
        yield reflectance
        first = top + inside


def _mirrored(size: int, total: int) -> NDArray[np.integer]:
    """Positions mirrored to those from ``size`` to ``total``."""
    return np.pad(np.arange(size), (0, total - size), "symmetric")[size:]


@dataclass(frozen=True, slots=True)
class Strip:
    """Finished rows of the scene."""

    first_row: int
    """Row of the scene at which they begin."""
    probability: NDArray[np.float32]
    """``(class, rows, width)`` in [0, 1], NaN where there is no data."""


def blend(grid: TileGrid, rows: Iterable[NDArray[np.float32]], predict: Predict, classes: int = 1) -> Iterator[Strip]:
    """Predicts every tile and blends the overlaps; only the first ``classes`` probabilities are kept.

    The weights of all tiles at a pixel sum to one, see `TileGrid`. A row takes no more tiles than cover its data, and
    halves of a tile (upper, lower, left, right) without data are cut off before the model sees it.
    """

    def ask(reflectance: NDArray[np.float32], group: list[_Part]) -> NDArray[np.float32]:
        tiles = [reflectance[:, rows, cols] for rows, cols, _ in group]
        return predict(tiles[0][None] if len(tiles) == 1 else np.stack(tiles))  # a single one is not copied

    canvas = np.zeros((classes, grid.tile_height, grid.reach), "float32")  # weighted sums of probabilities
    with ThreadPoolExecutor(predict.workers) as pool:
        for row, reflectance in enumerate(rows):
            top = row * grid.step
            valid = ~np.isnan(reflectance[0])
            valid[grid.height - top :] = valid[:, grid.width :] = False  # mirrored rows are not the scene
            down = grid.row_weights(row)[:, None]
            groups = list(_groups(_parts_with_data(grid, valid), predict.batch))
            answers = pool.map(partial(ask, reflectance), groups)
            for group, answer in zip(groups, answers, strict=True):
                for (part_rows, part_cols, weights), probability in zip(group, answer, strict=True):
                    weighted = down[part_rows] * probability[:classes]
                    weighted *= weights
                    canvas[:, part_rows, part_cols] += weighted
            done = np.s_[: grid.height - top if row == grid.rows - 1 else grid.step, : grid.width]
            strip = canvas[:, *done].copy()
            np.copyto(strip, np.nan, where=~valid[done])
            yield Strip(top, strip)
            del strip  # what is not released lies beside the next row of tiles
            canvas[:, : grid.overlap] = canvas[:, grid.step :]
            canvas[:, grid.overlap :] = 0


_Part = tuple[slice, slice, NDArray[np.float32]]
"""Part of a tile that is predicted: its rows and columns in the row of tiles, and its weight in each column."""


def _parts_with_data(grid: TileGrid, valid: NDArray[np.bool_]) -> Iterator[_Part]:
    """The parts of a row of tiles that cover its data, given where that is: ``(tile_height, reach)``."""
    some = np.flatnonzero(valid.any(0))
    if not some.size:
        return
    starts = grid.starts(int(some[0]), int(some[-1]) + 1)
    for col, start in enumerate(starts):
        inside = valid[:, start : start + grid.tile_width]
        if inside.any():
            rows, cols = (_extent(np.logical_or.reduce(inside, axis)) for axis in (1, 0))
            yield rows, slice(start + cols.start, start + cols.stop), grid.col_weights(col, len(starts))[cols]


def _extent(some: NDArray[np.bool_]) -> slice:
    """Extent of the True values, extended to whole halves (multiples of 32 pixels).

    No tighter, as every further input shape costs the network time and memory.
    """
    where = np.flatnonzero(some)
    unit = 32 * math.ceil(some.size / 64)
    return slice(int(where[0]) // unit * unit, min(math.ceil((int(where[-1]) + 1) / unit) * unit, some.size))


def _groups(parts: Iterable[_Part], most: int) -> Iterator[list[_Part]]:
    """Consecutive parts of the same shape, at most ``most`` at a time."""
    for _, same in groupby(parts, key=lambda part: [side.stop - side.start for side in part[:2]]):
        while group := list(islice(same, most)):
            yield group
