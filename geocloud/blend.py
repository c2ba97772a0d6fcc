"""Overlapping tiles in, rows of the whole out: seamless, and in memory that does not grow with the scene's height."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from geocloud.grid import Tile, TileGrid

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A model: reflectance ``(N, 4, H, W)``, NaN where there is no data, in; probability ``(N, classes, H, W)`` out, of
cloud and, where it knows it, of shadow. ``(N, H, W)`` is cloud alone.

It may say by attributes how it likes to be called: ``batch``, how many tiles at a time; ``workers``, from how many
threads at once, each of which then calls its ``start_worker()`` first.
"""

ReadRows = Callable[[int, NDArray[np.float32]], None]
"""Fills an array ``(4, rows, width)`` with a scene's reflectance from a row on, NaN where there is no data. It is asked
for the scene's rows in their order, each once."""


@dataclass(frozen=True, slots=True)
class TileRow:
    """The pixels of one row of tiles: reflectance ``(4, tile_height, reach)``, NaN where there is no data.

    Beyond the scene's edges it is mirrored, so that a tile which hangs over sees ground that looks like the scene's.
    """

    tiles: list[Tile]
    reflectance: NDArray[np.float32]


def tile_rows(grid: TileGrid, read: ReadRows) -> Iterator[TileRow]:
    """A scene's rows of tiles, each pixel of it read once, from top to bottom.

    They share one array: each is good until the next one is asked for.
    """
    height, shift = grid.tile_height, grid.shift
    reflectance = np.empty((4, height, grid.reach), "float32")
    columns = shift + np.pad(np.arange(grid.width), (shift, grid.reach - shift - grid.width), "symmetric")
    aside = np.r_[:shift, shift + grid.width : grid.reach]
    first = 0
    for row in range(grid.rows):
        tiles = grid.row(row)
        top = int(tiles[0].read.row_off)
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
        yield TileRow(tiles, reflectance)
        first = last


@dataclass(frozen=True, slots=True)
class Strip:
    """Finished rows of the scene: probability ``(class, rows, width)`` in [0, 1], NaN where there is no data."""

    first_row: int
    probability: NDArray[np.float32]


def blend(grid: TileGrid, rows: Iterable[TileRow], predict: Predict, classes: int = 1) -> Iterator[Strip]:
    """Predicts every tile, as `Predict` likes it, and blends the overlaps, of its first ``classes``.

    The weights of all tiles at a pixel sum to one, see `TileGrid`. Of each tile the model sees those halves of its
    height and width that hold data, so that a tile without any never reaches it.
    """
    height, shift = grid.tile_height, grid.shift
    batch, workers = int(getattr(predict, "batch", 4)), int(getattr(predict, "workers", 1))
    canvas = np.zeros((classes, height, grid.reach), "float32")  # sums of weighted probabilities
    with ThreadPoolExecutor(workers, initializer=getattr(predict, "start_worker", None)) as pool:
        for row, tile_row in enumerate(rows):
            top = int(tile_row.tiles[0].read.row_off)
            valid = ~np.isnan(tile_row.reflectance[0])
            valid[: max(-top, 0)] = valid[grid.height - top :] = False  # what is mirrored is not the scene
            valid[:, :shift] = valid[:, shift + grid.width :] = False
            parts = [part for tile in tile_row.tiles if (part := _part_with_data(tile, shift, valid))]
            down = grid.row_weights(row)[:, None]
            groups = list(_groups(parts, batch))
            answers = pool.map(lambda group: predict(_stack(tile_row.reflectance, group)), groups)  # noqa: B023 - used up below
            for group, answer in zip(groups, answers, strict=True):
                for part, probability in zip(group, answer, strict=True):
                    weighted = down[part.rows] * (probability if probability.ndim == 2 else probability[:classes])
                    weighted *= grid.col_weights(part.col)[part.cols.start - part.start : part.cols.stop - part.start]
                    canvas[:, part.rows, part.cols] += weighted
            write = tile_row.tiles[0].write
            done = slice(int(write.row_off) - top, int(write.row_off) - top + int(write.height))
            inside = slice(shift, shift + grid.width)
            strip = canvas[:, done, inside].copy()
            strip[:, ~valid[done, inside]] = np.nan
            yield Strip(int(write.row_off), strip)
            canvas[:, : grid.overlap] = canvas[:, grid.step :]
            canvas[:, grid.overlap :] = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a tile is predicted: the tile's column in the grid, where it starts, and slices of its row of tiles."""

    col: int
    start: int
    rows: slice
    cols: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start


def _part_with_data(tile: Tile, shift: int, valid: NDArray[np.bool_]) -> _Part | None:
    start = int(tile.read.col_off) + shift
    inside = valid[:, start : start + int(tile.read.width)]
    if not inside.any():
        return None
    top, bottom = _extent(np.any(inside, axis=1))
    left, right = _extent(np.any(inside, axis=0))
    return _Part(tile.col, start, slice(top, bottom), slice(start + left, start + right))


def _extent(some: NDArray[np.bool_]) -> tuple[int, int]:
    """From the first to past the last that is True, outwards to halves (of a multiple of 32 pixels).

    Not closer, for each new shape costs a network time and memory.
    """
    where = np.flatnonzero(some)
    unit = 32 * math.ceil(some.size / 64)
    return int(where[0]) // unit * unit, min(math.ceil((int(where[-1]) + 1) / unit) * unit, some.size)


def _groups(parts: list[_Part], most: int) -> Iterator[list[_Part]]:
    """Neighbours of the same shape, up to so many."""
    for _, same in groupby(parts, key=lambda part: part.shape):
        while group := list(islice(same, most)):
            yield group


def _stack(reflectance: NDArray[np.float32], parts: list[_Part]) -> NDArray[np.float32]:
    """``(N, 4, H, W)`` of N parts; of a single one without a copy."""
    tiles = [reflectance[:, part.rows, part.cols] for part in parts]
    return tiles[0][None] if len(tiles) == 1 else np.stack(tiles)
