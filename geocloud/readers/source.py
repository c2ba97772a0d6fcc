"""A source as a user names it, and what every reader of one has: `match`, `scenes`, `recipe` and `files`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path, PurePosixPath

import rasterio

from geocloud.errors import SceneNotFoundError, SceneReadError, without_secrets
from geocloud.io.gdal import is_gdal_name, stem_of
from geocloud.io.remote import is_remote, is_store, names_file
from geocloud.readers.archive import Listing, archive_stem, is_archive, list_archive, list_bucket, list_folder
from geocloud.readers.base import ReadOptions, SceneRecipe
from geocloud.readers.stack import open_raster

STAC_SUFFIXES = (".json", ".geojson")
RASTER_SUFFIXES = (".tif", ".tiff")
"""Rasters that are looked for in folders and archives."""


class Form(Enum):
    """Kind of place that holds a source."""

    FOLDER = "folder on a disk"
    FILE = "file on a disk"
    ARCHIVE = "tar or zip, on a disk or at a URL"
    BUCKET = "folder in an object store"
    URL = "file at a URL"
    NAME = "name that GDAL knows, or FILE#ID of a STAC item"


@dataclass(frozen=True)
class Source:
    """A path, a URL, a name that GDAL knows, or a file or URL with ``#ID`` for an item of a STAC collection."""

    place: str

    @cached_property
    def form(self) -> Form:
        """The kind of place, by the name and the disk alone. Raises SceneNotFoundError."""
        named = PurePosixPath(without_secrets(self.place).partition("#")[0])
        is_stac = named.suffix.lower() in STAC_SUFFIXES
        if is_remote(self.place):
            if is_archive(named) and named.suffix.lower() != ".safe":
                return Form.ARCHIVE
            return Form.URL if is_stac or names_file(self.place) or not is_store(self.place) else Form.BUCKET
        if self.path.is_dir():
            return Form.FOLDER
        if is_gdal_name(self.place) or (not self.path.exists() and is_stac and Path(named).is_file()):
            return Form.NAME
        if not self.path.exists():
            raise SceneNotFoundError(f"{self.path}: no such file or folder")
        return Form.ARCHIVE if is_archive(self.path) else Form.FILE

    @property
    def path(self) -> Path:
        """The place as a path on a disk."""
        return Path(self.place)

    @property
    def stem(self) -> str:
        """A short name, without folders and suffix."""
        if is_remote(self.place):
            return PurePosixPath(without_secrets(self.place)).stem
        return stem_of(self.place) if self.form is Form.NAME else archive_stem(self.path.stem)

    @cached_property
    def listing(self) -> Listing:
        """The files in a folder, archive or bucket, or beside a file; none for a single URL or name."""
        if self.form in (Form.FOLDER, Form.FILE):
            return list_folder(self.path if self.member is None else self.path.parent)
        if self.form is Form.ARCHIVE:
            return list_archive(self.place if is_remote(self.place) else self.path)
        return list_bucket(self.place) if self.form is Form.BUCKET else Listing(self.place, self.stem)

    @property
    def member(self) -> str | None:
        """The file's name in `listing` if the source is one file on a disk."""
        return self.path.name if self.form is Form.FILE else None

    @cached_property
    def has_many_bands(self) -> bool:
        """True for a file of several bands; False for one of a single band, and for what is no raster."""
        try:
            return self.form is Form.FILE and count_bands(self.place) > 1
        except SceneReadError:
            return False


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

    title = ""
    """Sources that it reads, for the table in the documentation."""
    notes = ""
    """Details, for the same table."""
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


def count_bands(path: str) -> int:
    """The number of a raster's bands. Raises SceneReadError."""
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), open_raster(path, path) as dataset:
            return int(dataset.count)  # half the time: no search for files beside it
    except SceneReadError:  # of some formats these are part
        with open_raster(path, path) as dataset:
            return int(dataset.count)
