"""The grid of a raster: its size, transform and CRS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from affine import Affine
from pyproj import Geod, Transformer
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.windows import Window

UNKNOWN_UNITS = ("unknown", "degree")
"""Unit names of a local CRS that do not stand for a length."""


@dataclass(frozen=True, slots=True)
class GeoBox:
    """A raster's size and georeferencing."""

    height: int
    """Number of rows."""
    width: int
    """Number of columns."""
    transform: Affine
    """Pixel coordinates (col, row) → coordinates in the CRS."""
    crs: CRS | None
    """Coordinate reference system; None: unknown."""
    stated_size: tuple[float, float] | None = None
    """Pixel size (height, width) in metres, given by the user; None: from transform and CRS."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a grid has at least one pixel, not {self.height}×{self.width}")

    @classmethod
    def of(cls, dataset: Any) -> GeoBox:
        """The grid of an open rasterio dataset; without a geotransform (rasterio: identity) it has no CRS either."""
        crs = None if dataset.transform.is_identity else dataset.crs
        return cls(dataset.height, dataset.width, dataset.transform, crs)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def whole(self) -> Window:
        """The window that covers the whole grid."""
        return Window(0, 0, self.width, self.height)

    def strips(self, rows: int) -> Iterator[Window]:
        """Windows of whole rows that cover the grid from top to bottom."""
        for top in range(0, self.height, rows):
            yield Window(0, top, self.width, min(rows, self.height - top))

    @property
    def bounds(self) -> BoundingBox:
        """The bounding box of its corners, in the CRS."""
        corners = [self.transform @ (x, y) for x in (0, self.width) for y in (0, self.height)]
        xs, ys = zip(*corners, strict=True)
        return BoundingBox(min(xs), min(ys), max(xs), max(ys))

    @property
    def profile(self) -> dict[str, Any]:
        """Size and georeferencing as `rasterio.open` takes them to create a raster."""
        return {"height": self.height, "width": self.width, "transform": self.transform, "crs": self.crs}

    def window(self, extent: tuple[float, float, float, float]) -> Window | None:
        """Window of the pixels that intersect bounds (left, bottom, right, top in the CRS); None if there are none."""
        left, bottom, right, top = extent
        corners = [~self.transform @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
        cols, rows = zip(*corners, strict=True)
        edge = 1e-6  # tolerance in pixels: bounds along the edge of a pixel do not intersect it
        first, start = max(math.floor(min(rows) + edge), 0), max(math.floor(min(cols) + edge), 0)
        last, stop = min(math.ceil(max(rows) - edge), self.height), min(math.ceil(max(cols) - edge), self.width)
        return Window(start, first, stop - start, last - first) if first < last and start < stop else None

    def crop(self, window: Window) -> GeoBox:
        """Grid of a window, which may extend beyond this grid."""
        moved = self.transform @ Affine.translation(window.col_off, window.row_off)
        return replace(self, height=int(window.height), width=int(window.width), transform=moved)

    @property
    def south_up(self) -> bool:
        """True if rows run from south to north. False for a plain image, without a CRS and with its origin at 0, 0."""
        t = self.transform
        return (self.crs is not None or (t.c, t.f) != (0, 0)) and t.e > 0 and t.a > 0 and t.b == t.d == 0

    def flip(self) -> GeoBox:
        """Grid of the same extent with rows in reverse order."""
        t = self.transform
        below = Affine(t.a, -t.b, t.c + t.b * self.height, t.d, -t.e, t.f + t.e * self.height)
        return replace(self, transform=below)

    def resize(self, height: int, width: int) -> GeoBox:
        """Grid of the same extent with ``height`` × ``width`` pixels."""
        down, across = self.height / height, self.width / width
        stated = self.stated_size and (self.stated_size[0] * down, self.stated_size[1] * across)
        return GeoBox(height, width, self.transform @ Affine.scale(across, down), self.crs, stated)

    def __str__(self) -> str:
        """Size, CRS and geotransform, for messages."""
        return f"{self.height}×{self.width}, {self.crs}, {tuple(self.transform)[:6]}"

    def agrees_with(self, other: GeoBox) -> bool:
        """True if both have the same size and CRS, and their corners agree to a hundredth of a pixel."""
        if self.shape != other.shape or self.crs != other.crs:
            return False
        corners = [(0, 0), (self.width, 0), (0, self.height)]
        return all(math.dist(~self.transform @ (other.transform @ c), c) < 0.01 for c in corners)

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Pixel size (height, width) in metres at the centre of the grid; None without a CRS or a unit of length.

        It is that of the transform if the projection distorts lengths by less than 1 %, as UTM does.
        In a geographic CRS, or one that distorts more (Web Mercator), it is measured on the ellipsoid.
        """
        if self.stated_size is not None or self.crs is None:
            return self.stated_size
        t = self.transform
        if not self.has_place:
            unit, metre = self.crs.units_factor
            return None if unit in UNKNOWN_UNITS else (math.hypot(t.b, t.e) * metre, math.hypot(t.a, t.d) * metre)
        middle = self.height / 2, self.width / 2
        true = self._distance(middle, 1, 0), self._distance(middle, 0, 1)
        if self.crs.is_geographic:
            return true
        metre = float(self.crs.linear_units_factor[1])
        nominal = math.hypot(t.b, t.e) * metre, math.hypot(t.a, t.d) * metre
        distorted = any(abs(one / other - 1) > 0.01 for one, other in zip(nominal, true, strict=True) if other > 0)
        return true if distorted else nominal

    @property
    def has_place(self) -> bool:
        """True if the CRS is geographic or projected; a local CRS (LOCAL_CS, ENGCRS) has no position on Earth."""
        return self.crs is not None and (self.crs.is_geographic or self.crs.is_projected)

    def _distance(self, middle: tuple[float, float], rows: int, cols: int) -> float:
        """Metres on the ellipsoid across ``rows`` rows and ``cols`` columns, centred on ``middle`` (row, col)."""
        row, col = middle
        ends = [self.transform @ (col - cols / 2, row - rows / 2), self.transform @ (col + cols / 2, row + rows / 2)]
        assert self.crs is not None
        to_degrees = Transformer.from_crs(self.crs.to_wkt(), 4326, always_xy=True)
        x, y = to_degrees.transform([e[0] for e in ends], [e[1] for e in ends])
        return float(Geod(ellps="WGS84").inv(x[0], y[0], x[1], y[1])[2])
