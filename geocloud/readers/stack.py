"""The rasters of a scene: opened, checked for a common grid, and read without conversion."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any, Self

import numpy as np
import rasterio
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geocloud.bands import Conversion
from geocloud.errors import BandError, GridError, SceneReadError, UnitsError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.io.remote import FORGETTING, gdal_name, gdal_options, is_remote
from geocloud.readers.source import BandSource, SceneRecipe

Valid = NDArray[np.bool_]
Values = NDArray[np.generic]

READ_ROWS = 256  # approximate number of rows read at once
LARGEST_BLOCK = 256 * 2**20  # maximum size of a block in bytes
LARGEST_CACHE = 512 * 2**20  # maximum size in bytes of GDAL's block cache, for high or multi-band blocks
SIDE, COUNT = 64, 5  # side of sampled windows in pixels, and their number in each direction
MIXED = 2  # distance in pixels at which no data affects values at a lower resolution
REOPENINGS = 3  # attempts to reopen a remote raster that cannot be read
WAVELETS = {"JP2OpenJPEG", "JP2ECW", "JP2KAK", "JP2MrSID", "JPEG2000"}
"""GDAL drivers whose overviews are wavelet levels; overviews of other drivers may be subsampled."""


def open_raster(path: str, label: str) -> rasterio.DatasetReader:
    """Opens a raster for reading. Raises SceneReadError; ``label`` names the raster in messages."""
    name, remote = gdal_name(path) if is_remote(path) else path, gdal_options(path)
    try:
        with rasterio.Env(**gdal.OPTIONS | remote):
            try:
                dataset: rasterio.DatasetReader = gdal.open_quietly(name)
            except RasterioError:
                if not remote:
                    raise
                dataset = _reopen(path)
    except (RasterioError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).replace(path, label).removeprefix(f"{label}: ").rstrip(".")
        raise SceneReadError(f"{label}: cannot be opened as a raster ({reason}); is it complete?") from error
    return dataset


def _reopen(path: str) -> rasterio.DatasetReader:
    """Opens a remote raster without GDAL's cache, which may be incomplete or remember a refused request."""
    name = gdal_name(path) if is_remote(path) else path
    with rasterio.Env(**gdal.OPTIONS | gdal_options(path) | FORGETTING), suppress(RasterioError):
        gdal.open_quietly(name).close()
    return gdal.open_quietly(name)


def count_bands(path: str, unreadable: int | None = None) -> int:
    """Number of a raster's bands. If it cannot be opened: ``unreadable``, or SceneReadError if that is None."""
    failure = None
    for readdir in ("EMPTY_DIR", "FALSE"):  # faster without sidecar files, but some formats need them
        try:
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=readdir), open_raster(path, path) as dataset:
                return int(dataset.count)
        except SceneReadError as error:
            failure = error
    if unreadable is None and failure:
        raise failure
    return unreadable or 0


