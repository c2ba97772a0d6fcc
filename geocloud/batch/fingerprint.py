"""Fingerprints of sources, which change with their contents, found without reading these."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from geocloud.errors import GeocloudError, without_secrets
from geocloud.io.remote import identity, is_remote
from geocloud.readers.base import ReadOptions
from geocloud.readers.registry import find_reader
from geocloud.readers.source import Reader, Source


def fingerprint(source: str, reader: Reader | None = None) -> str:
    """A hash of the names, sizes and times of a source's files, or of the ETags of remote ones.

    A source that cannot be read has another fingerprint once it can.

    Args:
        source: Path, URL or name that GDAL knows.
        reader: Its reader, if known: to find it, rasters may have to be opened.
    """
    digest = hashlib.sha256()
    try:
        place = Source(source)
        for part in _parts(place, reader or find_reader(place)):
            digest.update(part.encode())
    except (OSError, GeocloudError) as error:
        digest.update(f"unreadable {error}".encode())
    return digest.hexdigest()[:16]


def _parts(source: Source, reader: Reader) -> Iterator[str]:
    if reader.virtual:  # of an item collection only this item counts
        yield without_secrets(repr(reader.recipe(source, ReadOptions())))
    for file in reader.files(source):
        if is_remote(file):
            yield f"{without_secrets(file)} {identity(file)}"  # a new signature does not make it another file
        else:
            about = os.stat(file)  # noqa: PTH116 - with a Path for each of half a million files it takes thrice as long
            yield f"{os.path.basename(file)} {about.st_size} {about.st_mtime_ns}"  # noqa: PTH119
