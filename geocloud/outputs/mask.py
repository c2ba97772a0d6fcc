"""Mask and probability rasters: written strip by strip, then refined.

A mask is uint8: 0 clear, 1 cloud, 2 cloud shadow (if requested), 255 no data. A probability raster is uint8, per cent,
255 no data, with a band for cloud and (if requested) one for shadow.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.features
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geocloud.errors import OptionError, OutputError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.io.gdal import open_quietly

CLEAR, CLOUD, SHADOW, NO_DATA = 0, 1, 2, 255

BLOCK = 512

COG = {
    "COMPRESS": "DEFLATE",
    "LEVEL": 5,  # much faster than level 6, and hardly larger files
    "BLOCKSIZE": BLOCK,
    "BIGTIFF": "IF_SAFER",
    "STATISTICS": "YES",
    "NUM_THREADS": "ALL_CPUS",
}
"""Creation options of GDAL's COG driver. A predictor would slow masks down and make them no smaller."""

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Counts:
    """Number of pixels of each class in a mask."""

    clear: int
    """Neither cloud nor shadow."""
    cloud: int
    """Cloud."""
    shadow: int
    """Cloud shadow."""
    no_data: int
    """No data."""

    @classmethod
    def of(cls, mask: Mask) -> Counts:
        """Counts the pixels of a mask, or of a part of one."""
        cloud, shadow, no_data = (int(np.count_nonzero(mask == value)) for value in (CLOUD, SHADOW, NO_DATA))
        return cls(mask.size - cloud - shadow - no_data, cloud, shadow, no_data)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.clear + other.clear,
            self.cloud + other.cloud,
            self.shadow + other.shadow,
            self.no_data + other.no_data,
        )

    @property
    def valid(self) -> int:
        """Pixels with data."""
        return self.clear + self.cloud + self.shadow

    @property
    def cloud_percent(self) -> float | None:
        """Per cent of the valid pixels that are cloud; None if there are no valid pixels."""
        return 100 * self.cloud / self.valid if self.valid else None

    @property
    def shadow_percent(self) -> float | None:
        """Per cent of the valid pixels that are cloud shadow; None if there are no valid pixels."""
        return 100 * self.shadow / self.valid if self.valid else None

    @property
    def valid_percent(self) -> float:
        """Per cent of all pixels that are valid."""
        return 100 * self.valid / (self.valid + self.no_data)


