"""The items of STAC files, and of all files that these link to, found in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from geocloud.errors import SceneError, SceneReadError, without_secrets
from geocloud.io.remote import is_remote, read_bytes
from geocloud.readers.stac import Document, absolute, read_document

THREADS = 16
"""Items of a catalog that are fetched at a time."""
ONWARD = ("child", "next")
"""Links to more of a catalog, and to the next page of an item collection."""


def walk(source: str) -> Iterator[tuple[str, str]]:
    """The source and ID of each item of a STAC item, item collection (``FILE#ID``: one item of it) or static catalog.

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
                yield f"{here}#{name}" if several else here, name
        if document.items and not several:
            continue  # an item's links lead to what it is part of
        fresh: dict[str, list[str]] = {"item": [], "onward": []}
        for rel, linked in _links(here, document):
            if linked not in seen:
                seen.add(linked)
                fresh["item" if rel == "item" else "onward"].append(linked)
        yield from _items(fresh["item"])
        waiting += reversed(fresh["onward"])


def _read(place: str) -> Document:
    try:
        found = read_document(place)
    except (OSError, ValueError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneReadError(f"{place}: cannot be read as STAC ({error})") from error
    if not found.items and "features" not in found.rest and not isinstance(found.rest.get("links"), list):
        raise SceneReadError(f"{place}: cannot be read as STAC (there are neither items nor links)")
    return found


def _links(place: str, document: Document) -> Iterator[tuple[str, str]]:
    for link in document.rest.get("links") or []:
        if isinstance(link, dict) and link.get("rel") in ("item", *ONWARD) and isinstance(link.get("href"), str):
            yield link["rel"], absolute(place, link["href"])


def _items(places: list[str]) -> Iterator[tuple[str, str]]:
    """The items in these files. One that cannot be read counts, too: masking reports it."""

    def found(place: str) -> tuple[str, str]:
        try:
            document = Document.parse(read_bytes(place) if is_remote(place) else Path(place).read_bytes())
            return place, next(iter(document.items))
        except (OSError, ValueError, StopIteration):
            return place, PurePosixPath(without_secrets(place)).stem

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(found, places)
