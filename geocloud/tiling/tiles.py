"""The tiles that a raster is cut into: they overlap, and their weights sum to one everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.errors import OptionError

TALLEST, WIDEST = 768, 1280
"""Pixels of a tile's sides where nobody says otherwise: larger tiles spend less on overlaps, flat ones less memory on
the row of them that is held there."""

ROW_PIXELS = 8 * 2**20
"""Tiles are flatter still, but at least `FLATTEST`, where a row of them would take more pixels (of 16 bytes)."""

FLATTEST = 512


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a `TileGrid`.

    ``read`` is what the model sees; it may hang over the scene's edge. ``write`` lies inside the scene and is final
    once this tile and all before it are predicted; the write windows of all tiles part the scene exactly.
    """

    row: int
    col: int
    read: Window
    write: Window


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Tiles that overlap their neighbours by ``overlap`` pixels, row by row.

    ``tile_size`` is the side of square tiles, or (height, width). ``shift`` moves the whole grid that many pixels up
    and left: the first tiles then hang over the edge too.
    """

    height: int
    width: int
    tile_size: int | tuple[int, int] = 384
    overlap: int = 128
    shift: int = 0

    def __post_init__(self) -> None:
        for size in (self.tile_height, self.tile_width):
            _check_tiling(size, self.overlap)
            if not 0 <= self.shift < size - self.overlap:
                raise OptionError(f"shift {self.shift}: wanted 0 to {size - self.overlap - 1}")

    @classmethod
    def fitted(cls, height: int, width: int, tile_size: int | None = None, overlap: int = 128) -> TileGrid:
        """Tiles of at most ``tile_size`` that are as equal as can be, so that none hangs over by more than a little.

        Without a ``tile_size`` they are as large as pays, see `TALLEST`. Raises OptionError.
        """
        if tile_size is None:
            tallest, widest = min(max(ROW_PIXELS // width // 32 * 32, FLATTEST), TALLEST), WIDEST
        else:
            tallest = widest = tile_size
        _check_tiling(tallest, overlap)
        return cls(height, width, (_fit(height, tallest, overlap), _fit(width, widest, overlap)), overlap)

    @property
    def tile_height(self) -> int:
        """Pixel rows of a tile."""
        return self.tile_size if isinstance(self.tile_size, int) else self.tile_size[0]

    @property
    def tile_width(self) -> int:
        """Pixel columns of a tile."""
        return self.tile_size if isinstance(self.tile_size, int) else self.tile_size[1]

    @property
    def step(self) -> int:
        """Pixel rows from one row of tiles to the next."""
        return self.tile_height - self.overlap

    @property
    def rows(self) -> int:
        """Number of tile rows."""
        return self._count(self.height, self.tile_height)

    @property
    def cols(self) -> int:
        """Number of tile columns."""
        return self._count(self.width, self.tile_width)

    @property
    def reach(self) -> int:
        """Pixels from the left edge of the first tile to the right edge of the last one."""
        return (self.cols - 1) * (self.tile_width - self.overlap) + self.tile_width

    def __len__(self) -> int:
        return self.rows * self.cols

    def __iter__(self) -> Iterator[Tile]:
        for row in range(self.rows):
            yield from self.row(row)

    def row(self, row: int) -> list[Tile]:
        """The tiles of one row, left to right."""
        top, first, last = self._span(row, self.height, self.tile_height)
        tiles = []
        for col in range(self.cols):
            left, start, stop = self._span(col, self.width, self.tile_width)
            read = Window(left, top, self.tile_width, self.tile_height)
            tiles.append(Tile(row, col, read, Window(start, first, stop - start, last - first)))
        return tiles

    def row_weights(self, row: int) -> NDArray[np.float32]:
        """``(tile_height,)``: how much a tile of this row counts in each of its pixel rows; all tiles sum to 1."""
        return self._weights(row, self.rows, self.tile_height)

    def col_weights(self, col: int) -> NDArray[np.float32]:
        """``(tile_width,)``: how much a tile of this column counts in each of its pixel columns."""
        return self._weights(col, self.cols, self.tile_width)

    def _count(self, length: int, size: int) -> int:
        return max(1, math.ceil((length + self.shift - self.overlap) / (size - self.overlap)))

    def _span(self, index: int, length: int, size: int) -> tuple[int, int, int]:
        """Where a tile starts, and the first and last pixel (exclusive) that is final with it."""
        start = index * (size - self.overlap) - self.shift
        stop = length if index == self._count(length, size) - 1 else min(start + size - self.overlap, length)
        return start, max(start, 0), stop

    def _weights(self, index: int, count: int, size: int) -> NDArray[np.float32]:
        """Over each overlap that a neighbour shares: 0 near the tile's edge, where it sees too little, then a ramp."""
        weights = np.ones(size, "float32")
        trimmed = 7 * self.overlap // 16
        ramp = np.clip((np.arange(self.overlap) + 0.5 - trimmed) / max(self.overlap - 2 * trimmed, 1), 0, 1)
        if index > 0:
            weights[: self.overlap] = ramp
        if index < count - 1:
            weights[size - self.overlap :] = 1 - ramp
        return weights


def _check_tiling(size: int, overlap: int) -> None:
    if size < 32 or size % 32:
        raise OptionError(f"tile size {size}: wanted a multiple of 32, 32 or more")
    if not 0 <= overlap <= size // 2:
        raise OptionError(f"overlap {overlap}: wanted 0 to {size // 2}, half of the tile size")


def _fit(length: int, largest: int, overlap: int) -> int:
    """The side of tiles that cover a length in as few as ``largest`` allows, each no longer than it need be."""
    count = max(1, math.ceil((length - overlap) / (largest - overlap)))
    needed = (
        max(math.ceil((length - overlap) / count) + overlap, 2 * overlap) if count > 1 else max(length, 2 * overlap)
    )
    return min(32 * math.ceil(needed / 32), largest)
