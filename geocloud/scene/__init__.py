"""Sources of every kind, each turned into a `Scene`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from geocloud.errors import BandError, SceneNotFoundError, SceneReadError
from geocloud.io.remote import is_remote, names_file
from geocloud.scene.base import ReadOptions, Scene, SceneRecipe, read_filled, reading_down
from geocloud.scene.cloud38 import find_patches, parse_patch, patch_recipe, scene_recipe
from geocloud.scene.container import Container, is_archive, open_bucket, open_container
from geocloud.scene.geotiff import geotiff_recipe
from geocloud.scene.landsat import belongs_to_product, landsat_recipe
from geocloud.scene.raster import RasterScene, open_raster
from geocloud.scene.stac import is_item_path, item_recipe

__all__ = [
    "RasterScene",
    "ReadOptions",
    "Scene",
    "SceneRecipe",
    "find_recipe",
    "open_scene",
    "read_filled",
    "reading_down",
]


def find_recipe(source: str | Path, options: ReadOptions | None = None) -> SceneRecipe:
    """Finds out what a path is, without reading pixels.

    A folder or archive (.tar, .tar.gz, .tgz, .zip) of Landsat band files, any one file of such a folder, a folder of
    38-Cloud patches, one file of a patch, a raster with several bands, or a STAC item (``FILE#ID``: one of an item
    collection). Rasters, items and, on ``s3://``, folders may be elsewhere. Raises SceneError.
    """
    options = options or ReadOptions()
    if isinstance(source, str) and is_remote(source):
        return _elsewhere(source, options)
    item = Path(str(source).partition("#")[0])
    path = Path(source)
    if is_item_path(path) or (not path.exists() and is_item_path(item)):
        return item_recipe(str(source), options)
    if not path.exists():
        raise SceneNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        if options.scene_id is not None or next(find_patches(path), None):
            return scene_recipe(path, options)
        return _product(path, open_container(path), options)
    if options.scene_id is not None:
        raise BandError(f"{path}: --scene-id picks a scene of a 38-Cloud folder, and this is a file")
    if is_archive(path):
        return _product(path, open_container(path), options)
    if parse_patch(path):
        return patch_recipe(path, options)
    if not _has_many_bands(path):
        folder = open_container(path.parent)
        if belongs_to_product(path.name, folder.names):
            return landsat_recipe(folder, options, path.name)
    return geotiff_recipe(path, options)


def open_scene(source: str | Path, options: ReadOptions | None = None) -> RasterScene:
    """Opens a source as a `Scene`; close it, or use it in a ``with`` block. Raises SceneError."""
    return RasterScene(find_recipe(source, options), options)


def _elsewhere(url: str, options: ReadOptions) -> SceneRecipe:
    path = PurePosixPath(url.partition("#")[0])
    if path.suffix.lower() in (".json", ".geojson"):
        return item_recipe(url, options)
    if is_archive(path):
        raise SceneReadError(f"{url}: archives are read from a disk only; fetch it, or name its folder or STAC item")
    if names_file(url) or not url.startswith("s3://"):
        return geotiff_recipe(url, options)
    return landsat_recipe(open_bucket(url), options)


def _product(path: Path, container: Container, options: ReadOptions) -> SceneRecipe:
    if not container.names:
        inside = "only folders in it; name one of them" if path.is_dir() and any(path.iterdir()) else "it is empty"
        raise BandError(f"{path}: no Landsat band files, {inside}")
    return landsat_recipe(container, options)


def _has_many_bands(path: Path) -> bool:
    """False for a single band, and for what is no raster: a text beside bands, for example."""
    try:
        with open_raster(str(path), str(path)) as dataset:
            return bool(dataset.count > 1)
    except SceneReadError:
        return False
