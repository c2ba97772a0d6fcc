"""What changes when a source's contents do, found without reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from geocloud.errors import GeocloudError, without_secrets
from geocloud.io.remote import identity, is_remote
from geocloud.scene import ReadOptions, find_recipe
from geocloud.scene.locate import Kind, locate


def fingerprint(source: str) -> str:
    """A hash of names, sizes and times of a source's files, or of what their servers call their versions.

    What cannot be asked counts as changed whenever it can be again.
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
        yield without_secrets(repr(find_recipe(source, ReadOptions())))  # of a collection only this item counts
    for file in found.files():
        if is_remote(file):
            yield f"{without_secrets(file)} {identity(file)}"  # signed anew it is the same file
        else:
            about = Path(file).stat()
            yield f"{Path(file).name} {about.st_size} {about.st_mtime_ns}"
