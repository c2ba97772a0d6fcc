"""A source, what a user says of it, and what its reader makes of it: a recipe, from which any process opens it."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, OptionError, SceneNotFoundError, UnitsError, without_secrets
from geocloud.grid import GeoBox
from geocloud.io.gdal import is_gdal_name, stem_of
from geocloud.io.remote import is_remote, is_store, names_file
from geocloud.options import explained
from geocloud.readers.archive import ARCHIVE, PACKED, Listing, list_archive, list_bucket, list_folder

STAC_SUFFIXES = (".json", ".geojson")
RASTER_SUFFIXES = (".tif", ".tiff")  # rasters that are looked for in folders and archives
ORDER = re.compile(r"(?!.*([rgbn]).*\1)(?=.*r)(?=.*g)(?=.*b)[rgbnx]+")
"""One r, g and b, at most one n, and any number of x."""


@dataclass(frozen=True, slots=True)
class BandSource:
    """One band: a path that GDAL can open (or the text of a VRT), its name for people, and its number in the file."""

    path: str
    label: str
    index: int = 1


@dataclass(frozen=True, slots=True)
class SceneRecipe:
    """All that is needed to open a scene, here or in another process. What is None is unknown."""

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
    fill: float | None = None
    """A pixel with this value in any band is no data."""
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
    swir1: Conversion | None = None
    """Conversion of Level-1 values at 1.6 µm, without the sun's elevation, if each band has its own."""


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
        if isinstance(self.bands, str) and not ORDER.fullmatch(self.bands):
            raise BandError(f"bands {self.bands!r}: wanted a letter per band, such as rgbn or bgrn (x: not used)")
        if numbers is not None and not (len({*numbers}) == len(numbers) in (3, 4) and min(numbers) >= 1):
            raise BandError(f"bands {numbers}: wanted different numbers from 1, of red, green, blue and, if any, nir")
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


class Source:
    """A path, a URL, a name that GDAL knows, or a file or URL with ``#ID`` for an item of a STAC collection.

    ``label`` is the place without secrets, ``path`` the place as a path on a disk, ``stem`` a short name without
    folders and suffix, and ``member``, for one file on a disk, its name in `listing`. Raises SceneNotFoundError.
    """

    form: Literal["folder", "file", "archive", "bucket", "url", "name"]
    """Kind of place, by the name and the disk alone. An archive may be at a URL; a name is one that GDAL knows."""

    def __init__(self, place: str) -> None:
        self.place, self.path, self.label = place, Path(place), without_secrets(place)
        named = PurePosixPath(self.label.partition("#")[0])
        is_stac = named.suffix.lower() in STAC_SUFFIXES
        if is_remote(place):
            is_file = is_stac or names_file(place) or not is_store(place)
            is_archive = ARCHIVE.fullmatch(named.name) and named.suffix.lower() != ".safe"
            self.form = "archive" if is_archive else "url" if is_file else "bucket"
        elif self.path.is_dir():
            self.form = "folder"
        elif is_gdal_name(place) or (is_stac and not self.path.exists() and Path(named).is_file()):
            self.form = "name"
        elif not self.path.exists():
            raise SceneNotFoundError(f"{place}: no such file or folder")
        else:
            self.form = "archive" if ARCHIVE.fullmatch(self.path.name) else "file"
        self.member = self.path.name if self.form == "file" else None
        short = PACKED.sub("", (named if is_remote(place) else self.path).stem)
        self.stem = stem_of(place) if self.form == "name" else short

    @cached_property
    def listing(self) -> Listing:
        """The files in a folder, archive or bucket, or beside a file; none for a single URL or name."""
        if self.form in ("folder", "file"):
            return list_folder(self.path if self.member is None else self.path.parent)
        if self.form == "archive":
            return list_archive(self.place)
        return list_bucket(self.place) if self.form == "bucket" else Listing(self.place, self.stem)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scene that a batch finds among the files of a folder or bucket, or files that belong to none."""

    member: str
    """One of its files, by its name in the listing; ``""``: the folder itself."""
    name: str
    """Product ID, or name of the file or folder."""
    files: frozenset[str] = frozenset()
    """Names of files that no other reader may claim."""
    rank: int = 0
    """Order of preference among sources of one product: the lowest, the fastest to read, is used."""
    is_scene: bool = True
    """False: the files are claimed, but are no scene."""
    is_product: bool = False
    """True for band files: a folder that holds one such product stands for it."""
    is_tree: bool = False
    """True if all that is below the folder belongs to the scene."""


class Reader(ABC):
    """Recognises and reads the sources of one maker. Subclass it, and name an instance in `registry.READERS`."""

    product_ids: tuple[str, ...] = ()
    """Regular expressions of product IDs: two sources with one ID hold the same product."""
    virtual = False
    """True if a fingerprint depends on the recipe instead of the file that holds it."""
    names = re.compile("")
    """Occurs in the path of each file on a disk that it reads: about others it is not asked."""
    one_band = False
    """True if it reads no file of several bands."""

    @abstractmethod
    def match(self, source: Source) -> bool:
        """True for a source of this kind, by names alone, but for a file's number of bands."""

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """The scenes among the files of a folder or bucket."""
        return iter(())

    @abstractmethod
    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        """The recipe of a source that matches. Raises SceneError."""

    def files(self, source: Source) -> tuple[str, ...]:
        """Paths and URLs that the scene is read from, in a fixed order, for fingerprints. Raises SceneError."""
        return (source.place,)
