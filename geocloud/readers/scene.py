"""A scene on rasters that GDAL opens: what every recipe turns into."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window, intersect

from geocloud.bands import Conversion, Units
from geocloud.errors import GridError, SceneReadError, UnitsError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.io.prefetch import ahead
from geocloud.raster import Raster, Sun
from geocloud.readers.source import ReadOptions, SceneRecipe
from geocloud.readers.stack import READ_ROWS, BandStack, Valid, Values
from geocloud.readers.units import Observed, Sample, resolve

log = logging.getLogger(__name__)

Reflectance = NDArray[np.float32]

WIDEST = 2**17  # pixels of the widest scene: a row of tiles of it, which is held in memory, takes a gigabyte
SAMPLED = 4  # lowest resolution at which values are sampled, see `coarsest`: blocks of JPEG 2000 take long to decode
FINEST, COARSEST = 3.0, 100.0
"""Metres of a pixel's side beyond which a note is due: the models were trained at 30 to 60 m."""


class Raw(NamedTuple):
    """Pixels as they are on disk: values ``(4, h, w)``, or 3 without near-infrared; valid ``(h, w)``, True: data."""

    values: Values
    valid: Valid
    conversion: Conversion

    def reflectance(self, rows: slice = slice(None), out: Reflectance | None = None) -> Reflectance:
        """Reflectance ``(4, rows, w)`` of some of the rows, NaN where there is no data; into ``out`` if given."""
        valid = self.valid[rows]
        out = np.empty((4, *valid.shape), "float32") if out is None else out
        self.conversion.apply(self.values[:, rows], out)
        np.copyto(out, np.nan, where=~valid)
        return out


