"""Search for scenes in folders, globs, lists, buckets and STAC catalogs, without duplicate products."""

from __future__ import annotations

import csv
import glob
import hashlib
import os
import re
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePosixPath

from geocloud.errors import GeocloudError, SceneError, SceneNotFoundError, SceneReadError, without_secrets
from geocloud.io.gdal import is_gdal_name, stem_of
from geocloud.io.remote import identity, is_remote, list_files
from geocloud.readers.archive import Listing, in_bucket, on_disk
from geocloud.readers.registry import RASTER, READERS, find_reader, scenes_in
from geocloud.readers.sentinel2 import find_root
from geocloud.readers.source import RASTER_SUFFIXES, Candidate, Reader, ReadOptions, Source
from geocloud.readers.stac import absolute, is_item_path, read_document
from geocloud.readers.stack import count_bands

RESULTS = ("_cloudmask.tif", "_probability.tif")
LIST_COLUMNS = ("source", "path", "url", "href", "scene")
_IDS = (re.sub(r"[?]P<[a-z]+>", "?:", pattern) for reader in READERS for pattern in reader.product_ids)
PRODUCT_IDS = re.compile("|".join(f"(?:{pattern})" for pattern in _IDS), re.IGNORECASE)
THREADS = 16
"""Number of catalog items fetched at a time."""


@dataclass(frozen=True, slots=True)
class Found:
    """A scene found in a batch source."""

    source: str  # path or URL, as accepted by `geocloud.open_scene`
    name: str  # product ID, or name of the file or folder
    key: str  # identical for all sources of a product
    rank: int = 1  # preference among sources of a product: the lowest rank, the fastest to read, is used
    reader: Reader | None = None  # `RASTER` for rasters in folders (scenes if they have several bands); otherwise None

    @classmethod
    def of(cls, source: str, name: str, rank: int = 1, reader: Reader | None = None) -> Found:
        """A scene whose key is its product ID or, without one, its path or URL."""
        # Paths that are not UTF-8 cannot be stored or printed. They are escaped, so opening them raises an error.
        source, name = (text.encode("utf-8", "backslashreplace").decode() for text in (source, name))
        if PRODUCT_IDS.fullmatch(name):
            key = name.upper()
        else:
            key = without_secrets(source) if is_remote(source) else _resolve(source)
        same = next((text for text in (name, source) if text == key), key)  # reuses the string to save memory
        return cls(source, name, same, rank, reader)

    @property
    def is_scene(self) -> bool:
        """False for a single-band raster. An unreadable raster counts as a scene, so that masking reports the error."""
        try:
            return self.reader is not RASTER or count_bands(Source(self.source).place) > 1
        except SceneError:
            return True


def find_scenes(sources: Iterable[str], aside: Path | None = None) -> list[Found]:
    """Finds the scenes in sources, in order, without duplicate products.

    Args:
        sources: Each is a scene; a folder, which is searched for folders of bands (Landsat, HLS, Sentinel-2), .SAFE
            products, archives and multi-band rasters; a glob; a text file that lists sources, or a CSV with a column
            ``source``; a STAC item, item collection or static catalog; or the URL of any of these (folders only in
            object stores).
        aside: Folder of the results, which is not searched.

    Raises:
        GeocloudError: SceneNotFoundError for a missing source, SceneReadError for an unreadable list or catalog.
    """
    return [found for found in find_candidates(sources, aside) if found.is_scene]


def find_candidates(sources: Iterable[str], aside: Path | None) -> list[Found]:
    """Scenes as in `find_scenes`, plus single-band rasters, because rasters in folders are not opened here."""
    best: dict[str, Found] = {}
    here = aside.resolve() if aside else None
    for found in chain.from_iterable(_expand(source, here) for source in sources):
        known = best.setdefault(found.key, found)
        if known.source != found.source and (not found.is_scene, found.rank) < (not known.is_scene, known.rank):
            best[found.key] = found
    return list(best.values())


