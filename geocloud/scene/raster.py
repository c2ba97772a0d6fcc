"""A scene on rasters that GDAL opens: what every recipe turns into."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, GridError, SceneReadError, UnitsError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.io.remote import READING, is_remote
from geocloud.scene.base import (
    READ_ROWS,
    BandSource,
    Observed,
    Raw,
    ReadOptions,
    Reflectance,
    Sample,
    SceneRecipe,
    Valid,
    sample_windows,
)
from geocloud.scene.units import resolve

log = logging.getLogger(__name__)

FINEST, COARSEST = 3.0, 100.0
"""Metres of a pixel's side beyond which a note is due."""

LARGEST_BLOCK = 256 * 2**20
"""Bytes of the largest block that is read."""

WIDEST = 2**17
"""Pixels of the widest scene: a row of tiles of it, which is held in memory, takes a gigabyte."""

LARGEST_CACHE = 512 * 2**20
"""Bytes that GDAL's cache of blocks may take for a scene that is laid out awkwardly."""


def open_raster(path: str, label: str) -> rasterio.DatasetReader:
    """Opens one raster for reading. Raises SceneReadError in words that name it."""
    try:
        with rasterio.Env(**_settings(path)):
            return gdal.open_quietly(path)
    except (RasterioError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).replace(path, label)
        raise SceneReadError(f"{label}: cannot be opened as a raster ({reason}); is it complete?") from error


def _settings(*paths: str) -> dict[str, Any]:
    """GDAL's settings for rasters at these paths."""
    return {**gdal.OPTIONS, **(READING if any(is_remote(path) for path in paths) else {})}


