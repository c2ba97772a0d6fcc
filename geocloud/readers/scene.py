"""A scene on rasters that GDAL opens: what every recipe turns into."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.windows import Window

from geocloud.bands import Conversion, Units
from geocloud.errors import GridError, SceneReadError, UnitsError
from geocloud.grid import GeoBox
from geocloud.io.gdal import TROUBLE
from geocloud.raster import Raster, Sun
from geocloud.readers.base import Observed, Raw, ReadOptions, Reflectance, Sample, SceneRecipe, Valid, sample_pixels
from geocloud.readers.further import read_further
from geocloud.readers.limits import COARSEST, FINEST
from geocloud.readers.stack import BandStack
from geocloud.readers.units import resolve

log = logging.getLogger(__name__)

WIDEST = 2**17
"""Pixels of the widest scene: a row of tiles of it, which is held in memory, takes a gigabyte."""


SAMPLED = 4
"""Lowest resolution at which values are sampled, see `Scene.coarsest`: blocks of JPEG 2000 take long to decode."""

MIXED = 2
"""Pixels by which no data shows through in what is around it at a lower resolution."""


class RasterScene:
    """A scene whose bands are bands of rasters. Open it with a recipe, close it, or use it as a context manager.

    ``need_units=False`` opens what nothing tells the units of, too: ``units`` is then AUTO, ``conversion`` leaves
    values as they are, and ``problem`` says why. Raises SceneError.
    """

    problem: str | None = None

    def __init__(self, recipe: SceneRecipe, options: ReadOptions | None = None, *, need_units: bool = True) -> None:
        options = options or ReadOptions()
        stack = self._stack = BandStack(recipe)
        self.recipe, self.name, self.bands, self.acquired = recipe, recipe.name, len(recipe.bands), recipe.acquired
        self.sun_elevation = recipe.sun_elevation if options.sun_elevation is None else options.sun_elevation
        self.sun_azimuth = None if recipe.sun_azimuth is None else recipe.sun_azimuth % 360
        self.dtype, self.area_or_point, self.block_rows = stack.dtype, stack.area_or_point, stack.block_rows
        self.south_up = _is_south_up(stack.grid)  # the file's rows come in reverse order
        self._fill, self.units, self.conversion = recipe.fill, Units.AUTO, Conversion.uniform(1)
        try:
            whole = stack.grid.flip() if self.south_up else stack.grid
            if options.pixel_size is not None:
                whole = replace(whole, stated_size=(options.pixel_size, options.pixel_size))
            part = whole.whole if options.extent is None else _part(recipe, whole, options.extent)
            self._left, self._top, self.grid = int(part.col_off), int(part.row_off), whole.crop(part)
            _note_place(recipe, whole, stack.roughly_placed)
            if self.grid.width > WIDEST:
                raise GridError(
                    f"{recipe.source}: {self.grid.width} pixels wide, too wide to be masked at once; "
                    f"wanted at most {WIDEST}: give an --extent"
                )
            self.units, self.conversion = resolve(recipe, options, self.dtype, stack.conversion, lambda: self.sample)
        except BaseException as error:
            if need_units or not isinstance(error, UnitsError):
                self.close()
                raise
            self.problem = str(error)
        # A scale that a user gives does not change the fill of Landsat's values.
        landsat = {self.units, recipe.units} & {Units.LANDSAT_L1, Units.LANDSAT_L2} or "Landsat" in recipe.kind
        if self._fill is None and landsat and "int" in self.dtype:
            self._fill = 0

    @property
    def crs(self) -> CRS | None:
        """The coordinate reference system, where there is one."""
        return self.grid.crs

    @property
    def transform(self) -> Affine:
        """From column and row to coordinates of the CRS."""
        return self.grid.transform

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.shape

    @property
    def bounds(self) -> BoundingBox:
        """Left, bottom, right and top of the grid in the CRS."""
        return self.grid.bounds

    @cached_property
    def sample(self) -> Sample:
        """A look at small windows all over the scene; where those hold no data, at all of it until some is found."""
        pixels, share = self._look(self.coarsest(SAMPLED))
        if not pixels.size:
            pixels, share = self._look(1)
        if not pixels.size:
            return Sample((Observed(np.nan, np.nan, np.nan),) * self.bands)
        inside = pixels.all(0)  # bands end a few pixels apart: zeros of some bands are margin and tell nothing
        pixels = pixels[:, inside] if inside.any() else pixels
        # Sorted as they are on disk: of floats without an order percentiles take twice as long.
        ordered = np.sort(pixels, 1).astype("float64")
        percentiles = np.percentile(ordered, (0.1, 50, 99.9), 1, overwrite_input=True)
        return Sample(tuple(Observed(*values) for values in percentiles.T.tolist()), share)

    def read(self, window: Window | None = None, further: Sequence[str] = ()) -> Raster:
        """Reads a window inside the grid, or the whole scene.

        Args:
            window: The window; None: the whole scene.
            further: Further bands to read: swir1, cirrus.

        Raises:
            BandError: The scene lacks a further band, or its scale is unknown.
            SceneReadError: A file is damaged.
        """
        window = self.grid.whole if window is None else window
        raw = self.read_raw(window)
        reflectance = np.empty((4, *raw.valid.shape), "float32")
        raw.reflectance(slice(None), reflectance)
        bands = {name: read_further(self, name, window) for name in further}
        return Raster(reflectance, raw.valid, self.grid.crop(window), self.acquired, self.sun, bands)

    @property
    def file_grid(self) -> GeoBox:
        """The grid of the rasters: the whole of it, in their own row order."""
        return self._stack.grid

    @property
    def sun(self) -> Sun | None:
        """Position of the sun; None: unknown."""
        if self.sun_elevation is None or self.sun_azimuth is None:
            return None
        return Sun(self.sun_elevation, self.sun_azimuth)

    def read_raw(self, window: Window, level: int = 1) -> Raw:
        """See `Scene.read_raw`."""
        values, valid = self._values(window, level)
        if level > 1:
            values, valid = values.repeat(level, 1).repeat(level, 2), valid.repeat(level, 0).repeat(level, 1)
        return Raw(values, valid, self.conversion)

    def coarsest(self, most: int) -> int:
        """See `Scene.coarsest`."""
        edges = (self._left, self._top, *self.grid.shape)
        return max(level for level in self._stack.levels if level <= most and not any(n % level for n in edges))

    def shrink(self, side: int) -> Reflectance:
        """The scene at a fraction of its size, no side longer than ``side``: reflectance ``(4, h, w)``, NaN: no data.

        Each pixel is the mean of up to four of the scene's (or of its overviews'); memory depends on ``side`` alone.
        """
        height, width = (max(1, round(n * min(1, side / max(self.grid.shape)))) for n in self.grid.shape)
        more = 2 if min(self.grid.height / height, self.grid.width / width) >= 2 else 1
        raw = Raw(*self._values(self.grid.whole, 1, (more * height, more * width)), self.conversion)
        fine = np.empty((4, *raw.valid.shape), "float32")
        raw.reflectance(slice(None), fine)
        parts = fine.reshape(4, height, more, width, more)
        known = np.isfinite(parts).sum((2, 4))
        means: Reflectance = np.where(known > 0, np.nansum(parts, (2, 4)) / np.maximum(known, 1), np.nan)
        return means.astype("float32", copy=False)

    def __repr__(self) -> str:
        height, width = self.shape
        return f"<RasterScene {self.name}: {height} × {width} pixels, {self.crs or 'no CRS'}, {self.units}>"

    def _repr_html_(self) -> str:
        """A picture and the facts, for a notebook."""
        from geocloud import picture

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
            pixels = picture.render(self.shrink(picture.SIDE))
        except (SceneReadError, *TROUBLE):  # closed, or gone since
            pixels = None
        return picture.as_html(self.name, facts, pixels)

    def close(self) -> None:
        """Closes the rasters."""
        self._stack.close()

    def __enter__(self) -> RasterScene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self, level: int) -> tuple[NDArray[np.generic], float]:
        """Values ``(band, n)`` of valid pixels of a resolution, see `sample`, and the share of them in the windows."""
        looked: list[Valid] = []

        def read(window: Window) -> tuple[NDArray[np.generic], Valid]:
            values, valid = self._values(window, level)
            if level > 1:  # pixels near those without data are mixed with them
                near = np.pad(valid & values.all(0), MIXED)  # as if there were no data around
                valid = np.asarray(sliding_window_view(near, (2 * MIXED + 1, 2 * MIXED + 1)).all((2, 3)))
            looked.append(valid)
            return values, valid

        seen = list(sample_pixels(self.grid, read, level))
        share = sum(int(valid.sum()) for valid in looked) / sum(valid.size for valid in looked)
        first = 0
        while not any(pixels.size for pixels in seen) and first < self.grid.height:
            rows = min(256 * level, self.grid.height - first)
            values, valid = read(Window(0, first, self.grid.width, rows))
            seen.append(values[:, valid])
            first += rows
        return np.concatenate(seen, 1), share

    def file_window(self, window: Window) -> Window:
        """The window of the scene's rasters in which the pixels of a window lie, in the rasters' own row order."""
        row = window.row_off + self._top
        if self.south_up:
            row = self._stack.grid.height - row - window.height
        return Window(window.col_off + self._left, row, window.width, window.height)

    def _values(
        self, window: Window, level: int, shape: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.generic], Valid]:
        shape = shape or (int(window.height) // level, int(window.width) // level)
        values, valid = self._stack.read(self.file_window(window), self._fill, shape)
        return (values[:, ::-1], valid[::-1]) if self.south_up else (values, valid)


def _part(recipe: SceneRecipe, grid: GeoBox, extent: tuple[float, float, float, float]) -> Window:
    """The window of an extent. Raises GridError if nothing lies in it."""
    part = grid.window(extent)
    if part is None:
        raise GridError(
            f"{recipe.source}: nothing of it lies in the extent {extent}; give left,bottom,right,top in the "
            f"scene's CRS ({grid.crs or 'no CRS'}), within {','.join(f'{v:.10g}' for v in grid.bounds)}"
        )
    return part


def _note_place(recipe: SceneRecipe, grid: GeoBox, roughly: str | None) -> None:
    """Says what a user should know of where the scene is, or is not, and of its bands."""
    size, notes = grid.pixel_size, []
    if grid.crs is None and grid.transform.is_identity and roughly:
        notes.append(
            f"its place is told by {roughly} only, and the mask will have none; warp it first: gdalwarp -r near"
        )
    if len(recipe.bands) == 3:
        notes.append("without near-infrared, bright ground is more easily taken for cloud")
    if size is None and "38-Cloud" not in recipe.kind:
        notes.append(
            "nothing tells the size of its pixels, taken as the model's own; if it is finer than 30 m, say "
            "--pixel-size METRES"
        )
    if size and not FINEST <= max(size) <= COARSEST:
        notes.append(f"pixels of {max(size):.3g} m; the models were trained at 30 to 60 m, expect less of them")
    for note in notes:
        log.warning("%s: %s", recipe.source, note)


def _is_south_up(grid: GeoBox) -> bool:
    """True for rows from south to north. Without CRS and origin the rows of an image count downwards."""
    t = grid.transform
    placed = grid.crs is not None or (t.c, t.f) != (0, 0)
    return placed and t.e > 0 and t.a > 0 and t.b == t.d == 0