def fingerprint(source: str, reader: Reader | None = None) -> str:
    """Hash of the names, sizes and modification times of a source's files, or ETags if remote. Reads no contents.

    The fingerprint of an unreadable source changes once it becomes readable. ``reader`` is the source's reader, if
    known; finding it may require opening rasters.
    """
    digest = hashlib.sha256()
    files: tuple[str, ...] = (source,)
    try:
        if reader is not RASTER or not os.path.isfile(source):  # noqa: PTH113 - pathlib is ten times slower
            place = Source(source)
            reader = reader or find_reader(place)
            if reader.virtual:  # for an item collection, only this item
                digest.update(without_secrets(repr(reader.recipe(place, ReadOptions()))).encode())
            files = reader.files(place)
        for file in files:
            if is_remote(file):
                part = f"{without_secrets(file)} {identity(file)}"  # without the signature, which expires
            else:
                stat = os.stat(file)  # noqa: PTH116
                part = f"{os.path.basename(file)} {stat.st_size} {stat.st_mtime_ns}"  # noqa: PTH119
            digest.update(part.encode())
    except (OSError, GeocloudError) as error:
        digest.update(f"unreadable {error}".encode())
    return digest.hexdigest()[:16]


def _resolve(path: str) -> str:
    """Real path of a file. Real paths of folders are cached, because each path component costs a system call."""
    folder, name = os.path.split(path)
    if not name or name == ".." or os.path.islink(path):  # noqa: PTH114 - see `fingerprint`
        return os.path.realpath(path)
    return os.path.join(_real_folder(folder), name)  # noqa: PTH118


_real_folder = lru_cache(maxsize=16)(os.path.realpath)


def _expand(source: str, aside: Path | None, lists: frozenset[Path] = frozenset()) -> Iterator[Found]:
    """Scenes in a source. ``lists`` are the lists that lead to it; a list that refers to one of them is skipped."""
    path = Path(source or Source(source).place)  # Source refuses an empty one
    if is_remote(source):
        yield from _at_url(source)
    elif is_gdal_name(source):
        yield Found(source, stem_of(source), source)
    elif not path.exists() and glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - Path.glob rejects absolute patterns
        if not matches:
            raise SceneNotFoundError(f"{source}: nothing matches")
        for match in matches:
            if not (match.endswith(RESULTS) and Path(match).parent.resolve() == aside):
                yield from _expand(match, aside, lists)
    elif not path.exists() and "#" not in source:
        raise SceneNotFoundError(f"{source}: no such file or folder")
    elif (root := find_root(path)) and root.resolve() != path.resolve():  # inside a Sentinel-2 product
        scenes = list(_below(root, aside))
        yield from [s for s in scenes if path.resolve().is_relative_to(Path(s.source).resolve())] or scenes
    elif path.is_dir():
        yield from _below(path, aside)
    elif path.suffix.lower() in (".txt", ".csv") and not path.name.lower().endswith("mtl.txt"):
        if path.resolve() not in lists:
            yield from _in_list(path, aside, lists | {path.resolve()})
    elif is_item_path(path):
        yield from _in_catalog(source)
    else:
        yield _single(source, path)


def _below(path: Path, aside: Path | None) -> Iterator[Found]:
    """Scenes in a folder and its subfolders. Hidden entries and the folder of the results are skipped."""
    for folder, folders, files in os.walk(path):
        visible = (tuple(sorted(n for n in names if not n.startswith("."))) for names in (files, folders))
        listing = on_disk(Path(folder), *visible)
        whole = yield from _in_listing(listing)
        folders[:] = [f for f in listing.folders if not whole and (Path(folder) / f).resolve() != aside]


def _in_listing(listing: Listing) -> Generator[Found, None, bool]:
    """Scenes in a folder or bucket. Returns True if its subfolders belong to one of the scenes.

    The source of a product of band files is its folder or, if the folder holds several products, one of its files. In a
    bucket it is always the folder: masking reports an error if that holds several products.
    """
    candidates, remote = list(scenes_in(listing)), is_remote(listing.source)
    scenes = [(reader, scene) for reader, scene in candidates if scene.is_scene]
    products = [scene for _, scene in scenes if scene.is_product]
    for reader, scene in scenes:
        by_folder = scene.is_product and (remote or len(products) == 1)
        if by_folder and scene is not products[0]:
            continue
        source = listing.source if by_folder or not scene.member else listing.path_of(scene.member)
        name = scene.name if not by_folder or PRODUCT_IDS.fullmatch(scene.name) else listing.stem
        raster = reader is RASTER and not remote and scene.member.lower().endswith(RASTER_SUFFIXES)
        yield Found.of(source, name or listing.stem, scene.rank, RASTER if raster else None)
    return any(candidate.is_tree for _, candidate in candidates)


