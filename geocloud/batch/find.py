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
from geocloud.readers.archive import Listing, in_bucket, on_disk
from geocloud.readers.registry import RASTER, READERS, scenes_in
from geocloud.readers.sentinel2 import find_root
from geocloud.readers.source import RASTER_SUFFIXES, Candidate, Form, Reader, Source
from geocloud.readers.stac import is_item_path

log = logging.getLogger(__name__)

RESULTS = ("_cloudmask.tif", "_probability.tif")
LIST_SUFFIXES = (".txt", ".csv")
LIST_COLUMNS = ("source", "path", "url", "href", "scene")
_FORMS = (re.sub(r"[?]P<[a-z]+>", "?:", form) for reader in READERS for form in reader.product_ids)
PRODUCT_IDS = re.compile("|".join(f"(?:{form})" for form in _FORMS), re.IGNORECASE)


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
    def of(cls, source: str, name: str, rank: int, reader: Reader | None = None) -> Found:
        """A scene whose key is its product ID, or its path or URL if it has none."""
        source, name = _printable(source), _printable(name)
        if _is_product_id(name):
            key = name if name.isupper() else name.upper()  # of half a million, no second copy
        else:
            key = without_secrets(source) if is_remote(source) else str(Path(source).resolve())
        return cls(source, name, key, rank, reader)


def _is_product_id(name: str) -> bool:
    """True if a name is exactly a product ID of Landsat, Sentinel-2 or HLS."""
    return bool(PRODUCT_IDS.fullmatch(name))


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
        scenes = rasters.scenes([(found.key, found.source) for found in some if found.reader is RASTER])
        yield from (found for found in some if found.reader is not RASTER or found.source in scenes)


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
            visible = (sorted(name for name in names if not name.startswith(".")) for names in (files, folders))
            listing = on_disk(Path(folder), *map(tuple, visible))
            candidates = list(scenes_in(listing))
            yield from _in_listing(listing, candidates)
            whole = any(candidate.is_tree for _, candidate in candidates)
            folders[:] = [f for f in listing.folders if not whole and (Path(folder) / f).resolve() != aside]
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
        if candidate.is_product and alone:
            products = 0
        whole = not candidate.member or (candidate.is_product and alone)
        source = listing.source if whole else listing.path_of(candidate.member)
        name = listing.stem if candidate.is_product and alone and not _is_product_id(candidate.name) else candidate.name
        raster = reader is RASTER and not remote and candidate.member.lower().endswith(RASTER_SUFFIXES)
        yield Found.of(source, name or listing.stem, candidate.rank, RASTER if raster else None)


def _part(path: Path, root: Path) -> Iterator[Found]:
    """The scenes that a file or folder inside a Sentinel-2 product stands for: its granule, or the whole product."""
    folders = tuple(entry.name for entry in root.iterdir() if entry.is_dir())
    listing = on_disk(root, tuple(entry.name for entry in root.iterdir() if entry.is_file()), folders)
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
    source = Source(url)
    if READERS[0].match(source):
        yield from _in_catalog(url)
    elif source.form is not Form.BUCKET:
        yield _single(url, PurePosixPath(without_secrets(url)))
    else:
        folders: dict[str, list[str]] = {}
        for address in list_files(f"{url.rstrip('/')}/"):
            folder, _, name = address.rpartition("/")
            product = re.match(r"(.*?/[^/]*\.SAFE)(?:/|$)", folder, re.IGNORECASE)
            root = product[1] if product else folder
            folders.setdefault(root, []).append(address.removeprefix(f"{root}/") if product else name)
        if not folders:
            raise SceneNotFoundError(f"{url}: no files there")
        for folder, names in sorted(folders.items()):
            listing = in_bucket(folder, tuple(sorted(names)))
            yield from _in_listing(listing, list(scenes_in(listing)))
