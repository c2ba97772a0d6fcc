"""Search for scenes in folders, globs, lists, buckets and STAC catalogs; each product is found once."""

from __future__ import annotations

import csv
import glob
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from geocloud.batch.catalog import walk
from geocloud.batch.manifest import MOST_KEYS
from geocloud.batch.rasters import Rasters
from geocloud.errors import SceneError, SceneNotFoundError, SceneReadError, without_secrets
from geocloud.io.gdal import is_gdal_name, stem_of
from geocloud.io.remote import is_remote, list_files
from geocloud.readers import landsat, sentinel2
from geocloud.readers.archive import TAR_SUFFIXES, ZIP_SUFFIXES, is_archive
from geocloud.readers.cloud38 import parse_patch
from geocloud.readers.hls import GRANULE_ID
from geocloud.readers.landsat import ProductName, find_products
from geocloud.readers.locate import Kind, locate
from geocloud.readers.planet import is_beside
from geocloud.readers.sentinel2 import find_root, is_product, safe_scenes
from geocloud.readers.stac import is_item_path

log = logging.getLogger(__name__)

RASTER_SUFFIXES = (".tif", ".tiff")
RESULTS = ("_cloudmask.tif", "_probability.tif")
LIST_SUFFIXES = (".txt", ".csv")
LIST_COLUMNS = ("source", "path", "url", "href", "scene")
PRODUCT_IDS = (landsat.PRODUCT_ID, landsat.SCENE_ID, sentinel2.PRODUCT_ID, GRANULE_ID)


@dataclass(frozen=True, slots=True)
class Found:
    """A scene that was found."""

    source: str
    """Path or URL, as `geocloud.readers.find_recipe` takes it."""
    name: str
    """Product ID, or name of the file or folder."""
    key: str
    """The same for all sources of one product."""
    rank: int
    """Of several sources of one product the lowest is used, as the fastest to read."""
    kind: Kind | None = None
    """What it is read from, where searching a folder has told; None: see `geocloud.readers.locate`."""

    @classmethod
    def of(cls, source: str, name: str, rank: int, kind: Kind | None = None) -> Found:
        """A scene whose key is its product ID, or its path or URL if it has none."""
        source, name = _printable(source), _printable(name)
        if _is_product_id(name):
            key = name if name.isupper() else name.upper()  # of half a million, no second copy
        else:
            key = without_secrets(source) if is_remote(source) else str(Path(source).resolve())
        return cls(source, name, key, rank, kind)


def _is_product_id(name: str) -> bool:
    """True if a name is exactly a product ID of Landsat, Sentinel-2 or HLS."""
    return any(form.fullmatch(name) for form in PRODUCT_IDS)


def _printable(text: str) -> str:
    """Escapes a path that is not UTF-8, which cannot be stored or shown: opening it then fails with an error."""
    return text.encode("utf-8", "backslashreplace").decode()


def find_scenes(sources: Iterable[str], aside: Path | None = None, rasters: Rasters | None = None) -> list[Found]:
    """Finds the scenes in sources, each product once, in order.

    Args:
        sources: Each is one scene; a folder, which is searched for folders of bands (Landsat, HLS, Sentinel-2), .SAFE
            products, archives and multi-band rasters; a glob; a text file that lists sources, or a CSV with a column
            ``source``; a STAC item, item collection or static catalog; or the URL of any of these (folders only in
            object stores).
        aside: The folder of results, which is not searched.
        rasters: Tells which rasters of a folder are scenes; None: by what the manifests in ``aside`` know.

    Raises:
        GeocloudError: SceneNotFoundError for a missing source, SceneReadError for an unreadable list or catalog.
    """
    best: dict[str, Found] = {}
    here = aside.resolve() if aside else None
    for found in _scenes(chain.from_iterable(_expand(source, here) for source in sources), rasters or Rasters(aside)):
        if found.key not in best or found.rank < best[found.key].rank:
            best[found.key] = found
    return list(best.values())


def _scenes(everything: Iterator[Found], rasters: Rasters) -> Iterator[Found]:
    """All but the rasters of folders that are no scenes."""
    while some := list(islice(everything, MOST_KEYS)):
        scenes = rasters.scenes([(found.key, found.source) for found in some if found.kind is Kind.RASTER])
        yield from (found for found in some if found.kind is not Kind.RASTER or found.source in scenes)


def _expand(source: str, aside: Path | None, lists: frozenset[Path] = frozenset()) -> Iterator[Found]:
    """The scenes in a source. ``lists`` are the lists that led to it: lists may be nested, but not circular."""
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
        yield from _in_catalog(source)
    else:
        yield _single(source, path)


