"""Overlapping tiles in, rows of the whole out: seamless, and in memory that does not grow with the scene's height."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocloud.grid import Tile, TileGrid

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A model: reflectance ``(N, 4, H, W)``, NaN where there is no data, in; probability or mask ``(N, H, W)`` out."""


@dataclass(frozen=True, slots=True)
class TileRow:
    """The pixels of one row of tiles: reflectance ``(4, tile_size, width)``, NaN where there is no data.

    ``width`` reaches from the first tile's left edge to the last one's right. Beyond the scene's edges it is mirrored,
    see `mirror`.
    """

    tiles: list[Tile]
    reflectance: NDArray[np.float32]


def mirror(grid: TileGrid, row: int, reflectance: NDArray[np.float32]) -> TileRow:
    """A row of tiles from those of its pixel rows ``(4, rows, width)`` that the scene has, mirrored at its edges.

    So a tile that hangs over sees ground that looks like the scene's, and not an edge that is not there.
    """
    tiles = grid.row(row)
    above = max(-int(tiles[0].read.row_off), 0)
    below = grid.tile_size - above - reflectance.shape[1]
    right = (grid.cols - 1) * grid.step + grid.tile_size - grid.shift - grid.width
    return TileRow(tiles, np.pad(reflectance, ((0, 0), (above, below), (grid.shift, right)), mode="symmetric"))


@dataclass(frozen=True, slots=True)
class Strip:
    """Finished rows of the scene: probability ``(rows, width)`` in [0, 1], NaN where there is no data."""

    first_row: int
    probability: NDArray[np.float32]


def blend(grid: TileGrid, rows: Iterable[TileRow], predict: Predict, batch: int) -> Iterator[Strip]:
    """Predicts every tile that holds data, ``batch`` at a time, and blends the overlaps.

    The weights of all tiles at a pixel sum to one, see `TileGrid`. A tile without any valid pixel in the scene never
    reaches the model.
    """
    size, shift = grid.tile_size, grid.shift
    canvas_width = (grid.cols - 1) * grid.step + size
    canvas = np.zeros((size, canvas_width), "float32")  # (tile_size, width): sums of weighted probabilities
    for row, tile_row in enumerate(rows):
        top = int(tile_row.tiles[0].read.row_off)
        valid = ~np.isnan(tile_row.reflectance[0])
        valid[: max(-top, 0)] = valid[grid.height - top :] = False  # what is mirrored is not the scene
        valid[:, :shift] = valid[:, shift + grid.width :] = False
        starts = [int(tile.read.col_off) + shift for tile in tile_row.tiles]
        filled = [col for col, start in enumerate(starts) if valid[:, start : start + size].any()]
        down = grid.row_weights(row)[:, None]
        for first in range(0, len(filled), batch):
            cols = filled[first : first + batch]
            tiles = np.stack([tile_row.reflectance[:, :, starts[c] : starts[c] + size] for c in cols])
            for col, probability in zip(cols, predict(tiles), strict=True):
                canvas[:, starts[col] : starts[col] + size] += down * grid.col_weights(col) * probability
        write = tile_row.tiles[0].write
        done = slice(int(write.row_off) - top, int(write.row_off) - top + int(write.height))
        inside = slice(shift, shift + grid.width)
        strip = canvas[done, inside].copy()
        strip[~valid[done, inside]] = np.nan
        yield Strip(int(write.row_off), strip)
        canvas[: size - grid.step] = canvas[grid.step :].copy()
        canvas[size - grid.step :] = 0
