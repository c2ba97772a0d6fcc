"""What has been done, what failed and why: an SQLite database in the output folder, one row a scene."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geocloud.batch.job import Outcome
from geocloud.errors import OutputError, SceneReadError

log = logging.getLogger(__name__)

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

PATTERN = "manifest*.sqlite"

_TABLE = """
CREATE TABLE IF NOT EXISTS scenes (
    key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT NOT NULL, state TEXT NOT NULL,
    fingerprint TEXT, settings TEXT, tries INTEGER NOT NULL DEFAULT 0, error TEXT, failure TEXT,
    started TEXT, finished TEXT, seconds REAL, worker TEXT, megapixels REAL, cloud_percent REAL, valid_percent REAL,
    shadow_percent REAL,
    height INTEGER, width INTEGER, crs TEXT, transform TEXT, footprint TEXT, acquired TEXT, model TEXT, threshold REAL,
    files TEXT, uploaded TEXT, scene_picture BLOB, mask_picture BLOB, notes TEXT
)
"""
_RESULTS = [
    f.name for f in fields(Outcome) if f.name not in ("name", "error", "failure", "transform", "files", "worker")
]


@dataclass(frozen=True, slots=True)
class Entry:
    """A scene's row.

    ``fingerprint`` tells its source's contents, ``settings`` the model and options, both as of when it was last tried.
    Times are UTC in ISO 8601; pictures are files' bytes; ``files`` are names by kind, beside the manifest, or at
    ``uploaded``.
    """

    key: str
    name: str
    source: str
    state: str
    fingerprint: str | None
    settings: str | None
    tries: int
    error: str | None
    failure: str | None
    started: str | None
    finished: str | None
    seconds: float | None
    worker: str | None
    megapixels: float | None
    cloud_percent: float | None
    shadow_percent: float | None
    valid_percent: float | None
    height: int | None
    width: int | None
    crs: str | None
    transform: tuple[float, ...] | None
    footprint: str | None
    acquired: str | None
    model: str | None
    threshold: float | None
    files: dict[str, str]
    uploaded: str | None
    scene_picture: bytes | None
    mask_picture: bytes | None
    notes: str | None

    def place(self, kind: str) -> str | None:
        """A file's name in the folder, or its address."""
        name = self.files.get(kind)
        return f"{self.uploaded.rstrip('/')}/{name}" if self.uploaded and name else name

    def record(self) -> dict[str, Any]:
        """The row without pictures, for tables."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.endswith("_picture")}
        return values | {"transform": self.transform and json.dumps(self.transform), "files": json.dumps(self.files)}


class Manifest:
    """The database; one process writes it at a time (see `geocloud.batch.run`), any number may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, timeout=30)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            with self._database:
                self._database.execute(_TABLE)
                if "shadow_percent" not in _columns(self._database):  # made by a geocloud that knew no shadow
                    self._database.execute("ALTER TABLE scenes ADD COLUMN shadow_percent REAL")
        except sqlite3.Error as error:
            raise OutputError(f"{path}: cannot be used as a manifest ({error})") from error

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def entries(self) -> dict[str, Entry]:
        """Every row, by key."""
        return {entry.key: entry for entry in _read(self._database)}

    def plan(self, rows: Iterable[tuple[str, str, str, str]], settings: str) -> None:
        """Adds or resets scenes that are to be done: key, name, source, fingerprint."""
        with self._database:
            self._database.executemany(
                "INSERT INTO scenes (key, name, source, fingerprint, settings, state) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET source = excluded.source, fingerprint = excluded.fingerprint, "
                "settings = excluded.settings, state = excluded.state, tries = 0, error = NULL, failure = NULL",
                [(key, name, source, fingerprint, settings, WAITING) for key, name, source, fingerprint in rows],
            )

    def start(self, name: str) -> None:
        """A scene has been handed to a worker."""
        with self._database:
            self._database.execute(
                "UPDATE scenes SET state = ?, tries = tries + 1, started = ? WHERE name = ?", (RUNNING, _now(), name)
            )

    def finish(self, outcome: Outcome, uploaded: str | None = None) -> None:
        """A scene is done, or has failed."""
        values = {name: getattr(outcome, name) for name in _RESULTS}
        values |= {
            "state": FAILED if outcome.error else DONE,
            "error": outcome.error,
            "failure": outcome.failure,
            "worker": outcome.worker,
            "finished": _now(),
            "megapixels": outcome.megapixels,
            "transform": json.dumps(outcome.transform),
            "files": json.dumps(outcome.files),
            "uploaded": uploaded,
        }
        columns = ", ".join(f"{name} = :{name}" for name in values)
        with self._database:
            self._database.execute(
                f"UPDATE scenes SET {columns} WHERE name = :scene",  # noqa: S608 - names of our own columns
                values | {"scene": outcome.name},
            )

    def stop(self) -> None:
        """What is running no longer is: back to waiting."""
        with self._database:
            self._database.execute("UPDATE scenes SET state = ? WHERE state = ?", (WAITING, RUNNING))


def read_entries(folder: Path) -> list[Entry]:
    """The rows of all manifests in a folder (shards have one each), by name. Raises SceneReadError without any."""
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise SceneReadError(f"{folder}: no manifest there; 'geocloud batch SOURCE -o {folder}' makes one")
    found: dict[str, Entry] = {}
    for path in paths:
        try:
            entries = _read_file(path)
        except sqlite3.Error as error:
            if len(paths) == 1:
                raise SceneReadError(f"{path}: cannot be read as a manifest ({error})") from error
            log.warning("%s: cannot be read now (%s); its scenes are left out", path, error)
            continue
        for entry in entries:
            if entry.name not in found or entry.state == DONE:
                found[entry.name] = entry
    return sorted(found.values(), key=lambda entry: entry.name)


def taken_names(folder: Path) -> dict[str, str]:
    """Names in lower case, and the keys that have them, of all manifests in a folder."""
    found = {}
    for path in folder.glob(PATTERN):
        with suppress(sqlite3.Error):
            found.update({entry.name.lower(): entry.key for entry in _read_file(path)})
    return found


def _read_file(path: Path) -> list[Entry]:
    """A manifest's rows, without changing it; where even that is not allowed, as it was at the last checkpoint."""
    for how in ("mode=ro", "immutable=1"):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=30)) as database:
            database.row_factory = sqlite3.Row
            try:
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'scenes'").fetchone():
                    return []  # somebody is just making it
                return list(_read(database))
            except sqlite3.OperationalError:
                if how == "immutable=1":
                    raise
    return []


def _columns(database: sqlite3.Connection) -> set[str]:
    return {str(row["name"]) for row in database.execute("PRAGMA table_info(scenes)")}


def _read(database: sqlite3.Connection) -> Iterator[Entry]:
    there = _columns(database)
    for row in database.execute("SELECT * FROM scenes ORDER BY name"):
        values: dict[str, Any] = {f.name: row[f.name] if f.name in there else None for f in fields(Entry)}
        transform = json.loads(values["transform"] or "null")
        values["transform"] = tuple(transform) if transform else None
        values["files"] = json.loads(values["files"] or "{}")
        yield Entry(**values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
