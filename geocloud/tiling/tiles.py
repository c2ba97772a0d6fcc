"""Overlapping tiles of a raster, with blending weights that sum to one at every pixel, and the types that the steps
exchange: rows, tiles and strips.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.errors import OptionError

TALLEST, WIDEST = 768, 1216
"""Largest default height and width of a tile in pixels. Larger tiles spend less time on overlaps; lower ones
need less memory, as one row of tiles is held at a time."""

ROW_PIXELS = 8 * 2**20
"""Default maximum number of pixels (16 bytes each) in a row of tiles; wide scenes get lower tiles, to `FLATTEST`."""

FLATTEST = 512


ReadRows = Callable[[int, NDArray[np.float32]], None]
"""Fills an array ``(4, rows, width)`` with a scene's reflectance from a given row on, NaN where there is no data. Rows
are requested once, from top to bottom."""


class Predict(Protocol):
    """A model: a function on batches of tiles, with the attributes of `geocloud.ModelMetadata` that callers need.

    Tiles are ``(N, 4, H, W)``, H and W multiples of 32, NaN: no data; the probability is ``(N, classes, H, W)``.
    """

    name: str
    threshold: float
    shadow_threshold: float
    pixel_size: float | None
    optional_nir: bool
    classes: int
    batch: int  # tiles per call
    workers: int  # threads that may call it at the same time

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]: ...


class RowQueue:
    """Queue of image rows ``(rows, width)``: put and taken in order, in strips of different heights."""

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


class Strip(NamedTuple):
    """Consecutive rows of the scene, fully predicted."""

    first_row: int
    probability: NDArray[np.float32]  # (class, rows, width) in [0, 1], NaN where there is no data


class Tile(NamedTuple):
    """One tile of a `TileGrid`: its row and column, and its window, which may extend beyond the scene."""

    row: int
    col: int
    read: Window


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Overlapping tiles that cover a raster; iteration is row by row. Raises OptionError for invalid sizes."""

    height: int
    """Pixel rows of the raster."""
    width: int
    """Pixel columns of the raster."""
    tile_size: int | tuple[int, int] = 384
    """Side of square tiles in pixels, or (height, width)."""
    overlap: int = 128
    """Pixels by which neighbouring tiles overlap."""

    def __post_init__(self) -> None:
        for size in (self.tile_height, self.tile_width):
            _check_tiling(size, self.overlap)

    @classmethod
    def fitted(cls, height: int, width: int, tile_size: int | None = None, overlap: int = 128) -> TileGrid:
        """The grid with the fewest tiles whose sides are at most ``tile_size``, each no larger than needed.

        ``tile_size`` None: at most what `TALLEST`, `WIDEST` and `ROW_PIXELS` allow. Raises OptionError.
        """
        if tile_size is None:
            tallest, widest = min(max(ROW_PIXELS // width // 32 * 32, FLATTEST), TALLEST), WIDEST
        else:
            tallest = widest = tile_size
        _check_tiling(tallest, overlap)
        return cls(height, width, (_fit(height, tallest, overlap), _fit(width, widest, overlap)), overlap)

    @property
    def tile_height(self) -> int:
        return self.tile_size if isinstance(self.tile_size, int) else self.tile_size[0]

    @property
    def tile_width(self) -> int:
        return self.tile_size if isinstance(self.tile_size, int) else self.tile_size[1]

    @property
    def step(self) -> int:
        """Pixel rows from one row of tiles to the next."""
        return self.tile_height - self.overlap

    @property
    def rows(self) -> int:
        return max(1, math.ceil((self.height - self.overlap) / self.step))

    @property
    def cols(self) -> int:
        return max(1, math.ceil((self.width - self.overlap) / (self.tile_width - self.overlap)))

    @property
    def reach(self) -> int:
        """Width of a row of tiles in pixels; it may exceed the width of the raster."""
        return (self.cols - 1) * (self.tile_width - self.overlap) + self.tile_width

    def __len__(self) -> int:
        return self.rows * self.cols

    def __iter__(self) -> Iterator[Tile]:
        size, aside = (self.tile_width, self.tile_height), self.tile_width - self.overlap
        for row, col in np.ndindex(self.rows, self.cols):
            yield Tile(row, col, Window(col * aside, row * self.step, *size))

    def starts(self, left: int, right: int) -> list[int]:
        """Start columns of the fewest tiles that cover columns ``left`` to ``right`` (exclusive) of a row of tiles.

        If that takes as many tiles as the row has, they are the row's own.
        """
        step = self.tile_width - self.overlap
        count = max(1, math.ceil((right - left - self.overlap) / step))
        last = self.reach - self.tile_width - (count - 1) * step
        return [min(left, last) + col * step for col in range(count)]

    def row_weights(self, row: int) -> NDArray[np.float32]:
        """Weights ``(tile_height,)`` of a tile of this row by pixel row; at each pixel, those of all tiles sum to 1."""
        return self._weights(row, self.rows, self.tile_height)

    def col_weights(self, col: int, cols: int | None = None) -> NDArray[np.float32]:
        """Weights ``(tile_width,)`` of a tile by pixel column; ``cols``: tiles in the row, if fewer (`starts`)."""
        return self._weights(col, self.cols if cols is None else cols, self.tile_width)

    def _weights(self, index: int, count: int, size: int) -> NDArray[np.float32]:
        """Weights along an axis: 1 inside; in overlaps 0 near the edge, where the model lacks context, then a ramp."""
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
        raise OptionError(f"tile size {size}: wanted a positive multiple of 32")
    if not 0 <= overlap <= size // 2:
        raise OptionError(f"overlap {overlap}: wanted 0 to {size // 2}, half the tile size")


def _fit(length: int, largest: int, overlap: int) -> int:
    """The smallest tile side that needs no more tiles than ``largest`` to cover a length."""
    count = max(1, math.ceil((length - overlap) / (largest - overlap)))
    needed = (
        max(math.ceil((length - overlap) / count) + overlap, 2 * overlap) if count > 1 else max(length, 2 * overlap)
    )
    return min(32 * math.ceil(needed / 32), largest)
