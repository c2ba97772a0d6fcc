"""Recipes and options of scenes, the `Scene` protocol, and reading a scene from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window, intersect

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, OptionError, UnitsError
from geocloud.grid import GeoBox
from geocloud.io.prefetch import ahead
from geocloud.options import explained
from geocloud.raster import Raster

Reflectance = NDArray[np.float32]
Valid = NDArray[np.bool_]

READ_ROWS = 256
"""About how many rows of a scene are read at once."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Pixels as they are on disk: values ``(4, h, w)``, valid ``(h, w)`` (True: data in all bands).

    Without near-infrared, values are ``(3, h, w)``.
    """

    values: NDArray[np.generic]
    valid: Valid
    conversion: Conversion

    def reflectance(self, rows: slice, out: Reflectance) -> None:
        """Fills ``out`` with the reflectance of some of the rows, NaN where there is no data."""
        self.conversion.apply(self.values[:, rows], out)
        np.copyto(out, np.nan, where=~self.valid[rows])


class Scene(Protocol):
    """Four bands of one place at one time, and where they are. What is None is unknown."""

    name: str
    """The product's or file's name, without folders and suffix."""
    bands: int
    """4, or 3 without near-infrared."""
    grid: GeoBox
    """Size, transform and CRS; north up, whatever the file's own orientation."""
    acquired: datetime | None
    """UTC."""
    sun_elevation: float | None
    """Degrees above the horizon."""
    sun_azimuth: float | None
    """Degrees clockwise from north."""
    area_or_point: str | None
    """The source's AREA_OR_POINT tag: "Area", "Point" or None."""
    block_rows: int
    """Pixel rows of a block on disk: reading from one multiple of it to another decodes no block twice."""

    def read(self, window: Window | None = None) -> Raster:
        """Reads a window inside the grid, or the whole scene. Raises SceneReadError."""
        ...

    def read_raw(self, window: Window, level: int = 1) -> Raw:
        """Reads the same, not converted yet. Raises SceneReadError.

        With a ``level`` (see `coarsest`), by which the window's sides are divisible, every ``level`` × ``level`` pixels
        are read as one of a lower resolution, and repeated.
        """
        ...

    def coarsest(self, most: int) -> int:
        """The lowest resolution in the files that loses nothing but detail, as a divisor of at most ``most``; 1: none.

        Only JPEG 2000 holds others, which are decoded in a fraction of the time; what they show lies (level − 1) / 2
        of the scene's pixels further right and down.
        """
        ...

    def close(self) -> None:
        """Closes whatever is open."""
        ...


@dataclass(frozen=True, slots=True)
class BandSource:
    """One band: a path that GDAL can open (or the text of a VRT), the band's number in it, and its name for people."""

    path: str
    label: str
    index: int = 1


@dataclass(frozen=True, slots=True)
class MaskSource:
    """A raster of bits beside a scene: a pixel of band ``index`` in which one of ``bits`` is set is no data."""

    path: str
    index: int
    bits: int


@dataclass(frozen=True, slots=True)
class SceneRecipe:
    """All that is needed to open a scene, here or in another process."""

    name: str
    """The product's or file's name."""
    source: str
    """The source as the user named it, without secrets."""
    bands: tuple[BandSource, ...]
    """Red, green, blue and, if there is one, nir."""
    units: Units = Units.AUTO
    """Units by names or metadata, which the pixels may contradict."""
    conversion: Conversion | None = None
    """Conversion by the metadata, without the sun's elevation; None: that of the units."""
    unknown: str | None = None
    """Error message if it is known that values alone do not tell the units."""
    fill: float | None = None
    """A pixel with this value in any band is no data."""
    mask: MaskSource | None = None
    """Marks more pixels as no data."""
    acquired: datetime | None = None
    """UTC."""
    sun_elevation: float | None = None
    """Degrees above the horizon."""
    sun_azimuth: float | None = None
    """Degrees clockwise from north."""
    georeference: GeoBox | None = None
    """CRS and, if it has the rasters' size, grid for rasters that have none themselves."""
    kind: str = "raster"
    """Maker and level, for people."""
    swir1: tuple[float, float] | None = None
    """Scale and offset of Level-1 values at 1.6 µm, without the sun's elevation, if each band has its own."""


