"""What a source is, and which files it is made of: decided here, for masking, batches and fingerprints alike."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath, PurePosixPath

import rasterio

from geocloud.errors import SceneNotFoundError, SceneReadError, without_secrets
from geocloud.io.gdal import file_of, is_gdal_name
from geocloud.io.remote import is_remote, is_store, list_files, names_file
from geocloud.readers.archive import is_archive, open_container
from geocloud.readers.cloud38 import find_patches, parse_patch, patch_files
from geocloud.readers.landsat import BAND_FILE, METADATA_FILE, belongs_to_product
from geocloud.readers.layers import open_raster
from geocloud.readers.planet import files_beside
from geocloud.readers.sentinel2 import BAND_FILE as SAFE_BAND
from geocloud.readers.sentinel2 import PRODUCT_FILE, TILE_FILE, find_root, safe_files
from geocloud.readers.sentinel2_bands import BAND_FILE as SENTINEL2_BAND
from geocloud.readers.stac import STAC_SUFFIXES, is_item_path, item_files

PARTS = (BAND_FILE, METADATA_FILE, SENTINEL2_BAND, PRODUCT_FILE, TILE_FILE)
"""Names of a product's bands and metadata, where they lie side by side."""


class Kind(StrEnum):
    """What a scene is read from."""

    ITEM = "STAC item"
    RASTER = "raster"
    NAME = "name that GDAL knows"
    BANDS = "band files in a folder"
    BAND = "one of several band files"
    SAFE = "Sentinel-2 product, or a part of one"
    ARCHIVE = "archive of band files"
    BUCKET = "band files in a bucket"
    PATCH = "38-Cloud patch"
    PATCHES = "folder of 38-Cloud patches"


@dataclass(frozen=True, slots=True)
class Source:
    """A scene's kind and place."""

    kind: Kind
    place: str
    """As the user named it: a path, an address, or either with ``#ID`` for one item of a collection."""

    @property
    def path(self) -> Path:
        """The place, where it is on a disk."""
        return Path(self.place)

    @property
    def is_folder(self) -> bool:
        """True for a folder on a disk."""
        return self.kind in (Kind.BANDS, Kind.PATCHES)

    def files(self) -> tuple[str, ...]:
        """Paths and addresses of all that the scene is read from, in a fixed order. Raises SceneError, OSError."""
        match self.kind:
            case Kind.ITEM:
                return item_files(self.place)
            case Kind.NAME:
                return (file_of(self.place) or self.place,)
            case Kind.BUCKET:
                return tuple(url for url in list_files(f"{self.place.rstrip('/')}/") if _is_part(url))
            case Kind.BANDS:
                files = [str(file) for file in sorted(self.path.iterdir()) if file.is_file()]
                return tuple(file for file in files if _is_part(file)) or tuple(files)
            case Kind.SAFE:
                return safe_files(self.path)
            case Kind.PATCHES:
                return tuple(sorted(str(patch.path) for patch in find_patches(self.path)))
            case Kind.RASTER if not is_remote(self.place):
                return (self.place, *(str(file) for file in files_beside(self.path)))
            case Kind.BAND | Kind.PATCH:
                return tuple(sorted({self.place, *_siblings(self.path)}))
            case _:
                return (self.place,)


def locate(source: str | Path) -> Source:
    """Finds out what a source is by names alone, but for a file's number of bands; reads no pixels.

    Raises SceneNotFoundError, SceneReadError.
    """
    place = str(source)
    return Source(_kind_elsewhere(place) if is_remote(place) else _kind_here(place), place)


def _kind_elsewhere(url: str) -> Kind:
    path = PurePosixPath(without_secrets(url).partition("#")[0])
    if path.suffix.lower() in STAC_SUFFIXES:
        return Kind.ITEM
    if is_archive(path):
        return Kind.ARCHIVE
    return Kind.RASTER if names_file(url) or not is_store(url) else Kind.BUCKET


def _kind_here(place: str) -> Kind:
    path = Path(place)
    if is_item_path(path) or (not path.exists() and is_item_path(Path(place.partition("#")[0]))):
        return Kind.ITEM
    if is_gdal_name(place):
        return Kind.NAME
    if not path.exists():
        raise SceneNotFoundError(f"{path}: no such file or folder")
    if find_root(path) and (path.is_dir() or not _is_picture(path)):
        return Kind.SAFE
    if path.is_dir():
        return Kind.PATCHES if next(find_patches(path), None) else Kind.BANDS
    if is_archive(path):
        return Kind.ARCHIVE
    if parse_patch(path):
        return Kind.PATCH
    if not _has_many_bands(path) and _belongs(path.name, open_container(path.parent).names):
        return Kind.BAND
    return Kind.RASTER


def _is_picture(path: Path) -> bool:
    """True for a raster of several bands in a Sentinel-2 product: its true-colour image, as a rule."""
    raster = path.suffix.lower() in (".jp2", ".tif", ".tiff") and not SAFE_BAND.fullmatch(path.name)
    return raster and _has_many_bands(path)


def _belongs(name: str, names: tuple[str, ...]) -> bool:
    return belongs_to_product(name, names) or bool(SENTINEL2_BAND.fullmatch(name))


def _has_many_bands(path: Path) -> bool:
    """False for a single band, and for what is no raster: a text beside bands, for example."""
    try:
        return count_bands(str(path)) > 1
    except SceneReadError:
        return False


def count_bands(path: str) -> int:
    """The number of a raster's bands. Raises SceneReadError."""
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):  # half the time: no search for files beside it
            return _count(path)
    except SceneReadError:  # of some formats these are part
        return _count(path)


def _count(path: str) -> int:
    with open_raster(path, path) as dataset:
        return int(dataset.count)


def _siblings(path: Path) -> list[str]:
    """The other files of the product or patch that a file belongs to."""
    if parse_patch(path):
        return [str(file) for file in patch_files(path) if file]
    named = next((found for form in PARTS[:3] if (found := form.fullmatch(path.name))), None)
    if not named:
        return []
    same = path.parent.glob(glob.escape(named["prefix"].rstrip("_")) + "*")
    return [str(file) for file in same if _is_part(file.name)]


def _is_part(name: str) -> bool:
    """True for bands and metadata; not for what others, or geocloud itself, may have put beside them."""
    base = PurePath(name).name
    return any(form.fullmatch(base) for form in PARTS)
