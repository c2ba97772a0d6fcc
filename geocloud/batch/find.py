"""Search for scenes in folders, globs, lists, buckets and STAC catalogs; each product is found once."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from geocloud.batch.state import DONE, MAX_KEYS, manifests_in, select
from geocloud.errors import (
    GeocloudError,
    OutputError,
    SceneError,
    SceneNotFoundError,
    SceneReadError,
    without_secrets,
)
from geocloud.io.gdal import is_gdal_name, stem_of
from geocloud.io.remote import identity, is_remote, list_files, read_bytes
from geocloud.readers.archive import Listing, in_bucket, on_disk
from geocloud.readers.registry import RASTER, READERS, find_reader, scenes_in
from geocloud.readers.sentinel2 import find_root
from geocloud.readers.source import RASTER_SUFFIXES, Candidate, Reader, ReadOptions, Source
from geocloud.readers.stac import Document, absolute, is_item_path, read_document
from geocloud.readers.stack import count_bands

RESULTS = ("_cloudmask.tif", "_probability.tif")
LIST_SUFFIXES = (".txt", ".csv")
LIST_COLUMNS = ("source", "path", "url", "href", "scene")
_FORMS = (re.sub(r"[?]P<[a-z]+>", "?:", form) for reader in READERS for form in reader.product_ids)
PRODUCT_IDS = re.compile("|".join(f"(?:{form})" for form in _FORMS), re.IGNORECASE)
THREADS = 16
"""Items of a catalog that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class Found:
    """A scene that was found."""

    source: str
    """Path or URL, as `geocloud.open_scene` takes it."""
    name: str
    """Product ID, or name of the file or folder."""
    key: str
    """The same for all sources of one product."""
    rank: int
    """Order of preference among sources of one product: the lowest, the fastest to read, is used."""
    reader: Reader | None = None
    """The reader, if searching a folder has told it; None: see `geocloud.readers.find_reader`."""

    @classmethod
    def of(cls, source: str, name: str, rank: int = 1, reader: Reader | None = None) -> Found:
        """A scene whose key is its product ID, or its path or URL if it has none."""
        # A path that is not UTF-8 cannot be stored or shown. It is escaped: opening it then fails with an error.
        source, name = (text.encode("utf-8", "backslashreplace").decode() for text in (source, name))
        if PRODUCT_IDS.fullmatch(name):
            key = name if name.isupper() else name.upper()  # of half a million, no second copy
        else:
            key = without_secrets(source) if is_remote(source) else str(Path(source).resolve())
        return cls(source, name, key, rank, reader)


class Rasters:
    """Tells scenes from single bands such as masks. What manifests know is opened again only when it has changed.

    Unreadable files count as scenes, so that masking reports them.
    """

    others: list[tuple[str, str]]
    """The rasters that were opened and are no scenes, for the manifest: key and fingerprint."""

    def __init__(self, folder: Path | None) -> None:
        """``folder``: the folder of results, with manifests in it; None: nothing is known."""
        self._manifests = manifests_in(folder) if folder else []
        self.others = []

    def scenes(self, rasters: Sequence[Found]) -> set[str]:
        """The sources of those that are scenes, of at most `MAX_KEYS` rasters."""
        prints = [(raster.key, fingerprint(raster.source, RASTER)) for raster in rasters]
        masked = set(self._known(prints, "scenes", f"state = '{DONE}' AND "))
        others = set(self._known(prints, "others"))
        scenes = set()
        for known, raster in zip(prints, rasters, strict=True):
            if known in masked or (known not in others and self._is_scene(raster.source)):
                scenes.add(raster.source)
            elif known not in others:
                self.others.append(known)
        return scenes

    def _known(self, prints: list[tuple[str, str]], table: str, where: str = "") -> Iterator[tuple[str, str]]:
        """The rows of all manifests with one of these keys: key and fingerprint."""
        then = f"WHERE {where}key IN ({', '.join('?' * len(prints))})"
        for manifest in self._manifests if prints else []:
            with suppress(sqlite3.Error, OutputError):  # planning reports it
                yield from map(tuple, select(manifest, "key, fingerprint", then, [key for key, _ in prints], table))

    @staticmethod
    def _is_scene(path: str) -> bool:
        try:
            return count_bands(path) > 1
        except SceneReadError:
            return True


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
    rasters = rasters or Rasters(aside)
    everything = chain.from_iterable(_expand(source, here) for source in sources)
    while some := list(islice(everything, MAX_KEYS)):
        scenes = rasters.scenes([found for found in some if found.reader is RASTER])
        for found in some:
            known = best.get(found.key)
            if (found.reader is not RASTER or found.source in scenes) and (not known or found.rank < known.rank):
                best[found.key] = found
    return list(best.values())


