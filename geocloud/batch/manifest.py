"""The manifest: an SQLite database in the output folder, with the state of each scene and the reasons of failures."""

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
    """A scene's row in the manifest. Times are UTC, in ISO 8601; None: not known, or not yet."""

    key: str
    """The same for all sources of one product."""
    name: str
    """Base name of the scene's files."""
    source: str
    """Path or URL of the scene, without secrets."""
    state: str
    """waiting, running, done or failed."""
    fingerprint: str | None
    """Of the source's contents when the scene was last planned, see `geocloud.batch.fingerprint`."""
    settings: str | None
    """Fingerprint of model and options when the scene was last planned, see `geocloud.batch.job.Settings`."""
    tries: int
    """How often the scene was started."""
    error: str | None
    """Why it failed, in one line."""
    failure: str | None
    """Kind of failure, see `geocloud.batch.job.BAD_INPUT`."""
    started: str | None
    """When it was last handed to a worker."""
    finished: str | None
    """When it was done or failed."""
    seconds: float | None
    """Wall-clock time."""
    worker: str | None
    """Host and process ID."""
    megapixels: float | None
    """Pixels of the scene, in millions."""
    cloud_percent: float | None
    """Per cent of the valid pixels that are cloud."""
    shadow_percent: float | None
    """Per cent of the valid pixels that are cloud shadow; None if not requested."""
    valid_percent: float | None
    """Per cent of all pixels that hold data."""
    height: int | None
    """Pixel rows of the scene."""
    width: int | None
    """Pixel columns of the scene."""
    crs: str | None
    """Such as EPSG:32633."""
    transform: tuple[float, ...] | None
    """First six numbers of the affine transform."""
    footprint: str | None
    """GeoJSON in WGS 84 of the area with data."""
    acquired: str | None
    """Time of acquisition."""
    model: str | None
    """Name of the model."""
    threshold: float | None
    """Threshold of cloud that was applied."""
    files: dict[str, str]
    """File names by kind, in the manifest's folder or under ``uploaded``."""
    uploaded: str | None
    """The URL in an object store that the files were uploaded to; None: not uploaded."""
    scene_picture: bytes | None
    """Thumbnail of the scene, JPEG."""
    mask_picture: bytes | None
    """Thumbnail of the mask, PNG."""
    notes: str | None
    """Warnings, a line each."""

    def place(self, kind: str) -> str | None:
        """A file's name in the folder, or its URL if it was uploaded."""
        name = self.files.get(kind)
        return f"{self.uploaded.rstrip('/')}/{name}" if self.uploaded and name else name

    def record(self) -> dict[str, Any]:
        """The row without thumbnails, for tables."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.endswith("_picture")}
        return values | {"transform": self.transform and json.dumps(self.transform), "files": json.dumps(self.files)}


class Manifest:
    """The database. One process may write it at a time (see `geocloud.batch.run`), any number may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, timeout=30)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            with self._database:
                self._database.execute(_TABLE)
                if "shadow_percent" not in _columns(self._database):  # created by a version without shadow
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
        """Adds or resets scenes to be masked: rows of key, name, source, fingerprint."""
        with self._database:
            self._database.executemany(
                "INSERT INTO scenes (key, name, source, fingerprint, settings, state) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET source = excluded.source, fingerprint = excluded.fingerprint, "
                "settings = excluded.settings, state = excluded.state, tries = 0, error = NULL, failure = NULL",
                [(key, name, source, fingerprint, settings, WAITING) for key, name, source, fingerprint in rows],
            )

    def start(self, name: str) -> None:
        """Records that a scene was handed to a worker."""
        with self._database:
            self._database.execute(
                "UPDATE scenes SET state = ?, tries = tries + 1, started = ? WHERE name = ?", (RUNNING, _now(), name)
            )

    def finish(self, outcome: Outcome, uploaded: str | None = None) -> None:
        """Records that a scene is done or has failed."""
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
        """Resets running scenes to waiting."""
        with self._database:
            self._database.execute("UPDATE scenes SET state = ? WHERE state = ?", (WAITING, RUNNING))


def read_entries(folder: Path) -> list[Entry]:
    """The rows of all manifests in a folder (each shard has one), sorted by name. Raises SceneReadError if none."""
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
    """Names in all manifests of a folder, in lower case → their keys."""
    found = {}
    for path in folder.glob(PATTERN):
        with suppress(sqlite3.Error):
            found.update({entry.name.lower(): entry.key for entry in _read_file(path)})
    return found


def _read_file(path: Path) -> list[Entry]:
    """Reads a manifest without changing it; if SQLite cannot even read the log, as of its last checkpoint."""
    for how in ("mode=ro", "immutable=1"):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=30)) as database:
            database.row_factory = sqlite3.Row
            try:
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'scenes'").fetchone():
                    return []  # another process is creating it
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
