"""Fingerprints of sources, which change with their contents, found without reading these."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from geocloud.errors import GeocloudError, without_secrets
from geocloud.io.remote import identity, is_remote
from geocloud.readers import ReadOptions, find_recipe
from geocloud.readers.locate import Kind, Source, locate


def fingerprint(source: str, kind: Kind | None = None) -> str:
    """A hash of the names, sizes and times of a source's files, or of the ETags of remote ones.

    A source that cannot be read has another fingerprint once it can. ``kind`` is the source's, where it is known:
    `locate` may have to open rasters.
    """
    digest = hashlib.sha256()
    try:
        for part in _parts(Source(kind, source) if kind else locate(source)):
            digest.update(part.encode())
    except (OSError, GeocloudError) as error:
        digest.update(f"unreadable {error}".encode())
    return digest.hexdigest()[:16]


def _parts(found: Source) -> Iterator[str]:
    if found.kind is Kind.ITEM:
        recipe = find_recipe(found.place, ReadOptions())
        yield without_secrets(repr(recipe))  # of an item collection only this item counts
    for file in found.files():
        if is_remote(file):
            yield f"{without_secrets(file)} {identity(file)}"  # a new signature does not make it another file
        else:
            about = os.stat(file)  # noqa: PTH116 - with a Path for each of half a million files it takes thrice as long
            yield f"{os.path.basename(file)} {about.st_size} {about.st_mtime_ns}"  # noqa: PTH119
