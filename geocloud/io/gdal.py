"""How rasters are opened everywhere: GDAL's settings, and no warning for what has no place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

TROUBLE = (RasterioError, CPLE_BaseError, UnicodeDecodeError)
"""What rasterio raises: its own errors, GDAL's where it forgets to make them its own, and for texts not in UTF-8."""

CACHE = 32 * 2**20

OPTIONS = {
    "GDAL_CACHEMAX": CACHE,  # bytes; the default, 5 % of memory, grows with the machine and gains nothing
    "CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO",  # or GDAL drops NAME.tar.gz.properties beside the source
}
"""GDAL's settings wherever geocloud reads or writes rasters."""


def open_quietly(path: str | Path, mode: str = "r", **profile: Any) -> Any:
    """`rasterio.open` without the warning about missing georeferencing: 38-Cloud has none, and its masks neither."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **profile)
