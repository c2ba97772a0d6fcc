"""Rasters on disk: written strip by strip, and copied to Cloud Optimized GeoTIFFs."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
import rasterio.features
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geocloud.errors import OutputError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.io.gdal import open_quietly
from geocloud.masks.codes import NO_DATA, STRIP, Mask, ReadMask, count
from geocloud.masks.refine import Step

BLOCK = 512

TILED = {"driver": "GTiff", "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": "IF_SAFER"}
"""Creation options of temporary rasters."""

COG = {
    "COMPRESS": "DEFLATE",
    "LEVEL": 5,  # much faster than level 6, with hardly larger files
    "BLOCKSIZE": BLOCK,
    "BIGTIFF": "IF_SAFER",
    "STATISTICS": "YES",
    "NUM_THREADS": "ALL_CPUS",
}
"""Creation options of GDAL's COG driver. A predictor would make masks slower to write, and no smaller."""


class StripWriter:
    """Writes a uint8 raster from top to bottom; GDAL's cache holds incomplete blocks."""

    def __init__(self, path: Path, grid: GeoBox, area_or_point: str | None, bands: int = 1) -> None:
        # PackBits is fast. Tiled like the COG, or copying the file would decode each block many times.
        profile = {**TILED, "count": bands, "dtype": "uint8", "nodata": NO_DATA, "compress": "PACKBITS", **grid.profile}
        with writing(path):
            self._dataset = open_quietly(path, "w", **profile)
            if area_or_point:
                self._dataset.update_tags(AREA_OR_POINT=area_or_point)
        self._path = path

    def write(self, first_row: int, values: Mask) -> None:
        """Writes whole rows ``(rows, width)``, or ``(bands, rows, width)``."""
        rows, width = values.shape[-2:]
        with writing(self._path):
            self._dataset.write(values.reshape(-1, rows, width), window=Window(0, first_row, width, rows))

    def __enter__(self) -> StripWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with writing(self._path):
            self._dataset.close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises GDAL's errors as OutputError."""
    try:
        # Without an Env, GDAL prints errors in threads. 38-Cloud masks are not georeferenced.
        with rasterio.Env(**gdal.OPTIONS), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except OutputError:
        raise
    except (RasterioError, OSError) as error:
        raise OutputError(f"{path.name}: cannot be written ({error}); is the disk full?") from error


def rows_of(path: Path) -> ReadMask:
    """A function that reads rows of a raster's first band."""

    def read(first: int, last: int) -> Mask:
        with open_quietly(path) as dataset:
            rows: Mask = dataset.read(1, window=Window(0, first, dataset.width, last - first))
        return rows

    return read


def rewrite(source: Path, destination: Path, step: Step, grid: GeoBox, area_or_point: str | None) -> Counter[int]:
    """Writes a mask refined by one step, and returns the number of its pixels by value."""
    counts = Counter[int]()
    with StripWriter(destination, grid, area_or_point) as writer:
        for first, rows in step(rows_of(source)):
            writer.write(first, rows)
            counts += count(rows)
    return counts


def flip_rows(source: Path, destination: Path, grid: GeoBox, area_or_point: str | None) -> None:
    """Copies a raster with its rows in reverse order, for a scene that is stored from south to north.

    ``grid`` is that of the copy.
    """
    with open_quietly(source) as dataset, StripWriter(destination, grid, area_or_point, dataset.count) as writer:
        for strip in grid.strips(STRIP):
            window = Window(0, grid.height - strip.row_off - strip.height, grid.width, strip.height)
            writer.write(strip.row_off, dataset.read(window=window)[:, ::-1])


def write_cog(
    source: Path,
    destination: Path,
    *,
    descriptions: Sequence[str],
    tags: Mapping[str, str],
    colours: Mapping[int, tuple[int, int, int, int]] | None = None,
    resampling: Resampling = Resampling.nearest,
) -> None:
    """Copies a raster to a Cloud Optimized GeoTIFF, after setting its metadata in place.

    ``descriptions`` are those of the bands, ``colours`` is the colour table of the first band, ``resampling`` the
    method of the overviews: nearest preserves the cloud cover, mode reduces it.
    """
    with writing(destination):
        with rasterio.open(source, "r+") as dataset:
            dataset.descriptions = tuple(descriptions)
            dataset.update_tags(**tags)
            if colours:
                dataset.write_colormap(1, dict(colours))
            factors = [2**level for level in range(1, math.ceil(math.log2(max(dataset.shape) / BLOCK)) + 1)]
            dataset.build_overviews(factors, resampling)  # faster than in the COG driver, which compresses more
        # For a raster one pixel high, the driver builds its own overviews.
        options: dict[str, Any] = {**COG, "OVERVIEW_RESAMPLING": resampling.name}
        rasterio.shutil.copy(source, destination, driver="COG", **options)