@explained
@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Facts about a source that a user gives; None and AUTO: found out. Raises UnitsError, BandError, OptionError."""

    units: Units = Units.AUTO
    """Units of the pixel values."""
    sun_elevation: float | None = None
    """Degrees, for Level-1 values without metadata."""
    scale: float | None = None
    """reflectance = scale · value + offset, instead of units."""
    offset: float | None = None
    """See scale; None: 0."""
    bands: tuple[int, ...] | str | None = None
    """Band numbers of red, green, blue and nir, or of the first three without nir: of a raster's bands, from 1 on, or
    those of the file names for a folder or archive. Or a letter for each band of a raster whose bands have no names,
    ``"bgrn"`` for example, x for a band that is not used; names of bands count more."""
    scene_id: str | None = None
    """The scene to take from a folder of 38-Cloud patches."""
    extent: tuple[float, float, float, float] | None = None
    """Only what lies in these bounds: left, bottom, right, top in the scene's CRS."""
    pixel_size: float | None = None
    """Side of a pixel in metres, for rasters without a CRS that tells it; None: by transform and CRS."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "units", Units(self.units))
        except ValueError as error:
            raise UnitsError(f"units {self.units!r}: wanted one of {', '.join(Units)}") from error
        numbers = self.band_numbers
        if isinstance(self.bands, str) and not is_order(self.bands):
            raise BandError(f"bands {self.bands!r}: wanted a letter per band, such as rgbn or bgrn (x: not used)")
        if numbers is not None and not (len({*numbers}) == len(numbers) in (3, 4) and min(numbers) >= 1):
            raise BandError(
                f"bands {numbers}: wanted different numbers from 1, of red, green, blue and nir, or of the first three "
                "where there is no nir"
            )
        if self.scale is not None and self.units is not Units.AUTO:
            raise UnitsError("give either units or scale and offset, not both")
        if self.offset is not None and self.scale is None:
            raise UnitsError("an offset needs a scale: reflectance = scale · value + offset")
        if self.pixel_size is not None and not 0 < self.pixel_size < math.inf:
            raise OptionError(f"pixel size {self.pixel_size:g}: wanted metres, more than 0")
        if self.extent is not None and not (self.extent[0] < self.extent[2] and self.extent[1] < self.extent[3]):
            raise OptionError(f"extent {self.extent}: wanted left, bottom, right, top, right of left and above bottom")

    @property
    def band_numbers(self) -> tuple[int, ...] | None:
        """Band numbers that a user gave; None for an order in letters, which is for rasters without band names."""
        return None if isinstance(self.bands, str) else self.bands


def parse_time(text: str, form: str = "") -> datetime | None:
    """A time in ISO 8601, or in a form of `datetime.strptime`, UTC unless it says otherwise; None if it is none."""
    try:
        time = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def is_order(word: str) -> bool:
    """True for a word with one r, g and b, at most one n, and any number of x."""
    return {*word} <= {*"rgbnx"} and all(word.count(letter) == 1 for letter in "rgb") and word.count("n") < 2


def read_filled(scene: Scene, window: Window) -> Reflectance:
    """Reads a window that may hang over the edge: reflectance ``(4, h, w)``, NaN outside and where there is no data."""
    out = np.full((4, int(window.height), int(window.width)), np.nan, "float32")
    if intersect(window, scene.grid.whole):
        inside = window.intersection(scene.grid.whole)
        part = Window(inside.col_off - window.col_off, inside.row_off - window.row_off, inside.width, inside.height)
        out[:, *part.toslices()] = scene.read(inside).data
    return out


@contextmanager
def reading_down(scene: Scene, most: int, level: int = 1) -> Iterator[Callable[[int, Reflectance], None]]:
    """Reads a scene from top to bottom, ahead of need by about ``most`` pixels, starting at once.

    What it gives fills an array ``(4, rows, width)`` with reflectance from a row on, NaN where there is no data. Ask
    for rows in their order, each once. For ``level`` see `Scene.read_raw`.
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
            last = first + out.shape[1]
            while first < last:
                if piece is None:
                    begin, piece = first, next(pieces)
                part = slice(first - begin, min(last - begin, piece.valid.shape[0]))
                count = part.stop - part.start
                piece.reflectance(part, out[:, out.shape[1] - (last - first) :][:, :count])
                first += count
                if part.stop == piece.valid.shape[0]:
                    piece = None

        yield fill


def sample_pixels(
    grid: GeoBox, read: Callable[[Window], tuple[NDArray[np.generic], Valid]], level: int = 1
) -> Iterator[NDArray[np.generic]]:
    """The valid pixels ``(band, n)`` of small windows spread over a grid, each ``level`` × ``level`` of them as one."""
    side, count = 64, 5
    height, width = (n // level for n in grid.shape)
    rows, cols = (sorted({int(i * max(n - side, 0) / (count - 1)) for i in range(count)}) for n in (height, width))
    # Where the windows leave nothing out, one read takes a fifth of the time of 25.
    whole = read(grid.whole) if max(height, width) <= side * count else None
    for row in rows:
        for col in cols:
            part = Window(col, row, min(side, width), min(side, height))
            window = Window(*(level * n for n in part.flatten()))
            values, valid = read(window) if whole is None else (each[..., *part.toslices()] for each in whole)
            yield values[:, valid]


class Observed(NamedTuple):
    """The 0.1, 50 and 99.9 percentiles of one band's valid pixels; NaN without any."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at a scene's raw values, and the share of valid pixels in what was looked at."""

    bands: tuple[Observed, ...]
    valid_share: float = 0.0

    @property
    def low(self) -> float:
        """The lowest of the bands' low values."""
        return min(low for low, _, _ in self.bands)

    @property
    def high(self) -> float:
        """The highest of the bands' high values."""
        return max(high for _, _, high in self.bands)