def fingerprint(source: str, reader: Reader | None = None) -> str:
    """A hash of the names, sizes and times of a source's files, or of the ETags of remote ones: contents are not read.

    A source that cannot be read has another fingerprint once it can.

    Args:
        source: Path, URL or name that GDAL knows.
        reader: Its reader, if known: to find it, rasters may have to be opened.
    """
    digest = hashlib.sha256()
    try:
        place = Source(source)
        reader = reader or find_reader(place)
        if reader.virtual:  # of an item collection only this item counts
            digest.update(without_secrets(repr(reader.recipe(place, ReadOptions()))).encode())
        for file in reader.files(place):
            if is_remote(file):
                part = f"{without_secrets(file)} {identity(file)}"  # a new signature does not make it another file
            else:
                stat = os.stat(file)  # noqa: PTH116 - with a Path for each of half a million files it takes thrice as long
                part = f"{os.path.basename(file)} {stat.st_size} {stat.st_mtime_ns}"  # noqa: PTH119
            digest.update(part.encode())
    except (OSError, GeocloudError) as error:
        digest.update(f"unreadable {error}".encode())
    return digest.hexdigest()[:16]


def _expand(source: str, aside: Path | None, lists: frozenset[Path] = frozenset()) -> Iterator[Found]:
    """The scenes in a source. ``lists`` are the lists that led to it: lists may be nested, but not circular."""
    path = Path(source)
    if is_remote(source):
        yield from _elsewhere(source)
    elif is_gdal_name(source):
        yield Found(source, stem_of(source), source, 1)
    elif not path.exists() and glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            raise SceneNotFoundError(f"{source}: nothing matches")
        for match in matches:
            if not (match.endswith(RESULTS) and Path(match).parent.resolve() == aside):
                yield from _expand(match, aside, lists)
    elif not path.exists() and "#" not in source:
        raise SceneNotFoundError(f"{source}: no such file or folder")
    elif (root := find_root(path)) and root.resolve() != path.resolve():
        yield from _part(path, root)
    elif path.is_dir():
        yield from _below(path, aside)
    elif path.suffix.lower() in LIST_SUFFIXES and not path.name.lower().endswith("mtl.txt"):
        if path.resolve() not in lists:
            yield from _listed(path, aside, lists | {path.resolve()})
    elif is_item_path(path):
        yield from walk(source)
    else:
        yield _single(source, path)


def _below(path: Path, aside: Path | None) -> Iterator[Found]:
    """The scenes in a folder and those below it, but for hidden ones and results."""
    for folder, folders, files in os.walk(path):
        visible = (sorted(name for name in names if not name.startswith(".")) for names in (files, folders))
        listing = on_disk(Path(folder), *map(tuple, visible))
        candidates = list(scenes_in(listing))
        yield from _in_listing(listing, candidates)
        whole = any(candidate.is_tree for _, candidate in candidates)
        folders[:] = [f for f in listing.folders if not whole and (Path(folder) / f).resolve() != aside]


def _in_listing(listing: Listing, candidates: list[tuple[Reader, Candidate]]) -> Iterator[Found]:
    """The scenes of a folder or bucket. One product of band files is named by its folder, several by a file of each.

    In a bucket the folder stands for all products; several in one are an error, which masking reports.
    """
    remote = is_remote(listing.source)
    products = sum(candidate.is_scene and candidate.is_product for _, candidate in candidates)
    alone = remote or products == 1
    for reader, candidate in candidates:
        if not candidate.is_scene or (candidate.is_product and products == 0):
            continue
        by_folder = candidate.is_product and alone
        if by_folder:
            products = 0
        source = listing.source if by_folder or not candidate.member else listing.path_of(candidate.member)
        name = candidate.name if not by_folder or PRODUCT_IDS.fullmatch(candidate.name) else listing.stem
        raster = reader is RASTER and not remote and candidate.member.lower().endswith(RASTER_SUFFIXES)
        yield Found.of(source, name or listing.stem, candidate.rank, RASTER if raster else None)


