"""Sources of every kind, each turned into a `Scene`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from geocloud.errors import BandError
from geocloud.io.remote import is_remote
from geocloud.readers.archive import Container, is_archive, open_bucket, open_container
from geocloud.readers.base import ReadOptions, Scene, SceneRecipe, read_filled, reading_down
from geocloud.readers.cloud38 import patch_recipe, scene_recipe
from geocloud.readers.geotiff import geotiff_recipe
from geocloud.readers.hls import find_granules, hls_recipe
from geocloud.readers.landsat import find_products, landsat_recipe
from geocloud.readers.locate import Kind, Source, locate
from geocloud.readers.scene import RasterScene
from geocloud.readers.sentinel2 import FOLDER, find_packed, open_safe, safe_recipe
from geocloud.readers.sentinel2_bands import bands_recipe, belonging, find_bands
from geocloud.readers.stac import item_recipe

__all__ = [
    "RasterScene",
    "ReadOptions",
    "Scene",
    "SceneRecipe",
    "Source",
    "find_recipe",
    "locate",
    "open_scene",
    "read_filled",
    "reading_down",
]


def find_recipe(source: str | Path, options: ReadOptions | None = None) -> SceneRecipe:
    """How a source is read, found without reading pixels.

    A folder or archive (.tar, .tar.gz, .tgz, .zip) of a Landsat product, an HLS granule or bare Sentinel-2 bands, or
    any one file of such a folder; a Sentinel-2 product (.SAFE), an archive of one, or a part of one; a folder of
    38-Cloud patches, one file of a patch, a raster with several bands, or a STAC item (``FILE#ID``: one of an item
    collection). Rasters, archives, items and, in object stores, folders may be remote. Raises SceneError.
    """
    options = options or ReadOptions()
    found = locate(source)
    if options.scene_id is not None and not found.is_folder:
        raise BandError(f"{found.place}: --scene-id picks a scene of a 38-Cloud folder, which this is not")
    if options.scene_id is not None or found.kind is Kind.PATCHES:
        return scene_recipe(found.path, options)
    match found.kind:
        case Kind.ITEM:
            return item_recipe(found.place, options)
        case Kind.PATCH:
            return patch_recipe(found.path, options)
        case Kind.BAND:
            return _bands(open_container(found.path.parent), options, found.path.name)
        case Kind.SAFE:
            return open_safe(found.path, options)
        case Kind.BUCKET if FOLDER.fullmatch(PurePosixPath(found.place).name):
            return safe_recipe(found.place, open_bucket(found.place, below=True), options)
        case Kind.BUCKET:
            return _bands(open_bucket(found.place), options)
        case Kind.NAME:
            return geotiff_recipe(found.place, options)
        case Kind.RASTER:
            return geotiff_recipe(found.place if is_remote(found.place) else str(found.path), options)
        case Kind.ARCHIVE if is_remote(found.place):
            return _product(open_container(found.place), options)
        case Kind.BANDS | Kind.ARCHIVE:
            try:
                return _product(open_container(found.path), options)
            except BandError as error:
                if found.is_folder and _holds_scenes(found.path):
                    raise BandError(f"{error}; to mask all in it: geocloud batch {found.place} -o masks") from error
                raise


def open_scene(source: str | Path, options: ReadOptions | None = None) -> RasterScene:
    """Opens a source as a `Scene`; close it, or use it in a ``with`` block. Raises SceneError."""
    return RasterScene(find_recipe(source, options), options)


def _product(container: Container, options: ReadOptions) -> SceneRecipe:
    path = Path(container.source)
    if not container.names:
        inside = "only folders in it; name one of them" if path.is_dir() and any(path.iterdir()) else "it is empty"
        raise BandError(f"{container.source}: no Landsat band files, {inside}")
    packed = find_packed(container.names)
    if len(packed) > 1:
        shown = ", ".join(packed[:4]) + (" …" if len(packed) > 4 else "")
        found = f"{len(packed)} Sentinel-2 products in one archive ({shown})"
        raise BandError(f"{container.source}: {found}; unpack it and name one")
    if packed:
        return safe_recipe(container.source, container.below(packed[0]), options)
    return _bands(container, options)


def _bands(container: Container, options: ReadOptions, member: str | None = None) -> SceneRecipe:
    """Band files side by side: HLS's, Sentinel-2's or Landsat's, as the names tell of all, or of one (``member``)."""
    granules, bands = find_granules(container.names), find_bands(container.names, container.stem)
    if member is not None:
        granules = {name: layers for name, layers in granules.items() if member.startswith(name)}
        bands = belonging(bands, member)
    else:
        taken = {name for found in (*granules.values(), *(group.files for group in bands)) for name in found.values()}
        rest = find_products(tuple(name for name in container.names if name not in taken))
        kinds = bool(granules), bool(bands), any({2, 3, 4} <= set(product.files) for product in rest)
        if sum(kinds) > 1:
            raise BandError(
                f"{container.source}: bands of Landsat, Sentinel-2 and HLS in one place; name one file of one"
            )
    if granules:
        return hls_recipe(container, options, member)
    if bands:
        return bands_recipe(container, options, member)
    return landsat_recipe(container, options, member)


def _holds_scenes(folder: Path) -> bool:
    """True where files and folders in it may be scenes, each by itself; not for parts of one product."""
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    products = {product.prefix for product in find_products(tuple(names))}
    if products:
        return len(products) > 1
    files = [name for name in names if name.lower().endswith((".tif", ".tiff")) or is_archive(Path(name))]
    folders = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return len(files) + len(folders) > 1
