"""An open scene: the rasters of a recipe, read as reflectance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window, intersect

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, GridError, SceneReadError, UnitsError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.io.prefetch import ahead
from geocloud.raster import LOWEST, Raster, Sun
from geocloud.readers.source import ReadOptions, SceneRecipe
from geocloud.readers.stack import READ_ROWS, BandStack, Valid, Values
from geocloud.readers.units import Sample, resolve

log = logging.getLogger(__name__)

Reflectance = NDArray[np.float32]

WIDEST = 2**17  # maximum scene width in pixels: one row of tiles, held in memory, takes a gigabyte
SAMPLED = 4  # maximum level for sampling values, see `coarsest`: blocks of JPEG 2000 are slow to decode
FINEST, COARSEST = 3.0, 100.0
"""Pixel sizes in metres below and above which a note is logged: the models were trained at 30 to 60 m."""


class RasterScene(BandStack):
    """An open scene: four bands with georeferencing. Attributes that are None are unknown.

    Close it after use, or use it as a context manager. ``need_units=False`` also opens scenes of unknown units:
    ``units`` is then AUTO, ``conversion`` leaves values unchanged, and ``problem`` is the reason. ``crs``,
    ``transform``, ``shape`` and ``bounds`` are those of ``grid``. Raises SceneError.
    """

    name: str
    """Name of the product or file, without folders and suffix."""
    bands: int
    """4, or 3 without near-infrared."""
    grid: GeoBox
    """Size, transform and CRS; north up, even if the file is south up."""
    sun: Sun | None
    """Position of the sun."""
    south_up: bool
    """True if the file's rows run from south to north."""
    problem: str | None = None

    def __init__(self, recipe: SceneRecipe, options: ReadOptions | None = None, *, need_units: bool = True) -> None:
        super().__init__(recipe)
        options = options or ReadOptions()
        self.name, self.bands, self.acquired = recipe.name, len(recipe.bands), recipe.acquired
        elevation = self.sun_elevation = options.sun_elevation or recipe.sun_elevation
        azimuth = self.sun_azimuth = None if recipe.sun_azimuth is None else recipe.sun_azimuth % 360
        self.sun = None if elevation is None or azimuth is None else Sun(elevation, azimuth)
        self.units, self.conversion = Units.AUTO, Conversion.uniform(1)
        try:
            self._place(options)
            self.units, self.conversion = resolve(recipe, options, self.dtype, self.own_conversion, lambda: self.sample)
        except BaseException as error:
            if need_units or not isinstance(error, UnitsError):
                self.close()
                raise
            self.problem = str(error)
        # Landsat's fill value is 0 also if the user gives the scale.
        landsat = {self.units, recipe.units} & {Units.LANDSAT_L1, Units.LANDSAT_L2} or "Landsat" in recipe.kind
        if self.fill is None and landsat and "int" in self.dtype:
            self.fill = 0

    def _place(self, options: ReadOptions) -> None:
        """Sets the grid, and logs notes on the grid and the bands. Raises GridError."""
        source, self.south_up = self.recipe.source, self.file_grid.south_up
        whole = self.file_grid.flip() if self.south_up else self.file_grid
        if options.pixel_size is not None:
            whole = replace(whole, stated_size=(options.pixel_size, options.pixel_size))
        part = whole.whole if options.extent is None else whole.window(options.extent)
        if part is None:
            raise GridError(
                f"{source}: no pixels in the extent {options.extent}; give left,bottom,right,top in the "
                f"scene's CRS ({whole.crs or 'no CRS'}), within {','.join(f'{v:.10g}' for v in whole.bounds)}"
            )
        self._left, self._top, self.grid = int(part.col_off), int(part.row_off), whole.crop(part)
        self.crs, self.transform = self.grid.crs, self.grid.transform
        self.shape, self.bounds = self.grid.shape, self.grid.bounds
        size, rough, notes = whole.pixel_size, self.roughly_placed, []
        if whole.crs is None and whole.transform.is_identity and rough:
            notes.append(f"georeferenced by {rough} only, the mask will not be; warp it first: gdalwarp -r near")
        if self.bands == 3:
            notes.append("without near-infrared, bright ground is more easily taken for cloud")
        if size is None and "38-Cloud" not in self.recipe.kind:
            notes.append("pixel size unknown, assumed to be the model's; see pixel_size=METRES")
        if size and not FINEST <= max(size) <= COARSEST:
            notes.append(f"pixels of {max(size):.3g} m; the models were trained at 30 to 60 m, expect lower accuracy")
        for note in notes:
            log.warning("%s: %s", source, note)
        if size and not np.isfinite(size).all():
            bounds = ",".join(f"{v:.10g}" for v in whole.bounds)
            raise GridError(f"{source}: bounds {bounds} are outside {whole.crs}; repair the geotransform or CRS")
        if self.grid.width > WIDEST:
            raise GridError(
                f"{source}: {self.grid.width} pixels, too wide; wanted {WIDEST} at most: give ReadOptions(extent=…)"
            )

    @cached_property
    def sample(self) -> Sample:
        """Statistics of values in small windows all over the scene; if those hold no data, in its first valid rows."""
        for level in (self.coarsest(SAMPLED), 1):
            pixels, share = self.look(level)
            if pixels.size:
                break
        else:
            return Sample(np.full((self.bands, 3), np.nan))
        inside = pixels.all(0)  # bands end a few pixels apart: pixels with zero in any band are margin
        pixels = pixels[:, inside] if inside.any() else pixels
        return Sample(np.percentile(pixels.astype("float64"), (0.1, 50, 99.9), 1).T, share)

    def read(self, window: Window | None = None, further: Sequence[str] = ()) -> Raster:
        """Reads a window inside the grid, or the whole scene.

        Args:
            window: The window; None: the whole scene.
            further: Further bands to read: swir1, cirrus.

        Raises:
            BandError: The scene lacks a further band, or its scale is unknown.
            SceneReadError: A file is damaged.
        """
        from geocloud.readers.further import further_band

        window = self.grid.whole if window is None else window
        values, valid = self.read_raw(window)
        bands, (rows, cols) = dict[str, NDArray[np.float32]](), window.toslices()
        for name in further:
            with further_band(self, name) as read:
                if read is None:
                    lacking = f"no band {name}, or none with the scale of the other bands"
                    raise BandError(f"{self.recipe.source}: {lacking}")
                bands[name] = read(rows.start, rows.stop)[:, cols]
        reflectance = self.to_reflectance(values, valid)
        return Raster(reflectance, valid, self.grid.crop(window), self.acquired, self.sun, bands)

    def read_raw(self, window: Window, level: int = 1) -> tuple[Values, Valid]:
        """Stored values ``(band, h, w)`` and valid mask ``(h, w)``, True where there is data. Raises SceneReadError.

        ``level`` (see `coarsest`) reads a lower resolution and repeats each pixel ``level`` × ``level`` times. The
        window's height and width must be multiples of it.
        """
        values, valid = self.read_values(window, (int(window.height) // level, int(window.width) // level))
        if level > 1:
            values, valid = values.repeat(level, 1).repeat(level, 2), valid.repeat(level, 0).repeat(level, 1)
        return values, valid

    def to_reflectance(self, values: Values, valid: Valid, out: Reflectance | None = None) -> Reflectance:
        """Reflectance ``(4, h, w)`` of stored values, NaN where there is no data; written into ``out`` if given."""
        out = np.empty((4, *valid.shape), "float32") if out is None else out
        self.conversion.apply(values, out)
        np.copyto(out, np.nan, where=~valid)
        return out

    def read_values(self, window: Window, shape: tuple[int, int]) -> tuple[Values, Valid]:
        """Stored values and valid mask of a window of the scene, see `BandStack.read_values`."""
        values, valid = super().read_values(self.file_window(window), shape)
        if self.units is not Units.AUTO and values.dtype.kind != "u":  # undeclared no data, as in `Raster.from_array`
            limits = self.conversion.invert(np.float64(LOWEST)).flat
            for band, scale, limit in zip(values, self.conversion.scale, limits, strict=False):
                valid &= band > limit if scale > 0 else band < limit
        return (values[:, ::-1], valid[::-1]) if self.south_up else (values, valid)

    def coarsest(self, most: int) -> int:
        """Lowest stored resolution, as a factor up to ``most`` that divides the grid's size; 1: full resolution.

        Only JPEG 2000 stores lower resolutions, which decode in a fraction of the time. Their content is shifted right
        and down by (factor − 1) / 2 pixels of the scene.
        """
        edges = (self._left, self._top, *self.grid.shape)
        return max(level for level in self._levels if level <= most and not any(n % level for n in edges))

    def shrink(self, side: int) -> Reflectance:
        """The scene reduced to at most ``side`` pixels a side: reflectance ``(4, h, w)``, NaN where there is no data.

        Each pixel is the mean of up to four pixels of the scene or its overviews; memory depends on ``side`` alone.
        """
        height, width = (max(1, round(n * min(1, side / max(self.grid.shape)))) for n in self.grid.shape)
        more = 2 if min(self.grid.height / height, self.grid.width / width) >= 2 else 1
        pixels = self.to_reflectance(*self.read_values(self.grid.whole, (more * height, more * width)))
        parts = pixels.reshape(4, height, more, width, more)
        known = np.isfinite(parts).sum((2, 4))
        means: Reflectance = np.where(known > 0, np.nansum(parts, (2, 4)) / np.maximum(known, 1), np.nan)
        return means.astype("float32", copy=False)

    def file_window(self, window: Window) -> Window:
        """Window of the rasters, in their own row order, that holds the pixels of a window of the scene."""
        row = window.row_off + self._top
        if self.south_up:
            row = self.file_grid.height - row - window.height
        return Window(window.col_off + self._left, row, window.width, window.height)

    def __repr__(self) -> str:
        height, width = self.shape
        return f"<RasterScene {self.name}: {height} × {width} pixels, {self.crs or 'no CRS'}, {self.units}>"

    def _repr_html_(self) -> str:
        """HTML of a picture and the scene's facts, for notebooks."""
        from geocloud._picture import SIDE, as_html, render

        size = self.grid.pixel_size
        facts = {
            "kind": self.recipe.kind,
            "size": f"{self.grid.height} rows, {self.grid.width} columns",
            "pixel": f"{size[0]:g} m × {size[1]:g} m" if size else "unknown",
            "CRS": self.crs.to_string() if self.crs else "none",
            "acquired": f"{self.acquired:%Y-%m-%d %H:%M} UTC" if self.acquired else "unknown",
            "sun": "unknown" if self.sun_elevation is None else f"{self.sun_elevation:.1f}° above the horizon",
            "units": str(self.units),
        }
        try:
            pixels = render(self.shrink(SIDE))
        except (SceneReadError, *gdal.TROUBLE):  # closed or deleted
            pixels = None
        return as_html(self.name, facts, pixels)


def read_filled(scene: RasterScene, window: Window) -> Reflectance:
    """Reads a window that may extend beyond the scene: reflectance ``(4, h, w)``, NaN outside and for no data."""
    out = np.full((4, int(window.height), int(window.width)), np.nan, "float32")
    if intersect(window, scene.grid.whole):
        inside = window.intersection(scene.grid.whole)
        part = Window(inside.col_off - window.col_off, inside.row_off - window.row_off, inside.width, inside.height)
        out[:, *part.toslices()] = scene.read(inside).data
    return out


@contextmanager
def reading_down(scene: RasterScene, most: int, level: int = 1) -> Iterator[Callable[[int, Reflectance], None]]:
    """Reads a scene from top to bottom in a background thread, up to about ``most`` pixels ahead, starting at once.

    Yields a function that fills an array ``(4, rows, width)`` with reflectance from a given row on, NaN where there is
    no data. Request rows in order, each once. For ``level`` see `RasterScene.read_raw`.
    """
    height, width = scene.grid.shape
    step = scene.block_rows * max(1, READ_ROWS // scene.block_rows)  # whole blocks, unless too high for memory
    step = max((step if step <= 4 * READ_ROWS else READ_ROWS) // level, 1) * level
    windows = (Window(0, first, width, min(step, height - first)) for first in range(0, height, step))
    most = min(most // (step * width), -(-height // step))
    with ahead((scene.read_raw(window, level) for window in windows), max(1, most)) as pieces:
        begin = end = 0
        values: Values = np.empty(0)
        valid: Valid = np.empty(0, bool)

        def fill(first: int, out: Reflectance) -> None:
            nonlocal begin, end, values, valid
            last = first + out.shape[1]
            while first < last:
                if first >= end:
                    begin, (values, valid) = first, next(pieces)
                    end = begin + len(valid)
                stop = min(last, end)
                rows = slice(first - begin, stop - begin)
                scene.to_reflectance(values[:, rows], valid[rows], out[:, first - last : stop - last or None])
                first = stop

        yield fill
