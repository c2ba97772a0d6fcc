"""What changes when a source's contents do, found without reading them."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator
from pathlib import Path

from geocloud.errors import GeocloudError
from geocloud.io.remote import identity, is_remote, list_files, names_file
from geocloud.scene import ReadOptions
from geocloud.scene.landsat import BAND_FILE, METADATA_FILE
from geocloud.scene.stac import STAC_SUFFIXES, is_item_path, item_recipe


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
    place = source.partition("#")[0]
    if Path(place).suffix.lower() in STAC_SUFFIXES and (is_remote(place) or is_item_path(Path(place))):
        recipe = item_recipe(source, ReadOptions())  # of a collection only this item's own files count
        yield repr(recipe)
        for band in recipe.bands:
            yield from _file(band.path)
        return
    if is_remote(source):
        if names_file(source) or not source.startswith("s3://"):
            yield identity(source)
        else:
            for address in list_files(f"{source.rstrip('/')}/"):
                if _is_input(address.rpartition("/")[2]):
                    yield f"{address} {identity(address)}"
        return
    path = Path(source)
    if path.is_dir():
        own = [file for file in sorted(path.iterdir()) if file.is_file() and _is_input(file.name)]
        for file in own or sorted(path.iterdir()):
            yield from _file(str(file))
        return
    named = BAND_FILE.fullmatch(path.name)
    same = path.parent.glob(glob.escape(named["prefix"]) + "*") if named and named["prefix"] else []
    for file in sorted({path, *(file for file in same if _is_input(file.name))}):
        yield from _file(str(file))


def _is_input(name: str) -> bool:
    """Bands and metadata; not what others, or geocloud itself, may have put beside them."""
    return bool(BAND_FILE.fullmatch(name) or METADATA_FILE.fullmatch(name))


def _file(place: str) -> Iterator[str]:
    if is_remote(place):
        yield f"{place} {identity(place)}"
        return
    found = Path(place).stat()
    yield f"{Path(place).name} {found.st_size} {found.st_mtime_ns}"