NONE = Counts(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of probability. Pixels above both are cloud."""

    cloud: float
    """Pixels with a higher probability of cloud are cloud."""
    shadow: float | None = None
    """Pixels with a higher probability of shadow are shadow; None: shadow is not masked."""

    @property
    def classes(self) -> int:
        """Number of probabilities needed: 1 cloud, 2 cloud and shadow."""
        return 1 if self.shadow is None else 2


def to_mask(probability: NDArray[np.float32], thresholds: Thresholds) -> Mask:
    """Probability ``(class, h, w)`` of cloud, then of shadow, NaN where there is no data → mask ``(h, w)``."""
    mask = (probability[0] > thresholds.cloud).astype("uint8")
    if thresholds.shadow is not None:
        mask[(probability[1] > thresholds.shadow) & (mask == CLEAR)] = SHADOW
    mask[np.isnan(probability[0])] = NO_DATA
    return mask


def to_percent(probability: NDArray[np.float32]) -> Mask:
    """Probability, NaN where there is no data → whole per cent, 255 where there is no data."""
    missing = np.isnan(probability)
    percent = np.rint(100 * np.where(missing, 0, probability)).astype("uint8")
    percent[missing] = NO_DATA
    return percent


class StripWriter:
    """Writes a uint8 raster from top to bottom; GDAL's cache holds the blocks that are incomplete."""

    def __init__(self, path: Path, grid: GeoBox, area_or_point: str | None, bands: int = 1) -> None:
        with writing(path):
            self._dataset = open_quietly(
                path,
                "w",
                driver="GTiff",
                count=bands,
                dtype="uint8",
                nodata=NO_DATA,
                compress="PACKBITS",  # fast, for a temporary file
                tiled=True,  # like the COG copied from it, or the copy would decode each block many times
                blockxsize=BLOCK,
                blockysize=BLOCK,
                bigtiff="IF_SAFER",
                **grid.profile,
            )
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
    except (RasterioError, OSError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path.name}: cannot be written ({error}); is the disk full?") from error


def strips(path: Path, rows: int) -> Iterator[tuple[int, Mask]]:
    """Reads a single-band raster from top to bottom: first row of each strip, and its values ``(≤ rows, width)``."""
    with open_quietly(path) as dataset:
        for first in range(0, dataset.height, rows):
            window = Window(0, first, dataset.width, min(rows, dataset.height - first))
            yield first, dataset.read(1, window=window)


def count(path: Path, rows: int) -> Counts:
    """Counts the pixels of a mask on disk."""
    return sum((Counts.of(mask) for _, mask in strips(path, rows)), NONE)


def remove_small(
    source: Path, destination: Path, pixels: int, grid: GeoBox, strip: int, area_or_point: str | None
) -> None:
    """Copies a mask without clouds, shadows and holes of fewer than ``pixels`` pixels (4-connected).

    A small region takes the value of its largest neighbour, or stays if none is large enough: clouds first, then
    shadows, each against everything else. No data stays. The whole mask is held in memory, at a few bytes per pixel,
    as regions are known only once all rows are read.
    """
    mask = np.concatenate([rows for _, rows in strips(source, strip)])
    least = min(pixels, mask.size - 1)
    shadow = mask == SHADOW
    if least > 0:
        mask[shadow] = CLEAR
        mask = rasterio.features.sieve(mask, least, mask=mask != NO_DATA)
        if shadow.any():
            rest = mask == CLEAR
            shadow = rasterio.features.sieve((shadow & rest).astype("uint8"), least, mask=rest) > 0
            mask[shadow & rest] = SHADOW
    with StripWriter(destination, grid, area_or_point) as writer:
        for first in range(0, grid.height, strip):
            writer.write(first, mask[first : first + strip])


def dilate(
    source: Path,
    destination: Path,
    grid: GeoBox,
    radii: Mapping[int, float],
    strip: int,
    area_or_point: str | None,
) -> None:
    """Copies a mask with its classes grown: to all pixels whose centre is within a radius of a class pixel's centre.

    ``radii`` holds, in metres, the radius of CLOUD, which grows over clear and shadow, and of SHADOW, which grows over
    clear. No data stays. Distances are Euclidean and allow for pixels that are not square. In a geographic CRS the
    pixel size is that at each strip's latitude. Raises OptionError without a CRS.
    """
    if grid.pixel_size is None:
        raise OptionError("a buffer in metres needs a scene whose pixel size is known")
    reach = math.floor(max(radii.values()) / grid.pixel_size[0])
    with open_quietly(source) as dataset, StripWriter(destination, grid, area_or_point) as writer:
        for first in range(0, grid.height, strip):
            last = min(first + strip, grid.height)
            top, bottom = max(first - reach, 0), min(last + reach, grid.height)
            mask = dataset.read(1, window=Window(0, top, grid.width, bottom - top))
            size = grid.crop(Window(0, first, grid.width, last - first)).pixel_size
            assert size is not None
            here = slice(first - top, last - top)
            near = {value: _near(mask == value, radius, size, here) for value, radius in radii.items()}
            out = mask[here]
            for value, over in ((SHADOW, (CLEAR,)), (CLOUD, (CLEAR, SHADOW))):
                if value in near:
                    out[near[value] & np.isin(out, over)] = value
            writer.write(first, out)


def _near(cloud: NDArray[np.bool_], radius: float, size: tuple[float, float], rows: slice) -> NDArray[np.bool_]:
    """``(h, w)``, True for cloud → the given rows, True within ``radius`` of cloud."""
    columns = np.arange(cloud.shape[1], dtype="int32")
    far = np.int32(2 * cloud.shape[1] + 1)
    left = np.maximum.accumulate(np.where(cloud, columns, -far), axis=1)
    right = np.minimum.accumulate(np.where(cloud, columns, far)[:, ::-1], axis=1)[:, ::-1]
    aside = np.minimum(columns - left, right - columns)  # pixels to the nearest cloud in the same row
    near = np.zeros((rows.stop - rows.start, cloud.shape[1]), bool)
    reach = math.floor(radius / size[0])
    for down in range(-reach, reach + 1):
        first, last = max(rows.start + down, 0), min(rows.stop + down, cloud.shape[0])
        if first < last:
            width = math.floor(math.sqrt(max(radius**2 - (down * size[0]) ** 2, 0)) / size[1])
            near[first - down - rows.start : last - down - rows.start] |= aside[first:last] <= width
    return near


def write_cog(
    source: Path,
    destination: Path,
    *,
    descriptions: Sequence[str],
    tags: Mapping[str, str],
    colours: Mapping[int, tuple[int, int, int, int]] | None = None,
    resampling: Resampling = Resampling.nearest,
) -> None:
    """Copies a raster to a Cloud Optimized GeoTIFF.

    Args:
        source: The raster; its metadata are changed.
        destination: The file to write.
        descriptions: One for each band.
        tags: Metadata of the dataset.
        colours: Colour table of the first band; None: none.
        resampling: For overviews; nearest preserves the cloud cover, mode reduces it.
    """
    with writing(destination):
        with rasterio.open(source, "r+") as dataset:
            dataset.descriptions = tuple(descriptions)
            dataset.update_tags(**tags)
            if colours:
                dataset.write_colormap(1, dict(colours))
            factors = [2**level for level in range(1, math.ceil(math.log2(max(dataset.shape) / BLOCK)) + 1)]
            dataset.build_overviews(factors, resampling)  # in less time than the COG driver, which compresses more
        # Of a raster one pixel high the driver makes its own.
        options: dict[str, Any] = {**COG, "OVERVIEW_RESAMPLING": resampling.name}
        rasterio.shutil.copy(source, destination, driver="COG", **options)
