"""Scenes in folders, globs, lists, buckets and STAC catalogs, each product once."""

from __future__ import annotations

import csv
import glob
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from geocloud.errors import SceneError, SceneNotFoundError, SceneReadError, without_secrets
from geocloud.io.gdal import is_gdal_name, stem_of
from geocloud.io.remote import is_remote, list_files, read_bytes
from geocloud.scene.container import TAR_SUFFIXES, ZIP_SUFFIXES, is_archive
from geocloud.scene.hls import GRANULE_ID
from geocloud.scene.landsat import ProductName, find_products
from geocloud.scene.layers import open_raster
from geocloud.scene.locate import Kind, locate
from geocloud.scene.planet import is_beside
from geocloud.scene.sentinel2 import PRODUCT_ID, find_root, is_product, safe_scenes
from geocloud.scene.stac import is_item_path

log = logging.getLogger(__name__)

RASTER_SUFFIXES = (".tif", ".tiff")
RESULTS = ("_cloudmask.tif", "_probability.tif")
LIST_SUFFIXES = (".txt", ".csv")
LIST_COLUMNS = ("source", "path", "url", "href", "scene")


@dataclass(frozen=True, slots=True)
class Found:
    """A scene that is there to be masked.

    ``source`` is what `geocloud.scene.find_recipe` takes, ``key`` what two sources of the same product share.
    ``rank``: of those the lowest is the quickest to read.
    """

    source: str
    name: str
    key: str
    rank: int

    @classmethod
    def of(cls, source: str, name: str, rank: int) -> Found:
        """A product's id says that two are the same; without one, their place does."""
        source, name = _printable(source), _printable(name)
        same = name.upper() if _is_product_id(name) else None
        return cls(
            source, name, same or (without_secrets(source) if is_remote(source) else str(Path(source).resolve())), rank
        )


def _is_product_id(name: str) -> bool:
    """True where a name is a product's id and nothing else: Landsat's, Sentinel-2's or HLS's."""
    landsat = ProductName.parse(name).text
    return landsat == name or bool(PRODUCT_ID.fullmatch(name) or GRANULE_ID.fullmatch(name))


def _printable(text: str) -> str:
    """A path that is not UTF-8 cannot be kept or shown as it is: escaped, it fails, and somebody hears of it."""
    return text.encode("utf-8", "backslashreplace").decode()


def find_scenes(sources: Iterable[str], aside: Path | None = None) -> list[Found]:
    """What sources hold, each product once, in the order in which they come.

    A source is a folder, which is searched for folders of bands (Landsat, HLS, Sentinel-2), for ….SAFE products, for
    archives and for rasters of several bands; a glob; a text file of sources, or a CSV with a column ``source``; a STAC
    item, item collection or static catalog; one scene; or the address of any of these (folders only on ``s3://``). The
    folder ``aside``, where results go, is not searched. Raises SceneNotFoundError for what is not there, SceneReadError
    for a list or catalog that cannot be read.
    """
    best: dict[str, Found] = {}
    for source in sources:
        for found in _expand(source, aside.resolve() if aside else None):
            if found.key not in best or found.rank < best[found.key].rank:
                best[found.key] = found
    return list(best.values())


def _expand(source: str, aside: Path | None, lists: frozenset[Path] = frozenset()) -> Iterator[Found]:
    """What a source holds; ``lists`` are those that it stands in, for a list may hold others, but not itself."""
    if is_remote(source):
        yield from _elsewhere(source)
        return
    path = Path(source)
    if is_gdal_name(source):
        yield Found(source, stem_of(source), source, 1)
        return
    if not path.exists():
        if glob.has_magic(source):
            matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            if not matches:
                raise SceneNotFoundError(f"{source}: nothing matches")
            for match in matches:
                if not (match.endswith(RESULTS) and Path(match).parent.resolve() == aside):
                    yield from _expand(match, aside, lists)
            return
        if "#" not in source:
            raise SceneNotFoundError(f"{source}: no such file or folder")
    if (root := find_root(path)) and root.resolve() != path.resolve():
        yield from _part(path, root)
    elif path.is_dir():
        for folder, folders, files in os.walk(path):
            here = Path(folder)
            if is_product(here.absolute().name, (*files, *folders)):
                folders.clear()
                yield from _in_product(here)
                continue
            folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != aside)
            yield from _in_folder(here, tuple(sorted(f for f in files if not f.startswith("."))))
    elif path.suffix.lower() in LIST_SUFFIXES and not path.name.lower().endswith("mtl.txt"):
        if path.resolve() not in lists:
            yield from _listed(path, aside, lists | {path.resolve()})
    elif is_item_path(path):
        yield from _catalog(source)
    else:
        yield _single(source, path)


def _single(source: str, path: PurePosixPath | Path) -> Found:
    stem, rank = path.stem, 1
    for position, suffix in enumerate((*ZIP_SUFFIXES, *TAR_SUFFIXES)):
        if path.name.lower().endswith(suffix):
            stem, rank = path.name[: -len(suffix)], 2 + position
    return Found.of(source, re.sub(r"\.SAFE$", "", stem, flags=re.IGNORECASE), rank)


def _in_product(root: Path) -> Iterator[Found]:
    """A Sentinel-2 product, or each of its granules where there are several."""
    try:
        scenes = safe_scenes(root)
    except SceneReadError:  # the run tells of it
        scenes = [(root, root.name)]
    for place, name in scenes:
        yield Found.of(str(place), name, 0)