def _single(source: str, path: PurePosixPath | Path) -> Found:
    """A source that is a single scene."""
    named = next(RASTER.scenes(in_bucket("", (path.name,))), Candidate("", path.stem, rank=1))
    return Found.of(source, named.name, named.rank)


def _in_list(path: Path, aside: Path | None, lists: frozenset[Path]) -> Iterator[Found]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SceneReadError(f"{path}: cannot be read as a list of scenes ({error})") from error
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(lines)
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or []]
        column = next((name for name in LIST_COLUMNS if name in rows.fieldnames), None)
        if column is None:
            wanted = " or ".join(LIST_COLUMNS)
            raise SceneReadError(f"{path}: no column {wanted} in its first line ({', '.join(rows.fieldnames)})")
        lines = [row[column] or "" for row in rows]
    for line in (line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")):
        near = line if is_remote(line) or is_gdal_name(line) or Path(line).exists() else str(path.parent / line)
        try:
            yield from _expand(near, aside, lists)
        except SceneError:  # masking reports the error; other scenes are unaffected
            yield _single(near, Path(near))


def _at_url(url: str) -> Iterator[Found]:
    source = Source(url)
    if READERS[0].match(source):
        yield from _in_catalog(url)
    elif source.form != "bucket":
        yield _single(url, PurePosixPath(without_secrets(url)))
    else:
        folders: dict[str, list[str]] = {}
        for address in list_files(f"{url.rstrip('/')}/"):
            product = re.match(r"(.*?/[^/]*\.SAFE)/", address, re.IGNORECASE)
            root = product[1] if product else address.rpartition("/")[0]
            folders.setdefault(root, []).append(address.removeprefix(f"{root}/"))
        if not folders:
            raise SceneNotFoundError(f"{url}: no files there")
        for folder, names in sorted(folders.items()):
            yield from _in_listing(in_bucket(folder, tuple(sorted(names))))


def _in_catalog(source: str) -> Iterator[Found]:
    """Items of a STAC item, item collection (``FILE#ID`` selects one item) or static catalog, level by level.

    pystac is not used, because it keeps all items in memory. Raises SceneNotFoundError, SceneReadError.
    """
    place, _, wanted = source.partition("#")
    level, seen = {place: "root"}, {place}
    while level:
        with ThreadPoolExecutor(THREADS) as pool:
            visits = list(pool.map(_visit, level, level.values()))
        level = {}
        for items, links in visits:
            yield from (found for found in items if wanted in ("", found.name))
            level |= {address: rel for address, rel in links.items() if address not in seen}
        seen |= level.keys()


def _visit(here: str, kind: str) -> tuple[list[Found], dict[str, str]]:
    """Items in a STAC file, and its links to other files: address → relation (item, child or next)."""
    try:
        document = read_document(here)
        links = document.rest.get("links")
        if not (document.items or "features" in document.rest or isinstance(links, list)):
            raise ValueError("there are neither items nor links")
    except (OSError, ValueError) as error:
        if kind == "item":  # masking reports the error; other items are unaffected
            return [Found.of(here, PurePosixPath(without_secrets(here)).stem)], {}
        if isinstance(error, SceneError):
            raise
        raise SceneReadError(f"{here}: cannot be read as STAC ({error})") from error
    several = document.rest.get("type") == "FeatureCollection"
    items = [Found.of(f"{here}#{name}" if several else here, name) for name in document.items]
    if items and not several:
        return items, {}  # an item links to its parent and collection, which are not searched
    links = [link for link in links or [] if isinstance(link, dict) and isinstance(link.get("href"), str)]
    return items, {absolute(here, ln["href"]): ln["rel"] for ln in links if ln.get("rel") in ("item", "child", "next")}