def _part(path: Path, root: Path) -> Iterator[Found]:
    """The scenes that a file or folder inside a Sentinel-2 product stands for: its granule, or the whole product."""
    files, folders = (tuple(e.name for e in root.iterdir() if e.is_dir() is kind) for kind in (False, True))
    listing = on_disk(root, files, folders)
    scenes, within = list(_in_listing(listing, list(scenes_in(listing)))), path.resolve()
    yield from [found for found in scenes if within.is_relative_to(Path(found.source).resolve())] or scenes


def _single(source: str, path: PurePosixPath | Path) -> Found:
    """A source that stands for itself."""
    named = next(RASTER.scenes(in_bucket("", (path.name,))), Candidate("", path.stem, rank=1))
    return Found.of(source, named.name, named.rank)


def _listed(path: Path, aside: Path | None, lists: frozenset[Path]) -> Iterator[Found]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneReadError(f"{path}: cannot be read as a list of scenes ({error})") from error
    if path.suffix.lower() == ".csv":
        heads, *rows = list(csv.reader(io.StringIO(text))) or [[]]
        columns = [head.strip().lower() for head in heads]
        column = next((columns.index(head) for head in LIST_COLUMNS if head in columns), None)
        if column is None:
            wanted = " or ".join(LIST_COLUMNS)
            raise SceneReadError(f"{path}: no column {wanted} in its first line ({', '.join(columns)})")
        lines = [row[column] for row in rows if len(row) > column]
    else:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in (line.strip() for line in lines if line.strip()):
        near = line if is_remote(line) or is_gdal_name(line) or Path(line).exists() else str(path.parent / line)
        try:
            yield from _expand(near, aside, lists)
        except SceneError:  # masking reports it; the other scenes go on
            yield _single(near, Path(near))


def _elsewhere(url: str) -> Iterator[Found]:
    source = Source(url)
    if READERS[0].match(source):
        yield from walk(url)
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
            listing = in_bucket(folder, tuple(sorted(names)))
            yield from _in_listing(listing, list(scenes_in(listing)))


def walk(source: str) -> Iterator[Found]:
    """The items of a STAC item, item collection (``FILE#ID``: one item of it) or static catalog.

    pystac would keep all items of a catalog in memory. Here it is the addresses of files, and of one collection of
    items its text. Raises SceneNotFoundError, SceneReadError.
    """
    place, _, wanted = source.partition("#")
    waiting, seen = [place], {place}
    while waiting:
        here = waiting.pop()
        document = _read(here)
        several = document.rest.get("type") == "FeatureCollection"
        for name in document.items:
            if wanted in ("", name):
                yield Found.of(f"{here}#{name}" if several else here, name)
        if document.items and not several:
            continue  # an item's links lead to what it is part of
        items: list[str] = []
        onward: list[str] = []  # to more of a catalog, and to the next page of an item collection
        for link in document.rest.get("links") or []:
            if isinstance(link, dict) and link.get("rel") in ("item", "child", "next"):
                linked = absolute(here, link["href"]) if isinstance(link.get("href"), str) else here
                if linked not in seen:
                    seen.add(linked)
                    (items if link["rel"] == "item" else onward).append(linked)
        with ThreadPoolExecutor(THREADS) as pool:
            yield from map(Found.of, items, pool.map(_item_name, items))
        waiting += reversed(onward)


def _read(place: str) -> Document:
    try:
        document = read_document(place)
    except SceneError:
        raise
    except (OSError, ValueError) as error:
        raise SceneReadError(f"{place}: cannot be read as STAC ({error})") from error
    if not document.items and "features" not in document.rest and not isinstance(document.rest.get("links"), list):
        raise SceneReadError(f"{place}: cannot be read as STAC (there are neither items nor links)")
    return document


def _item_name(place: str) -> str:
    """The ID of the item in a file. One that cannot be read counts, too: masking reports it."""
    try:
        document = Document.parse(read_bytes(place) if is_remote(place) else Path(place).read_bytes())
        return next(iter(document.items))
    except (OSError, ValueError, StopIteration):
        return PurePosixPath(without_secrets(place)).stem