class RasterScene(BandStack):
    """Four bands of one place at one time, and where they are. What is None is unknown.

    Open it with a recipe, close it, or use it as a context manager. ``need_units=False`` opens what nothing tells the
    units of, too: ``units`` is then AUTO, ``conversion`` leaves values as they are, and ``problem`` says why.
    ``crs``, ``transform``, ``shape`` and ``bounds`` are those of the grid. Raises SceneError.
    """

    name: str
    """The product's or file's name, without folders and suffix."""
    bands: int
    """4, or 3 without near-infrared."""
    grid: GeoBox
    """Size, transform and CRS; north up, whatever the file's own orientation."""
    sun: Sun | None
    """Position of the sun."""
    south_up: bool
    """True if the file's rows come in reverse order."""
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
        # A scale that a user gives does not change the fill of Landsat's values.
        landsat = {self.units, recipe.units} & {Units.LANDSAT_L1, Units.LANDSAT_L2} or "Landsat" in recipe.kind
        if self.fill is None and landsat and "int" in self.dtype:
            self.fill = 0

    def _place(self, options: ReadOptions) -> None:
        """Finds the grid, and says what a user should know of it and of the bands. Raises GridError."""
        source, t = self.recipe.source, self.file_grid.transform
        placed = self.file_grid.crs is not None or (t.c, t.f) != (0, 0)  # else the rows of an image count downwards
        self.south_up = placed and t.e > 0 and t.a > 0 and t.b == t.d == 0
        whole = self.file_grid.flip() if self.south_up else self.file_grid
        if options.pixel_size is not None:
            whole = replace(whole, stated_size=(options.pixel_size, options.pixel_size))
        part = whole.whole if options.extent is None else whole.window(options.extent)
        if part is None:
            raise GridError(
                f"{source}: nothing of it lies in the extent {options.extent}; give left,bottom,right,top in the "
                f"scene's CRS ({whole.crs or 'no CRS'}), within {','.join(f'{v:.10g}' for v in whole.bounds)}"
            )
        self._left, self._top, self.grid = int(part.col_off), int(part.row_off), whole.crop(part)
        self.crs, self.transform, self.shape, self.bounds = (
            whole.crs,
            self.grid.transform,
            self.grid.shape,
            self.grid.bounds,
        )
        size, rough = whole.pixel_size, self.roughly_placed
        notes = []
        if whole.crs is None and whole.transform.is_identity and rough:
            notes.append(f"its place is told by {rough} only, the mask will have none; warp it first: gdalwarp -r near")
        if self.bands == 3:
            notes.append("without near-infrared, bright ground is more easily taken for cloud")
        if size is None and "38-Cloud" not in self.recipe.kind:
            notes.append("nothing tells the size of its pixels, taken as the model's own; see pixel_size=METRES")
        if size and not FINEST <= max(size) <= COARSEST:
            notes.append(f"pixels of {max(size):.3g} m; the models were trained at 30 to 60 m, expect less of them")
        for note in notes:
            log.warning("%s: %s", source, note)
        if self.grid.width > WIDEST:
            raise GridError(
                f"{source}: {self.grid.width} pixels, too wide; wanted {WIDEST} at most: give ReadOptions(extent=…)"
            )

    @cached_property
    def sample(self) -> Sample:
        """A look at small windows all over the scene; where those hold no data, at all of it until some is found."""
        for level in (self.coarsest(SAMPLED), 1):
            pixels, share = self.look(level)
            if pixels.size:
                break
        else:
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
        from geocloud.readers.further import read_further

        window = self.grid.whole if window is None else window
        raw = self.read_raw(window)
        bands = {name: read_further(self, name, window) for name in further}
        return Raster(raw.reflectance(), raw.valid, self.grid.crop(window), self.acquired, self.sun, bands)

    def read_raw(self, window: Window, level: int = 1) -> Raw:
        """Reads the same, not converted yet. Raises SceneReadError.

        With a ``level`` (see `coarsest`), by which the window's sides are divisible, every ``level`` × ``level`` pixels
        are read as one of a lower resolution, and repeated.
        """
        values, valid = self.read_values(window, (int(window.height) // level, int(window.width) // level))
        if level > 1:
            values, valid = values.repeat(level, 1).repeat(level, 2), valid.repeat(level, 0).repeat(level, 1)
        return Raw(values, valid, self.conversion)

    def coarsest(self, most: int) -> int:
        """The lowest resolution in the files that loses nothing but detail, as a divisor of at most ``most``; 1: none.

        Only JPEG 2000 holds others, which are decoded in a fraction of the time; what they show lies (level − 1) / 2
        of the scene's pixels further right and down.
        """
        edges = (self._left, self._top, *self.grid.shape)
        return max(level for level in self._levels if level <= most and not any(n % level for n in edges))

    def shrink(self, side: int) -> Reflectance:
        """The scene at a fraction of its size, no side longer than ``side``: reflectance ``(4, h, w)``, NaN: no data.

        Each pixel is the mean of up to four of the scene's (or of its overviews'); memory depends on ``side`` alone.
        """
        height, width = (max(1, round(n * min(1, side / max(self.grid.shape)))) for n in self.grid.shape)
        more = 2 if min(self.grid.height / height, self.grid.width / width) >= 2 else 1
        raw = Raw(*self.read_values(self.grid.whole, (more * height, more * width)), self.conversion)
        parts = raw.reflectance().reshape(4, height, more, width, more)
        known = np.isfinite(parts).sum((2, 4))
        means: Reflectance = np.where(known > 0, np.nansum(parts, (2, 4)) / np.maximum(known, 1), np.nan)
        return means.astype("float32", copy=False)

    def file_window(self, window: Window) -> Window:
        """The window of the scene's rasters in which the pixels of a window lie, in the rasters' own row order."""
        row = window.row_off + self._top
        if self.south_up:
            row = self.file_grid.height - row - window.height
        return Window(window.col_off + self._left, row, window.width, window.height)

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
        except (SceneReadError, *gdal.TROUBLE):  # closed, or gone since
            pixels = None
        return picture.as_html(self.name, facts, pixels)

    def read_values(self, window: Window, shape: tuple[int, int]) -> tuple[Values, Valid]:
        """The same of a window of the scene."""
        values, valid = super().read_values(self.file_window(window), shape)
        return (values[:, ::-1], valid[::-1]) if self.south_up else (values, valid)


def read_filled(scene: RasterScene, window: Window) -> Reflectance:
    """Reads a window that may hang over the edge: reflectance ``(4, h, w)``, NaN outside and where there is no data."""
    out = np.full((4, int(window.height), int(window.width)), np.nan, "float32")
    if intersect(window, scene.grid.whole):
        inside = window.intersection(scene.grid.whole)
        part = Window(inside.col_off - window.col_off, inside.row_off - window.row_off, inside.width, inside.height)
        out[:, *part.toslices()] = scene.read(inside).data
    return out


@contextmanager
def reading_down(scene: RasterScene, most: int, level: int = 1) -> Iterator[Callable[[int, Reflectance], None]]:
    """Reads a scene from top to bottom, ahead of need by about ``most`` pixels, starting at once.

    What it gives fills an array ``(4, rows, width)`` with reflectance from a row on, NaN where there is no data. Ask
    for rows in their order, each once. For ``level`` see `RasterScene.read_raw`.
    """
    height, width = scene.grid.shape
    step = scene.block_rows * max(1, READ_ROWS // scene.block_rows)  # whole blocks, unless too high for memory
    step = max((step if step <= 4 * READ_ROWS else READ_ROWS) // level, 1) * level
    windows = (Window(0, first, width, min(step, height - first)) for first in range(0, height, step))
    most = min(most // (step * width), -(-height // step))
    with ahead((scene.read_raw(window, level) for window in windows), max(1, most)) as pieces:
        begin, piece = 0, None

        def fill(first: int, out: Reflectance) -> None:
            nonlocal begin, piece
            row = 0
            while row < out.shape[1]:
                if piece is None:
                    begin, piece = first + row, next(pieces)
                at = first + row - begin
                count = min(out.shape[1] - row, piece.valid.shape[0] - at)
                piece.reflectance(slice(at, at + count), out[:, row : row + count])
                row += count
                if at + count == piece.valid.shape[0]:
                    piece = None

        yield fill