def _part(path: Path, root: Path) -> Iterator[Found]:
    """What a file or folder in a Sentinel-2 product stands for: its granule, or all of the product."""
    within = path.resolve()
    found = list(_in_product(root))
    yield from [f for f in found if within.is_relative_to(Path(f.source).resolve())] or found


def _in_folder(folder: Path, names: tuple[str, ...]) -> Iterator[Found]:
    """The scenes among a folder's own files; single bands that belong to no product are passed over."""
    products, bands = _products(names)
    for prefix, member in products.items():
        source = folder if len(products) == 1 else folder / member
        yield Found.of(str(source), _product_name(prefix, folder.resolve().name, len(products) > 1), 0)
    for file in names:
        path = folder / file
        if is_archive(path) or (path.suffix.lower() in RASTER_SUFFIXES and file not in bands and _may_be_scene(path)):
            yield _single(str(path), path)


def _products(names: tuple[str, ...]) -> tuple[dict[str, str], set[str]]:
    """Products among files, by prefix with one of their files; and all files that are bands."""
    groups = find_products(names)
    bands = {name for product in groups for name in product.files.values()}
    return {p.prefix: next(iter(p.files.values())) for p in groups if set(p.files) & {1, 2, 3, 4, 5, 8}}, bands


def _product_name(prefix: str, folder: str, several: bool) -> str:
    own = prefix.rstrip("_-. ")
    return own if own and (several or ProductName.parse(own).text or GRANULE_ID.fullmatch(own)) else folder


def _may_be_scene(path: Path) -> bool:
    """False for rasters of one band, such as masks; what cannot be opened is kept, so that somebody hears of it."""
    if is_beside(path.name):
        return False
    try:
        with open_raster(str(path), str(path)) as dataset:
            return bool(dataset.count > 1)
    except SceneReadError:
        return True


def _listed(path: Path, aside: Path | None, lists: frozenset[Path]) -> Iterator[Found]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneReadError(f"{path}: cannot be read as a list of scenes ({error})") from error
    if path.suffix.lower() == ".csv":
        rows = list(csv.reader(io.StringIO(text)))
        heads = [head.strip().lower() for head in rows[0]] if rows else []
        column = next((heads.index(head) for head in LIST_COLUMNS if head in heads), None)
        if column is None:
            raise SceneReadError(
                f"{path}: no column {' or '.join(LIST_COLUMNS)} in its first line ({', '.join(heads)})"
            )
        lines = [row[column] for row in rows[1:] if len(row) > column]
    else:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in (line.strip() for line in lines if line.strip()):
        near = line if is_remote(line) or is_gdal_name(line) or Path(line).exists() else str(path.parent / line)
        try:
            yield from _expand(near, aside, lists)
        except SceneError:  # the run tells of it, and masks the others
            yield _single(near, Path(near))


def _elsewhere(url: str) -> Iterator[Found]:
    kind = locate(url).kind
    if kind is Kind.ITEM:
        yield from _catalog(url)
    elif kind is not Kind.BUCKET:
        yield _single(url, PurePosixPath(without_secrets(url)))
    else:
        folders: dict[str, list[str]] = {}
        for address in list_files(f"{url.rstrip('/')}/"):
            folder, _, name = address.rpartition("/")
            product = re.match(r"(.*?/S2[^/]*\.SAFE)(?:/|$)", folder, re.IGNORECASE)
            folders.setdefault(product[1] if product else folder, []).append(name)
        if not folders:
            raise SceneNotFoundError(f"{url}: nothing is there")
        for folder, names in sorted(folders.items()):
            yield from _in_bucket(folder, tuple(sorted(names)))


def _in_bucket(folder: str, names: tuple[str, ...]) -> Iterator[Found]:
    """The same in a bucket, where several products in one place cannot be told apart: masking says so."""
    if is_product(PurePosixPath(folder).name, names):
        yield _single(folder, PurePosixPath(folder))
        return
    products, bands = _products(names)
    if products:
        yield Found.of(folder, _product_name(next(iter(products)), folder.rpartition("/")[2], False), 0)
    for name in names:
        if name not in bands and PurePosixPath(name).suffix.lower() in RASTER_SUFFIXES:
            yield _single(f"{folder}/{name}", PurePosixPath(name))


def _catalog(source: str) -> Iterator[Found]:
    """The items of a STAC item, item collection, collection or catalog, with all below it."""
    import pystac  # takes longer to load than to read most sources

    try:
        place = source.partition("#")[0]
        reader = _reader()
        data = reader.json_loads(reader.read_text(place))
        if data.get("type") == "FeatureCollection":
            for feature in data.get("features", []):
                if source in (place, f"{place}#{feature['id']}"):
                    yield Found.of(f"{place}#{feature['id']}", str(feature["id"]), 1)
            return
        if data.get("type") == "Feature":
            yield Found.of(source, str(data["id"]), 1)
            return
        top = pystac.read_file(place, stac_io=reader)
        assert isinstance(top, pystac.Catalog)
        for item in top.get_items(recursive=True):
            yield Found.of(str(item.get_self_href()), item.id, 1)
    except SceneError:
        raise
    except Exception as error:  # pystac raises whatever a wrong file leads it to
        raise SceneReadError(f"{source}: cannot be read as STAC ({' '.join(str(error).split())})") from error


def _reader() -> Any:
    """How pystac reads: from ``s3://`` too."""
    from pystac.stac_io import DefaultStacIO

    class Reader(DefaultStacIO):
        def read_text(self, source: Any, *_: Any, **__: Any) -> str:
            place = str(source)
            return read_bytes(place).decode() if is_remote(place) else Path(place).read_text(encoding="utf-8")

    return Reader()
