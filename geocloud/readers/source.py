"""Sources, options for reading them, and recipes, from which any process can open a scene."""

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
from geocloud.errors import BandError, OptionError, SceneNotFoundError, SceneReadError, UnitsError, without_secrets
from geocloud.grid import GeoBox
from geocloud.io.gdal import is_gdal_name, stem_of
from geocloud.io.remote import is_remote, is_store, names_file
from geocloud.options import explained
from geocloud.readers.archive import ARCHIVE, PACKED, Listing, list_archive, list_bucket, list_folder

STAC_SUFFIXES = (".json", ".geojson")
RASTER_SUFFIXES = (".tif", ".tiff")  # suffixes of rasters in folders and archives
ORDER = re.compile(r"(?!.*([rgbn]).*\1)(?=.*r)(?=.*g)(?=.*b)[rgbnx]+")
"""Band letters: one r, one g, one b, at most one n, and any number of x."""


@dataclass(frozen=True, slots=True)
class BandSource:
    """One band: a path that GDAL opens (or the text of a VRT), a label for messages, and the number in the file."""

    path: str
    label: str
    index: int = 1


@dataclass(frozen=True, slots=True)
class SceneRecipe:
    """Everything needed to open a scene, in this or another process. None: unknown."""

    name: str
    """Name of the product or file."""
    source: str
    """The source as the user named it, without secrets."""
    bands: tuple[BandSource, ...]
    """Red, green, blue and, if present, nir."""
    units: Units = Units.AUTO
    """Units by names or metadata, to be checked against the pixel values."""
    conversion: Conversion | None = None
    """Conversion from metadata, without the sun's elevation; None: that of the units."""
    fill: float | None = None
    """A pixel with this value in any band is no data."""
    acquired: datetime | None = None
    """Time of acquisition, UTC."""
    sun_elevation: float | None = None
    """Degrees above the horizon."""
    sun_azimuth: float | None = None
    """Degrees clockwise from north."""
    georeference: GeoBox | None = None
    """CRS, and transform if the size matches, for rasters without georeferencing."""
    kind: str = "raster"
    """Product type, for display."""
    swir1: Conversion | None = None
    """Level-1 conversion of the band at 1.6 µm, without the sun's elevation, if it differs between bands."""


@explained
@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Facts about a source, given by the user; None and AUTO: detected. Raises UnitsError, BandError, OptionError."""

    units: Units = Units.AUTO
    """Units of the pixel values."""
    sun_elevation: float | None = None
    """Elevation of the sun in degrees, for Level-1 values without metadata."""
    scale: float | None = None
    """Scale in reflectance = scale · value + offset, instead of units."""
    offset: float | None = None
    """Offset, see scale; None: 0."""
    bands: tuple[int, ...] | str | None = None
    """Numbers of red, green, blue and, optionally, nir: a raster's band numbers, from 1 on, or the numbers in the file
    names of a folder or archive. Or one letter per band, such as ``"bgrn"`` (x: not used), for a raster without band
    names; letters are ignored if the bands have names."""
    scene_id: str | None = None
    """ID of the scene to read from a folder of 38-Cloud patches."""
    extent: tuple[float, float, float, float] | None = None
    """Bounds to read: left, bottom, right, top in the scene's CRS; None: the whole scene."""
    pixel_size: float | None = None
    """Pixel size in metres, for rasters whose CRS does not give it; None: from transform and CRS."""

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
        left, bottom, right, top = self.extent or (0, 0, 1, 1)
        if not (-math.inf < left < right < math.inf and -math.inf < bottom < top < math.inf):
            wanted = "finite left, bottom, right, top, right of left and above bottom"
            raise OptionError(f"extent {self.extent}: wanted {wanted}")

    @property
    def band_numbers(self) -> tuple[int, ...] | None:
        """Band numbers given by the user; None if ``bands`` are letters, which apply to rasters without band names."""
        return None if isinstance(self.bands, str) else self.bands


def parse_time(text: str, form: str = "") -> datetime | None:
    """Time parsed as ISO 8601 or a `datetime.strptime` format, in UTC if it has no time zone; None if invalid."""
    try:
        time = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class Source:
    """A path, a URL, a GDAL name, or a file or URL with ``#ID`` for an item of a STAC collection.

    ``place`` is the text given, ``label`` the same without secrets, ``path`` the same as a `Path`, ``stem`` a name
    without folders and suffix, ``member`` the name in `listing` of a single local file. Raises SceneNotFoundError.
    """

    form: Literal["folder", "file", "archive", "bucket", "url", "name"]
    """Kind of source, by its name and the local disk alone. Archives may be at URLs; ``name`` is a GDAL name."""

    def __init__(self, place: str) -> None:
        if not place:  # as a Path, it would be the current folder
            raise SceneNotFoundError("'': the source is empty; name a file, folder or URL (. is the current folder)")
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
        elif not self.path.is_file():  # opening a pipe would wait for ever
            raise SceneReadError(f"{place}: not a regular file but a pipe or device; write its content to a file first")
        else:
            self.form = "archive" if ARCHIVE.fullmatch(self.path.name) else "file"
        self.member = self.path.name if self.form == "file" else None
        short = PACKED.sub("", (named if is_remote(place) else self.path).stem)
        self.stem = stem_of(place) if self.form == "name" else short

    @cached_property
    def listing(self) -> Listing:
        """Files in a folder, archive or bucket, or in the folder of a file; empty for a URL or GDAL name."""
        if self.form in ("folder", "file"):
            return list_folder(self.path if self.member is None else self.path.parent)
        if self.form == "archive":
            return list_archive(self.place)
        return list_bucket(self.place) if self.form == "bucket" else Listing(self.place, self.stem)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scene that a batch finds in a folder or bucket, or files that it skips."""

    member: str
    """Name in the listing of one of its files; ``""``: the folder itself."""
    name: str
    """Product ID, or name of the file or folder."""
    files: frozenset[str] = frozenset()
    """Names of files that no other reader may claim."""
    rank: int = 0
    """Rank among sources of the same product: the lowest, the fastest to read, is used."""
    is_scene: bool = True
    """False if the files are claimed but are not a scene."""
    is_product: bool = False
    """True for band files; a folder with a single such product is masked as that product."""
    is_tree: bool = False
    """True if everything below the folder belongs to the scene."""


class Reader(ABC):
    """Recognises and reads one kind of product. Subclass it, and add an instance to `registry.READERS`."""

    product_ids: tuple[str, ...] = ()
    """Regular expressions of product IDs; sources with the same ID contain the same product."""
    virtual = False
    """True if fingerprints include the recipe, since one file may describe several scenes."""
    names = re.compile("")
    """Pattern found in the path of every local file that it reads; `match` is not called for other files."""
    one_band = False
    """True if it reads only single-band files."""

    @abstractmethod
    def match(self, source: Source) -> bool:
        """True if the reader can read a source, by file names and, for a file, the number of bands."""

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """Scenes in a folder or bucket."""
        return iter(())

    @abstractmethod
    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        """Recipe of a matching source. Raises SceneError."""

    def files(self, source: Source) -> tuple[str, ...]:
        """Paths and URLs that the scene is read from, in a fixed order, for fingerprints. Raises SceneError."""
        return (source.place,)
