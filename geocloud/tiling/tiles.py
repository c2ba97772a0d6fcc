"""The overlapping tiles that a raster is cut into, whose blending weights sum to one at every pixel, and what passes
between the steps: rows, tiles, strips.
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
"""Largest default height and width of a tile in pixels. Larger tiles spend less time on overlaps; flat ones need less
memory, as one row of tiles is held at a time."""

ROW_PIXELS = 8 * 2**20
"""Most pixels (of 16 bytes) in a row of tiles by default: in wider scenes tiles are flatter, down to `FLATTEST`."""

FLATTEST = 512


ReadRows = Callable[[int, NDArray[np.float32]], None]
"""Fills an array ``(4, rows, width)`` with a scene's reflectance from a row on, NaN where there is no data. Rows are
requested from top to bottom, each once."""


class Predict(Protocol):
    """A model: a function on batches of tiles, with those of `geocloud.ModelMetadata` that its callers need.

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


class Strip(NamedTuple):
    """Finished rows of the scene."""

    first_row: int
    probability: NDArray[np.float32]  # (class, rows, width) in [0, 1], NaN where there is no data


class Tile(NamedTuple):
    """One tile of a `TileGrid`: its row and column, and the window that the model sees, which may exceed the scene."""

    row: int
    col: int
    read: Window


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Overlapping tiles that cover a raster; iterating goes row by row. Raises OptionError."""

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
        """The fewest tiles that the largest side, ``tile_size``, allows, each no larger than needed.

        ``tile_size`` None: as large as `TALLEST`, `WIDEST` and `ROW_PIXELS` allow. Raises OptionError.
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
        """Pixels from the left edge of the first tile of a row to the right edge of its last one."""
        return (self.cols - 1) * (self.tile_width - self.overlap) + self.tile_width

    def __len__(self) -> int:
        return self.rows * self.cols

    def __iter__(self) -> Iterator[Tile]:
        size, aside = (self.tile_width, self.tile_height), self.tile_width - self.overlap
        for row, col in np.ndindex(self.rows, self.cols):
            yield Tile(row, col, Window(col * aside, row * self.step, *size))

    def starts(self, left: int, right: int) -> list[int]:
        """Start columns of the fewest tiles that cover columns ``left`` to ``right`` (exclusive) of the ``reach``.

        Where that takes all tiles of a row they are the row's own.
        """
        step = self.tile_width - self.overlap
        count = max(1, math.ceil((right - left - self.overlap) / step))
        last = self.reach - self.tile_width - (count - 1) * step
        return [min(left, last) + col * step for col in range(count)]

    def row_weights(self, row: int) -> NDArray[np.float32]:
        """``(tile_height,)``: weight of a tile of this row in each of its pixel rows; over all tiles they sum to 1."""
        return self._weights(row, self.rows, self.tile_height)

    def col_weights(self, col: int, cols: int | None = None) -> NDArray[np.float32]:
        """``(tile_width,)``: the same in each of its columns; ``cols``: columns of tiles, if fewer, see `starts`."""
        return self._weights(col, self.cols if cols is None else cols, self.tile_width)

    def _weights(self, index: int, count: int, size: int) -> NDArray[np.float32]:
        """Over each overlap with a neighbour: 0 near the tile's edge, where the model lacks context, then a ramp."""
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
    """The shortest side with which as few tiles as ``largest`` allows cover a length."""
    count = max(1, math.ceil((length - overlap) / (largest - overlap)))
    needed = (
        max(math.ceil((length - overlap) / count) + overlap, 2 * overlap) if count > 1 else max(length, 2 * overlap)
    )
    return min(32 * math.ceil(needed / 32), largest)
