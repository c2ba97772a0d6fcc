"""Sources of every kind, each turned into a `Scene`."""

from __future__ import annotations

from pathlib import Path

from geocloud.errors import BandError, SceneNotFoundError, SceneReadError
from geocloud.scene.base import ReadOptions, Scene, SceneRecipe, read_filled, reading_down
from geocloud.scene.cloud38 import find_patches, parse_patch, patch_recipe, scene_recipe
from geocloud.scene.container import is_archive, open_container
from geocloud.scene.geotiff import geotiff_recipe
from geocloud.scene.landsat import belongs_to_product, landsat_recipe
from geocloud.scene.raster import RasterScene, open_raster

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
    38-Cloud patches, one file of a patch, or a raster with several bands. Raises SceneError.
    """
    options = options or ReadOptions()
    path = Path(source)
    if not path.exists():
        raise SceneNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        if options.scene_id is not None or next(find_patches(path), None):
            return scene_recipe(path, options)
        return _product(path, options)
    if options.scene_id is not None:
        raise BandError(f"{path}: --scene-id picks a scene of a 38-Cloud folder, and this is a file")
    if is_archive(path):
        return _product(path, options)
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


def _product(path: Path, options: ReadOptions) -> SceneRecipe:
    container = open_container(path)
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
