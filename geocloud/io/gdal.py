"""How all rasters are opened: GDAL options, and no warning about missing georeferencing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

TROUBLE = (RasterioError, CPLE_BaseError, UnicodeDecodeError)
"""What rasterio raises: its own errors, GDAL's that it does not wrap, UnicodeDecodeError for text not in UTF-8."""

CACHE = 32 * 2**20

OPTIONS = {
    "GDAL_CACHEMAX": CACHE,  # bytes; the default is 5 % of the machine's memory and no faster
    "CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO",  # or GDAL writes NAME.tar.gz.properties beside the source
}
"""GDAL options wherever geocloud reads or writes rasters."""


def open_quietly(path: str | Path, mode: str = "r", **profile: Any) -> Any:
    """`rasterio.open` without the warning about missing georeferencing: 38-Cloud and its masks have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **profile)
