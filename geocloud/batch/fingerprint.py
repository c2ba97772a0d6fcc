"""Fingerprints of sources, which change with their contents, found without reading these."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from geocloud.errors import GeocloudError, without_secrets
from geocloud.io.remote import identity, is_remote
from geocloud.scene import ReadOptions, find_recipe
from geocloud.scene.locate import Kind, locate


def fingerprint(source: str) -> str:
    """A hash of the names, sizes and times of a source's files, or of the ETags of remote ones.

    A source that cannot be read has another fingerprint once it can.
    """
    digest = hashlib.sha256()
    try:
        for part in _parts(source):
            digest.update(part.encode())
    except (OSError, GeocloudError) as error:
        digest.update(f"unreadable {error}".encode())
    return digest.hexdigest()[:16]


def _parts(source: str) -> Iterator[str]:
    found = locate(source)
    if found.kind is Kind.ITEM:
        yield without_secrets(repr(find_recipe(source, ReadOptions())))  # of an item collection only this item counts
    for file in found.files():
        if is_remote(file):
            yield f"{without_secrets(file)} {identity(file)}"  # a new signature does not make it another file
        else:
            about = Path(file).stat()
            yield f"{Path(file).name} {about.st_size} {about.st_mtime_ns}"