class BandStack:
    """The rasters of a recipe, one layer per band. Metadata are read on opening; afterwards only one thread may read.

    ``grid`` and ``file_grid`` are the grid of all bands, in the rasters' own row order, ``dtype`` the stored data type,
    ``block_rows`` the height of a block (windows aligned to it decode no block twice), ``own_conversion`` the scale and
    offset in the rasters' metadata, ``area_or_point`` their tag of that name, and ``roughly_placed`` the name of their
    rough georeferencing, ground control points or RPCs. Raises BandError, GridError, SceneReadError.
    """

    def __init__(self, recipe: SceneRecipe) -> None:
        self.recipe, self.fill = recipe, recipe.fill
        self._datasets: dict[str, rasterio.DatasetReader] = {}
        try:
            for band in recipe.bands:
                if band.path not in self._datasets:
                    self._datasets[band.path] = open_raster(band.path, band.label)
            self._env = {**gdal.OPTIONS, **gdal_options(*self._datasets)}
            with rasterio.Env(**self._env):
                self._describe()
        except BaseException as error:
            self.close()
            if isinstance(error, UnitsError):
                raise UnitsError(f"{recipe.source}: {error}") from error
            if isinstance(error, gdal.TROUBLE):
                raise SceneReadError(f"{recipe.source}: damaged, its description cannot be read ({error})") from error
            raise

    def _describe(self) -> None:
        self.grid = self.file_grid = self._common_grid()
        self._layers = layers = [(self._datasets[band.path], band.index - 1) for band in self.recipe.bands]
        dataset, at = layers[0]
        self.dtype = str(dataset.dtypes[at])
        # GDAL decodes high blocks, and blocks of all bands, only once if its cache holds them.
        highs = [(d, max(d.block_shapes[0][0], READ_ROWS)) for d in self._datasets.values()]
        sizes = [d.width * rows * d.count for d, rows in highs if d.count > 1 or rows > 4 * READ_ROWS]
        needed = sum(sizes) * np.dtype(self.dtype).itemsize
        self._env["GDAL_CACHEMAX"] = max(gdal.CACHE, needed if needed <= LARGEST_CACHE else 0)
        self.block_rows = max(int(d.block_shapes[i][0]) for d, i in layers)
        levels = []
        for d, i in layers:  # lower resolutions that are part of the band's own encoding
            own = d.driver in WAVELETS and not any(file.endswith(".ovr") for file in d.files)
            levels.append({1, *(d.overviews(i + 1) if own else ())})
        self._levels = set.intersection(*levels)
        self.area_or_point: str | None = None
        with suppress(UnicodeDecodeError):  # another tag is not in UTF-8
            self.area_or_point = dataset.tags().get("AREA_OR_POINT")
        self.roughly_placed = "ground control points" if dataset.gcps[0] else "RPCs" if dataset.rpcs else None
        scales, offsets = ([getattr(d, name)[i] for d, i in layers] for name in ("scales", "offsets"))
        self.own_conversion = Conversion.of(scales, offsets) if {*scales} != {1} or any(offsets) else None

    def read_values(self, window: Window, shape: tuple[int, int]) -> tuple[Values, Valid]:
        """Stored values ``(band, h, w)`` and valid mask ``(h, w)``, True where all bands have data; nearest neighbour.

        Raises SceneReadError.
        """
        dtype = np.result_type(*(dataset.dtypes[i] for dataset, i in self._layers))
        values, valid = np.empty((len(self._layers), *shape), dtype), np.ones(shape, bool)
        for position, band in enumerate(self.recipe.bands):
            values[position], own = self._read(band, window, shape)
            valid &= own
        if self.fill is not None:
            valid &= (values != self.fill).all(0)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(0)
        if self.fill != 0:
            valid &= values.any(0)  # zero in all bands is margin, in any units
        return values, valid

    def look(self, level: int = 1) -> tuple[Values, float]:
        """Values ``(band, n)`` of valid pixels in small windows all over the grid, and the share of valid pixels.

        If the windows hold no data, the grid is read from the top until there is some. ``level`` reads a lower
        resolution, see `RasterScene.read_raw`. Raises SceneReadError.
        """
        height, width = (n // level for n in self.grid.shape)

        def read(row: int, col: int, rows: int, cols: int) -> tuple[Values, Valid]:
            values, valid = self.read_values(Window(*(level * n for n in (col, row, cols, rows))), (rows, cols))
            if level > 1:  # values near no data are mixed with it
                near = np.pad(valid & values.all(0), MIXED)  # outside the window: no data
                valid = np.asarray(sliding_window_view(near, (2 * MIXED + 1, 2 * MIXED + 1)).all((2, 3)))
            return values[:, valid], valid

        rows, cols = (sorted({int(i * max(n - SIDE, 0) / (COUNT - 1)) for i in range(COUNT)}) for n in (height, width))
        windows = [(row, col, min(SIDE, height), min(SIDE, width)) for row, col in product(rows, cols)]
        if max(height, width) <= SIDE * COUNT:  # the windows cover it all: one read takes a fifth of the time
            windows = [(0, 0, height, width)]
        looked = [read(*window) for window in windows]
        seen, share = [values for values, _ in looked], float(np.mean(np.concatenate([v.ravel() for _, v in looked])))
        for row in range(0, height, READ_ROWS):
            if any(pixels.size for pixels in seen):
                break
            seen.append(read(row, 0, min(READ_ROWS, height - row), width)[0])
        return np.concatenate(seen, 1), share

    def close(self) -> None:
        """Closes the rasters."""
        for dataset in self._datasets.values():
            dataset.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, band: BandSource, window: Window, shape: tuple[int, int]) -> tuple[Any, Valid | bool]:
        """Values of a band, and True where it has data. A remote raster is reopened if reading fails.

        Raises SceneReadError.
        """
        path, remote = band.path, bool(gdal_options(band.path))
        failure: Exception | None = None
        with rasterio.Env(**self._env):
            for attempt in range(REOPENINGS + 1 if remote else 1):
                try:
                    if attempt:
                        self._datasets[path].close()
                        self._datasets[path] = _reopen(path)
                    return self._read_once(band, window, shape)
                except (RasterioError, OSError) as error:
                    failure = error
                    if "HTTP" in str(error):  # the server refused, and GDAL has retried already
                        break
        rows = f"rows {int(window.row_off)} to {int(window.row_off + window.height) - 1} cannot be read"
        reason = " ".join(str(getattr(failure, "__cause__", None) or failure).split())
        problem = "check the server and the file" if remote else "damaged or cut off; fetch the file again"
        problem = f"{rows} ({reason}); {problem}"
        raise SceneReadError(f"{band.label}: {problem}") from failure

    def _read_once(self, band: BandSource, window: Window, shape: tuple[int, int]) -> tuple[Any, Valid | bool]:
        dataset, index, where = self._datasets[band.path], band.index, {"window": window, "out_shape": shape}
        values, valid = dataset.read(index, **where), True
        flags, nodata = set(dataset.mask_flag_enums[index - 1]), dataset.nodatavals[index - 1]
        if flags == {MaskFlags.nodata}:
            valid = np.isfinite(values) if np.isnan(nodata) else values != nodata
        elif not flags & {MaskFlags.all_valid, MaskFlags.alpha}:
            valid = dataset.read_masks(index, **where) > 0
        # GDAL applies alpha only in rasters of two or four bands, and the fourth may be near-infrared marked alpha.
        alpha = [i for i, colour in enumerate(dataset.colorinterp, 1) if colour == ColorInterp.alpha]
        if alpha and alpha[0] not in {b.index for b in self.recipe.bands if b.path == band.path}:
            valid = valid & (dataset.read(alpha[0], **where) > 0)
        return values, valid

    def _common_grid(self) -> GeoBox:
        """Grid of all bands. Raises BandError, GridError."""
        first: GeoBox | None = None
        for band in self.recipe.bands:
            dataset = self._datasets[band.path]
            check_band(dataset, band)
            grid = GeoBox.of(dataset)
            first = first or grid
            if not grid.agrees_with(first):
                other = f"that of {self.recipe.bands[0].label} ({first}); all bands must cover the same pixels"
                raise GridError(f"{band.label}: its grid ({grid}) differs from {other}")
        own = self.recipe.georeference
        assert first is not None
        if own is None or first.crs is not None:
            return first
        if first.transform.is_identity:
            return own if own.shape == first.shape else first
        return replace(first, crs=own.crs)


def check_band(dataset: rasterio.DatasetReader, band: BandSource) -> None:
    """Raises BandError for missing bands and complex values, GridError for degenerate transforms and large blocks."""
    if band.index > dataset.count:
        raise BandError(f"{band.label}: there is no band {band.index}, it has {dataset.count}")
    dtype, t = str(dataset.dtypes[band.index - 1]), dataset.transform
    if dtype.startswith(("complex", "cint", "cfloat")):
        raise BandError(f"{band.label}: {dtype} values; wanted integers or floats")
    if not all(math.isfinite(v) for v in t[:6]) or t.is_degenerate:
        raise GridError(f"{band.label}: its geotransform {tuple(t)[:6]} gives its pixels no area; repair the file")
    rows, cols = dataset.block_shapes[band.index - 1]
    if rows * cols * np.dtype(dtype).itemsize > LARGEST_BLOCK:
        raise GridError(f"{band.label}: in blocks of {rows}×{cols} pixels, too large; gdal_translate -co TILED=YES")