class RasterScene:
    """A scene whose bands are bands of rasters. Open it with a recipe, close it, or use it as a context manager.

    ``need_units=False`` opens what nothing tells the units of, too: ``units`` is then AUTO, ``conversion`` leaves
    values as they are, and ``problem`` says why.
    """

    problem: str | None = None

    def __init__(self, recipe: SceneRecipe, options: ReadOptions | None = None, *, need_units: bool = True) -> None:
        options = options or ReadOptions()
        self.recipe = recipe
        self._datasets: dict[str, rasterio.DatasetReader] = {}
        try:
            for band in recipe.bands:
                if band.path not in self._datasets:
                    self._datasets[band.path] = open_raster(band.path, band.label)
            self._readers = [(self._datasets[band.path], band) for band in recipe.bands]
            self._check_bands()
            self._env = {
                **_settings(*self._datasets),
                "GDAL_CACHEMAX": max(gdal.CACHE, self._block_cache()),
            }
            self.grid = self._common_grid()
            self._check_size()
            self._note_place()
            self._left = self._top = 0
            if options.extent is not None:
                part = self.grid.window(options.extent)
                if part is None:
                    raise GridError(
                        f"{recipe.source}: nothing of it lies in the extent {options.extent} ({_describe(self.grid)}); "
                        "give left, bottom, right, top in the scene's CRS"
                    )
                self._left, self._top, self.grid = int(part.col_off), int(part.row_off), self.grid.crop(part)
            self._check_width()
            self._fill = recipe.fill
            self.sample = self._look()
            try:
                in_file = self._conversion_in_file()
                self.units, self.conversion = resolve(recipe, options, self.dtype, in_file, self.sample)
            except UnitsError as error:
                if need_units:
                    raise
                self.units, self.conversion, self.problem = Units.AUTO, Conversion.uniform(1), str(error)
            if self._fill is None and self.units in (Units.LANDSAT_L1, Units.LANDSAT_L2) and "int" in self.dtype:
                self._fill = 0
            self._sun = options.sun_elevation if options.sun_elevation is not None else recipe.sun_elevation
        except BaseException as error:
            self.close()
            if isinstance(error, gdal.TROUBLE):
                raise SceneReadError(f"{recipe.source}: damaged, its description cannot be read ({error})") from error
            raise

    name: str = property(lambda self: self.recipe.name)  # type: ignore[assignment]
    acquired: datetime | None = property(lambda self: self.recipe.acquired)  # type: ignore[assignment]
    sun_elevation: float | None = property(lambda self: self._sun)  # type: ignore[assignment]
    bands: int = property(lambda self: len(self.recipe.bands))  # type: ignore[assignment]
    units: Units
    conversion: Conversion
    grid: GeoBox

    @property
    def area_or_point(self) -> str | None:
        """The source's AREA_OR_POINT tag."""
        try:
            tag: str | None = self._readers[0][0].tags().get("AREA_OR_POINT")
        except UnicodeDecodeError:  # some other tag is not in UTF-8
            return None
        return tag

    @property
    def dtype(self) -> str:
        """The values' type on disk."""
        dataset, band = self._readers[0]
        return str(dataset.dtypes[band.index - 1])

    @property
    def block_rows(self) -> int:
        """See `Scene.block_rows`; of bands with different blocks, the highest's: as a rule multiples of the others."""
        return max(int(d.block_shapes[b.index - 1][0]) for d, b in self._readers)

    def read(self, window: Window) -> tuple[Reflectance, Valid]:
        """See `Scene.read`."""
        raw = self.read_raw(window)
        reflectance = np.empty((4, *raw.valid.shape), "float32")
        raw.reflectance(slice(None), reflectance)
        return reflectance, raw.valid

    def read_raw(self, window: Window) -> Raw:
        """See `Scene.read_raw`."""
        values, valid = self._read_raw(window)
        return Raw(values, valid, self.conversion)

    def shrink(self, side: int) -> Reflectance:
        """The scene at a fraction of its size, no side longer than ``side``: reflectance ``(4, h, w)``, NaN: no data.

        Each pixel is the mean of up to four of the scene's (or of its overviews'); memory depends on ``side`` alone.
        """
        height, width = (max(1, round(n * min(1, side / max(self.grid.shape)))) for n in self.grid.shape)
        more = 2 if min(self.grid.height / height, self.grid.width / width) >= 2 else 1
        whole = Window(0, 0, self.grid.width, self.grid.height)
        values, valid = self._read_raw(whole, (more * height, more * width))
        fine = np.empty((4, *valid.shape), "float32")
        Raw(values, valid, self.conversion).reflectance(slice(None), fine)
        parts = fine.reshape(4, height, more, width, more)
        known = np.isfinite(parts).sum((2, 4))
        means: Reflectance = np.where(known > 0, np.nansum(parts, (2, 4)) / np.maximum(known, 1), np.nan)
        return means.astype("float32", copy=False)

    def close(self) -> None:
        """Closes the rasters."""
        for dataset in self._datasets.values():
            dataset.close()

    def __enter__(self) -> RasterScene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_raw(self, window: Window, shape: tuple[int, int] | None = None) -> tuple[NDArray[np.generic], Valid]:
        """Values as on disk, a band each, and where all bands hold data ``(h, w)``; of another shape, nearest."""
        height, width = shape or (int(window.height), int(window.width))
        window = Window(window.col_off + self._left, window.row_off + self._top, window.width, window.height)
        dtype = np.result_type(*(d.dtypes[b.index - 1] for d, b in self._readers))
        values = np.empty((self.bands, height, width), dtype)
        valid = np.ones((height, width), bool)
        for position, (dataset, band) in enumerate(self._readers):
            try:
                with rasterio.Env(**self._env):
                    values[position] = dataset.read(band.index, window=window, out_shape=(height, width))
                    valid &= self._band_valid(dataset, band, window, values[position])
            except (RasterioError, OSError) as error:
                first, last = int(window.row_off), int(window.row_off + window.height) - 1
                raise SceneReadError(
                    f"{band.label}: damaged or cut off, rows {first} to {last} cannot be read; fetch the file again"
                ) from error
        for band_values in values:
            if self._fill is not None:
                valid &= band_values != self._fill
            if values.dtype.kind == "f":
                valid &= np.isfinite(band_values)
        if self._fill != 0:
            valid &= values.any(0)  # zero in all four bands is a margin, whatever the units
        return values, valid

    def _band_valid(
        self, dataset: rasterio.DatasetReader, band: BandSource, window: Window, values: NDArray[np.generic]
    ) -> Valid | bool:
        flags = set(dataset.mask_flag_enums[band.index - 1])
        valid: Valid | bool = True
        nodata = dataset.nodatavals[band.index - 1]
        if flags == {MaskFlags.nodata}:
            valid = np.isfinite(values) if np.isnan(nodata) else values != nodata
        elif MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags:
            valid = dataset.read_masks(band.index, window=window, out_shape=values.shape) > 0
        # GDAL heeds an alpha band only in rasters of two or four bands; and one of four may be meant as a band.
        alpha = [i for i, colour in enumerate(dataset.colorinterp, 1) if colour == ColorInterp.alpha]
        if alpha and alpha[0] not in {b.index for d, b in self._readers if d is dataset}:
            valid = valid & (dataset.read(alpha[0], window=window, out_shape=values.shape) > 0)
        return valid

    def _check_bands(self) -> None:
        for dataset, band in self._readers:
            if band.index > dataset.count:
                raise BandError(f"{band.label}: there is no band {band.index}, it has {dataset.count}")
            dtype = str(dataset.dtypes[band.index - 1])
            if dtype.startswith(("complex", "cint", "cfloat")):
                raise BandError(f"{band.label}: {dtype} values are no reflectance; wanted integers or floats")

    def _block_cache(self) -> int:
        """Bytes that GDAL must hold so that it decodes no block twice, where reading whole blocks does not see to it.

        That is where bands are interleaved by pixel, so that a block holds them all, and where blocks are higher than
        what is read at once. Not where that would take more than `LARGEST_CACHE`.
        """
        needed = 0
        for dataset, band in self._readers:
            rows, cols = dataset.block_shapes[band.index - 1]
            across = -(-dataset.width // cols) * cols * np.dtype(self.dtype).itemsize
            by_pixel = dataset.count > 1 and dataset.interleaving == Interleaving.pixel
            if by_pixel or rows > 4 * READ_ROWS:
                needed += across * max(rows, READ_ROWS) * (dataset.count if by_pixel else 1)
                if by_pixel:
                    break  # the other bands are in the same blocks
        return needed if needed <= LARGEST_CACHE else 0

    def _common_grid(self) -> GeoBox:
        for dataset, band in self._readers:
            t = dataset.transform
            if not all(math.isfinite(v) for v in t[:6]) or t.is_degenerate:
                raise GridError(
                    f"{band.label}: its geotransform {tuple(t)[:6]} gives its pixels no area; repair the file"
                )
        grids = [GeoBox(d.height, d.width, d.transform, d.crs) for d, _ in self._readers]
        first, label = grids[0], self._readers[0][1].label
        for grid, (_, band) in zip(grids[1:], self._readers[1:], strict=True):
            if not grid.agrees_with(first):
                raise GridError(
                    f"{band.label}: its grid ({_describe(grid)}) differs from that of {label} ({_describe(first)}); "
                    "all bands must cover the same pixels"
                )
        own = self.recipe.georeference
        if own is None or first.crs is not None:
            return first
        if not first.transform.is_identity:
            return GeoBox(first.height, first.width, first.transform, own.crs)
        return own if own.shape == first.shape else first

    def _check_size(self) -> None:
        """Refuses what would take all memory there is: bombs, as a rule."""
        for dataset, band in self._readers:
            rows, cols = dataset.block_shapes[band.index - 1]
            if rows * cols * np.dtype(dataset.dtypes[band.index - 1]).itemsize > LARGEST_BLOCK:
                raise GridError(
                    f"{band.label}: in blocks of {rows}×{cols} pixels, too large to be read; tile it: "
                    "gdal_translate -co TILED=YES"
                )

    def _check_width(self) -> None:
        if self.grid.width > WIDEST:
            raise GridError(
                f"{self.recipe.source}: {self.grid.width} pixels wide, too wide to be masked at once; "
                f"wanted at most {WIDEST}: give an --extent"
            )

    def _note_place(self) -> None:
        """Says what a user should know of where the scene is, or is not."""
        dataset, band = self._readers[0]
        if self.grid.crs is None and self.grid.transform.is_identity and (dataset.gcps[0] or dataset.rpcs):
            what = "ground control points" if dataset.gcps[0] else "RPCs"
            log.warning(
                "%s: its place is told by %s only, and the mask will have none; warp it first: gdalwarp -r near",
                band.label, what,
            )  # fmt: skip
        if self.bands == 3:
            log.warning("%s: without near-infrared; clouds are told from bright ground less well", self.recipe.source)
        size = self.grid.pixel_size
        if size and not FINEST <= max(size) <= COARSEST:
            log.warning(
                "%s: pixels of %.3g m; the models were trained at 20 to 60 m, expect less of them",
                band.label,
                max(size),
            )

    def _conversion_in_file(self) -> Conversion | None:
        pairs = [(d.scales[b.index - 1], d.offsets[b.index - 1]) for d, b in self._readers]
        if all(pair == (1, 0) for pair in pairs):
            return None
        red, green, blue, nir = [*pairs, pairs[0]][:4]  # a nir that is missing has the scale of red
        return Conversion((red[0], green[0], blue[0], nir[0]), (red[1], green[1], blue[1], nir[1]))

    def _look(self) -> Sample:
        """Looks at small windows all over the scene; where those hold no data, at all of it until some is found."""
        seen, looked = [], 0
        for window in sample_windows(self.grid):
            values, valid = self._read_raw(window)
            seen.append(values[:, valid])
            looked += valid.size
        share = sum(pixels.shape[1] for pixels in seen) / looked
        first = 0
        while not any(pixels.size for pixels in seen) and first < self.grid.height:
            rows = min(256, self.grid.height - first)
            values, valid = self._read_raw(Window(0, first, self.grid.width, rows))
            seen.append(values[:, valid])
            first += rows
        pixels = np.concatenate(seen, 1)
        if not pixels.size:
            return Sample((Observed(np.nan, np.nan, np.nan),) * len(self._readers))
        inside = pixels.all(0)  # bands end a few pixels apart: zeros of some bands are margin and tell nothing
        pixels = pixels[:, inside] if inside.any() else pixels
        low, middle, high = np.percentile(pixels.astype("float64"), (0.1, 50, 99.9), axis=1)
        observed = tuple(Observed(*(float(v) for v in values)) for values in zip(low, middle, high, strict=True))
        return Sample(observed, share)


def _describe(grid: GeoBox) -> str:
    t = grid.transform
    return f"{grid.height}×{grid.width}, {grid.crs or 'no CRS'}, pixel {t.a:g}×{t.e:g} at {t.c:g}, {t.f:g}"