def _in_catalog(source: str) -> Iterator[Found]:
    for place, name in walk(source):
        yield Found.of(place, name, 1)


def _single(source: str, path: PurePosixPath | Path, kind: Kind | None = None) -> Found:
    stem, rank, lower = path.stem, 1, path.name.lower()
    for position, suffix in enumerate((*ZIP_SUFFIXES, *TAR_SUFFIXES)):
        if lower.endswith(suffix):
            stem, rank = path.name[: -len(suffix)], 2 + position
    return Found.of(source, re.sub(r"\.SAFE$", "", stem, flags=re.IGNORECASE), rank, kind)


def _in_product(root: Path) -> Iterator[Found]:
    """A Sentinel-2 product, or each of its granules if it has several."""
    try:
        scenes = safe_scenes(root)
    except SceneReadError:  # masking reports it
        scenes = [(root, root.name)]
    for place, name in scenes:
        yield Found.of(str(place), name, 0)


def _part(path: Path, root: Path) -> Iterator[Found]:
    """The scenes that a file or folder inside a Sentinel-2 product stands for: its granule, or the whole product."""
    within = path.resolve()
    found = list(_in_product(root))
    yield from [f for f in found if within.is_relative_to(Path(f.source).resolve())] or found


def _in_folder(folder: Path, names: tuple[str, ...]) -> Iterator[Found]:
    """The scenes among a folder's own files, without single bands that belong to no product."""
    if any((patch := parse_patch(Path(name))) and patch.band == "red" for name in names):  # once, not for each band
        log.warning(
            "%s: 38-Cloud patches are left out of a batch; mask one by its name, or a scene of them with "
            "'geocloud mask FOLDER --scene-id ID'",
            folder,
        )
    products, bands = _products(names)
    for prefix, member in products.items():
        source = folder if len(products) == 1 else folder / member
        yield Found.of(str(source), _product_name(prefix, folder.resolve().name, len(products) > 1), 0)
    for file in names:
        path = folder / file
        if is_archive(path):
            yield _single(str(path), path, Kind.ARCHIVE)
        elif path.suffix.lower() in RASTER_SUFFIXES and not (file in bands or is_beside(file) or parse_patch(path)):
            yield _single(str(path), path, Kind.RASTER)


def _products(names: tuple[str, ...]) -> tuple[dict[str, str], set[str]]:
    """Products among files, as prefix → one of their files; and the names of all band files."""
    groups = find_products(names)
    bands = {name for product in groups for name in product.files.values()}
    return {p.prefix: next(iter(p.files.values())) for p in groups if set(p.files) & {1, 2, 3, 4, 5, 8}}, bands


def _product_name(prefix: str, folder: str, several: bool) -> str:
    own = prefix.rstrip("_-. ")
    return own if own and (several or ProductName.parse(own).text or GRANULE_ID.fullmatch(own)) else folder


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
        except SceneError:  # masking reports it; the other scenes go on
            yield _single(near, Path(near))


def _elsewhere(url: str) -> Iterator[Found]:
    kind = locate(url).kind
    if kind is Kind.ITEM:
        yield from _in_catalog(url)
    elif kind is not Kind.BUCKET:
        yield _single(url, PurePosixPath(without_secrets(url)))
    else:
        folders: dict[str, list[str]] = {}
        for address in list_files(f"{url.rstrip('/')}/"):
            folder, _, name = address.rpartition("/")
            product = re.match(r"(.*?/S2[^/]*\.SAFE)(?:/|$)", folder, re.IGNORECASE)
            folders.setdefault(product[1] if product else folder, []).append(name)
        if not folders:
            raise SceneNotFoundError(f"{url}: no files there")
        for folder, names in sorted(folders.items()):
            yield from _in_bucket(folder, tuple(sorted(names)))


def _in_bucket(folder: str, names: tuple[str, ...]) -> Iterator[Found]:
    """The scenes among the files of a store's folder. Several products in one are an error; masking reports it."""
    if is_product(PurePosixPath(folder).name, names):
        yield _single(folder, PurePosixPath(folder))
        return
    products, bands = _products(names)
    if products:
        yield Found.of(folder, _product_name(next(iter(products)), folder.rpartition("/")[2], False), 0)
    for name in names:
        path = PurePosixPath(name)
        if is_archive(path) or (name not in bands and path.suffix.lower() in RASTER_SUFFIXES):
            yield _single(f"{folder}/{name}", PurePosixPath(name))
