"""Reflectance with georeferencing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.bands import BANDS
from geocloud.errors import DependencyError, OptionError
from geocloud.grid import GeoBox

if TYPE_CHECKING:
    import xarray

LOWEST = -0.9
"""Reflectance up to this is no data, such as −9999, also with a scale of 0.0001."""

HIGHEST = 2.0
"""Largest plausible median reflectance: an image above it holds something else, such as digital numbers."""

LOWEST_SUN = 5.0
"""Minimum elevation of the sun in degrees for projecting shadows, which are too long below it."""


@dataclass(frozen=True, slots=True)
class Sun:
    """Position of the sun over a scene."""

    elevation: float
    """Degrees above the horizon."""
    azimuth: float
    """Degrees clockwise from north."""

    @property
    def is_usable(self) -> bool:
        """True if shadows can be projected: the sun is above `LOWEST_SUN`, and not at the zenith."""
        return LOWEST_SUN <= self.elevation < 90


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Georeferenced reflectance of a scene or a part of it. Raises OptionError for a wrong shape."""

    data: NDArray[np.float32]
    """``(4, h, w)``: TOA reflectance of red, green, blue and nir, NaN where there is no data; nir all NaN if the scene
    has none."""
    valid: NDArray[np.bool_]
    """``(h, w)``, True where there is data."""
    geobox: GeoBox
    """Size, transform and CRS."""
    acquired: datetime | None = None
    """Time of acquisition, UTC; None: unknown."""
    sun: Sun | None = None
    """Position of the sun; None: unknown."""
    further: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Name → reflectance ``(h, w)`` of further bands, NaN: no data. swir1 is at 1.6 µm, cirrus at 1.37 µm."""

    def __post_init__(self) -> None:
        if self.data.shape != (len(BANDS), *self.geobox.shape):
            raise OptionError(f"data of shape {self.data.shape}: wanted (4, {self.geobox.height}, {self.geobox.width})")
        if self.valid.shape != self.geobox.shape:
            raise OptionError(f"valid of shape {self.valid.shape}: wanted {self.geobox.shape}, the image's own")

    @classmethod
    def from_array(
        cls,
        reflectance: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        pixel_size: float | None = None,
        sun: Sun | None = None,
    ) -> Raster:
        """Raster of an image in memory, north up, without georeferencing.

        Args:
            reflectance: ``(4, h, w)``, or ``(3, h, w)`` without near-infrared, 0 to about 1.2. No data: NaN, masked,
                all bands 0, or any band at most −0.9.
            valid: ``(h, w)``, True where there is data; None: wherever ``reflectance`` has data.
            pixel_size: Height and width of a pixel in metres; None: unknown.
            sun: Position of the sun; None: unknown.

        Raises:
            OptionError: The shape is wrong, or the values cannot be reflectance.
        """
        image: NDArray[np.float32] = np.ma.filled(np.ma.asanyarray(reflectance, "float32"), np.nan)
        if image.ndim != 3 or image.shape[0] not in (3, 4) or not image.size:
            raise OptionError(f"reflectance of shape {image.shape}: wanted (4, height, width), red green blue nir")
        finite = image[0][np.isfinite(image[0])]
        middle = np.median(finite[:: 1 + finite.size // 100_000]) if finite.size else 0.0  # a sample, for speed
        if middle > HIGHEST:
            raise OptionError(
                f"median of red values {middle:g}: wanted reflectance, 0 to 1; convert them first, "
                "as geocloud.open_scene(...).read() does"
            )
        has_nir = len(image) == 4 and not (np.isnan(image[3]).all() and finite.size)
        bands = image[: 4 if has_nir else 3]
        known: NDArray[np.bool_] = (np.isfinite(bands) & (bands > LOWEST)).all(0) & (bands != 0).any(0)
        height, width = known.shape
        if valid is not None:
            if valid.shape != known.shape:
                raise OptionError(f"valid of shape {valid.shape}: wanted {known.shape}, the image's own")
            known &= valid
        data = np.full((4, height, width), np.nan, "float32")
        np.copyto(data[: len(bands)], bands, where=known)
        size = pixel_size or 1.0
        stated = (pixel_size, pixel_size) if pixel_size else None
        return cls(data, known, GeoBox(height, width, Affine.scale(size, -size), None, stated), sun=sun)

    @property
    def has_nir(self) -> bool:
        """False if near-infrared is missing from the whole image."""
        return not self.valid.any() or bool(np.isfinite(self.data[3]).any())

    def crop(self, window: Window) -> Raster:
        """Part of the raster in a window, which must lie inside it."""
        part = window.toslices()
        further = {name: band[part] for name, band in self.further.items()}
        geobox = self.geobox.crop(window)
        return replace(self, data=self.data[:, *part], valid=self.valid[part], geobox=geobox, further=further)

    def to_xarray(self) -> xarray.DataArray:
        """DataArray of reflectance ``(band, y, x)``, with coordinates and CRS as rioxarray and odc-geo read them.

        Raises:
            DependencyError: xarray is not installed.
        """
        coordinates = {"band": list(BANDS), **coordinates_of(self.geobox, self.acquired)}
        return data_array(self.data, coordinates, ("band", "y", "x"), "reflectance", {})


def coordinates_of(geobox: GeoBox, acquired: datetime | None = None) -> dict[str, Any]:
    """xarray coordinates: pixel centres (none for a rotated grid), ``spatial_ref`` and, if known, ``time`` (UTC)."""
    t = geobox.transform
    place: dict[str, str] = {"GeoTransform": " ".join(f"{value!r}" for value in t.to_gdal())}
    if geobox.crs:
        wkt = geobox.crs.to_wkt()
        place |= {"crs_wkt": wkt, "spatial_ref": wkt}
    coordinates: dict[str, Any] = {"spatial_ref": ((), 0, place)}
    if t.b == t.d == 0:
        coordinates["y"] = t.f + t.e * (np.arange(geobox.height) + 0.5)
        coordinates["x"] = t.c + t.a * (np.arange(geobox.width) + 0.5)
    if acquired:
        coordinates["time"] = np.datetime64(acquired.astimezone(UTC).replace(tzinfo=None), "ns")
    return coordinates


def data_array(
    values: NDArray[Any], coordinates: Mapping[str, Any], dims: tuple[str, ...], name: str, attributes: dict[str, Any]
) -> xarray.DataArray:
    """A DataArray on a grid. Raises DependencyError if xarray is not installed."""
    try:
        import xarray
    except ImportError as error:
        raise DependencyError("to_xarray needs xarray; run pip install 'geocloud[xarray]'") from error
    return xarray.DataArray(values, coordinates, dims, name, {**attributes, "grid_mapping": "spatial_ref"})
