"""Overlapping tiles in, rows of the whole out: seamless, and in memory that does not grow with the scene's height."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import groupby, islice
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from geocloud.tiling.tiles import Tile, TileGrid

Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Reflectance ``(N, 4, H, W)``, NaN where there is no data, in; probability of cloud ``(N, H, W)`` out, or of cloud and
more ``(N, classes, H, W)``."""


class Predict(Protocol):
    """A model: a `Function`, and what its callers want to know of it."""

    name: str
    """For people, and in the tags of results."""
    threshold: float
    """Cloud is what is above it."""
    shadow_threshold: float
    """Shadow is what is above it, of a second probability."""
    pixel_size: float | None
    """Metres of the pixels that it was trained to see; None: any."""
    optional_nir: bool
    """Whether near-infrared may be NaN all over."""
    classes: int
    """How many probabilities it gives: 1 cloud, 2 cloud and shadow."""
    batch: int
    """How many tiles it takes at a time."""
    workers: int
    """From how many threads it may be called at once."""

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]: ...

    def start_worker(self) -> None:
        """Called first in each of these threads."""
        ...


@dataclass(slots=True)
class PlainFunction:
    """Any function as a model."""

    function: Function
    name: str = "custom"
    threshold: float = 0.5
    shadow_threshold: float = 0.5
    pixel_size: float | None = None
    optional_nir: bool = True
    classes: int = 1
    batch: int = 4
    workers: int = 1

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        return self.function(reflectance)

    def start_worker(self) -> None:
        """Nothing to do."""


def as_predict(model: Predict | Function) -> Predict:
    """A model as it is; a function with what else a model has, from its own attributes where it has any of them."""
    if hasattr(model, "start_worker"):
        return cast(Predict, model)
    known = {f.name: getattr(model, f.name) for f in fields(PlainFunction)[1:] if hasattr(model, f.name)}
    return PlainFunction(model, **known)


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
    canvas = np.zeros((classes, height, grid.reach), "float32")  # sums of weighted probabilities
    with ThreadPoolExecutor(predict.workers, initializer=predict.start_worker) as pool:
        for row, tile_row in enumerate(rows):
            top = int(tile_row.tiles[0].read.row_off)
            valid = ~np.isnan(tile_row.reflectance[0])
            valid[: max(-top, 0)] = valid[grid.height - top :] = False  # what is mirrored is not the scene
            valid[:, :shift] = valid[:, shift + grid.width :] = False
            parts = [part for tile in tile_row.tiles if (part := _part_with_data(tile, shift, valid))]
            down = grid.row_weights(row)[:, None]
            groups = list(_groups(parts, predict.batch))
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
