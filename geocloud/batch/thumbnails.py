"""Thumbnails of scenes and masks: files in a thousand folders, for a folder of a million files is slow."""

from __future__ import annotations

import logging
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from geocloud.batch.state import PAGE, manifests_in
from geocloud.errors import OutputError

log = logging.getLogger(__name__)

THUMBNAILS = "thumbnails"
"""Their folder in the output folder."""


def shelf(name: str) -> str:
    """The folder of a scene's thumbnails."""
    return f"{zlib.crc32(name.encode()) % 1000:03}"


def place(folder: Path, name: str, scene: bytes | None, mask: bytes | None, replace: bool = True) -> None:
    """Writes the thumbnails of a scene, JPEG, and of its mask, PNG, into an output folder. Raises OutputError."""
    for picture, ending in ((scene, ".jpg"), (mask, ".png")):
        path = folder / THUMBNAILS / shelf(name) / f"{name}{ending}"
        try:
            if picture and (replace or not path.exists()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(picture)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def unpack(folder: Path) -> None:
    """Makes files of the thumbnails that an earlier version kept in a database beside each manifest."""
    query = "SELECT name, scene_picture, mask_picture FROM scenes JOIN beside.pictures USING (key) WHERE name > ?"
    for manifest in manifests_in(folder):
        store = manifest.with_name(manifest.name.replace("manifest", "thumbnails", 1))
        if not store.exists():
            continue
        log.warning("%s: an earlier version's thumbnails; they become files, and the database is deleted", store)
        with closing(sqlite3.connect(manifest)) as database:
            database.execute("ATTACH ? AS beside", (str(store),))
            last = ""
            while rows := database.execute(f"{query} ORDER BY name LIMIT {PAGE // 10}", (last,)).fetchall():
                for name, scene, mask in rows:
                    place(folder, name, scene, mask, replace=False)
                last = rows[-1][0]
        store.unlink()
