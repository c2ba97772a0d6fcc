"""The manifest: an SQLite database in the output folder, with the state of each scene and the reasons of failures.

Thumbnails are in a database beside it, or reading states would mean seeking between pictures. SQLite keeps a rollback
journal, no WAL: that does not work on network file systems (https://sqlite.org/wal.html). With it a reader holds
writers up while it reads: `geocloud.batch.entries` reads in short pages.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geocloud.batch.job import Outcome
from geocloud.errors import OutputError

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

VERSION = 1
"""Of the tables. Version 0 kept thumbnails among the columns of scenes; it is converted when it is next written."""

MOST_KEYS = 512
"""Scenes that are looked up together: SQLite takes 999 values in a query."""

TIMEOUT = 120
"""Seconds that a reader or writer waits for another."""

_PICTURES = ("scene_picture", "mask_picture")

_TABLES = """
CREATE TABLE IF NOT EXISTS scenes (
    key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT NOT NULL, state TEXT NOT NULL,
    fingerprint TEXT, settings TEXT, tries INTEGER NOT NULL DEFAULT 0, error TEXT, failure TEXT,
    started TEXT, finished TEXT, seconds REAL, worker TEXT, megapixels REAL, cloud_percent REAL, valid_percent REAL,
    shadow_percent REAL,
    height INTEGER, width INTEGER, crs TEXT, transform TEXT, footprint TEXT, acquired TEXT, model TEXT, threshold REAL,
    files TEXT, uploaded TEXT, notes TEXT
);
CREATE INDEX IF NOT EXISTS scenes_by_state ON scenes (state, name);
CREATE INDEX IF NOT EXISTS scenes_with_notes ON scenes (name) WHERE notes IS NOT NULL;
CREATE TABLE IF NOT EXISTS others (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS beside.pictures (key TEXT PRIMARY KEY, scene_picture BLOB, mask_picture BLOB);
"""
_OTHER = ("name", "error", "failure", "transform", "files", "worker", *_PICTURES)
_RESULTS = [f.name for f in fields(Outcome) if f.name not in _OTHER]


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
    notes: str | None
    """Warnings, a line each."""

    def place(self, kind: str) -> str | None:
        """A file's name in the folder, or its URL if it was uploaded."""
        name = self.files.get(kind)
        return f"{self.uploaded.rstrip('/')}/{name}" if self.uploaded and name else name

    def record(self) -> dict[str, Any]:
        """The row for tables."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"transform": self.transform and json.dumps(self.transform), "files": json.dumps(self.files)}


class Manifest:
    """The database, to be written. One process may do so at a time (see `geocloud.batch.run`), any number may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, timeout=TIMEOUT)
            self._database.row_factory = sqlite3.Row
            if (version := version_of(self._database)) > VERSION:
                raise OutputError(newer(path, version))
            self._database.execute("PRAGMA journal_mode=DELETE")
            self._database.execute("ATTACH ? AS beside", (str(thumbnails_of(path)),))
            self._convert(version)
        except sqlite3.Error as error:
            raise OutputError(f"{path}: cannot be used as a manifest ({error})") from error

    def _convert(self, version: int) -> None:
        """Makes the tables, and moves what an earlier version has left into them."""
        old = columns_of(self._database) if version < VERSION else set()
        script = _TABLES.split(";")
        if version < VERSION:  # or every opening would make the manifest newer than the report
            script.append(f"PRAGMA user_version = {VERSION}")
        if old and "shadow_percent" not in old:
            script.insert(0, "ALTER TABLE scenes ADD COLUMN shadow_percent REAL")
        if "scene_picture" in old:
            script.append("INSERT OR REPLACE INTO pictures SELECT key, scene_picture, mask_picture FROM scenes")
            script += [f"ALTER TABLE scenes DROP COLUMN {name}" for name in _PICTURES]
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for line in script:
                self._database.execute(line)
        if "scene_picture" in old:
            self._database.execute("VACUUM")

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def plan(self, rows: Iterable[tuple[str, str, str, str]], settings: str) -> None:
        """Adds or resets scenes to be masked: rows of key, name, source, fingerprint."""
        with self._database:
            self._database.executemany(
                "INSERT INTO scenes (key, name, source, fingerprint, settings, state) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET source = excluded.source, fingerprint = excluded.fingerprint, "
                "settings = excluded.settings, state = excluded.state, tries = 0, error = NULL, failure = NULL",
                ((key, name, source, fingerprint, settings, WAITING) for key, name, source, fingerprint in rows),
            )

    def pass_over(self, rows: Iterable[tuple[str, str]]) -> None:
        """Records files that are no scenes: rows of key, fingerprint."""
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO others VALUES (?, ?)", rows)

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
        with self._database:  # before its state: a scene that is done has its thumbnails
            self._database.execute(
                "INSERT OR REPLACE INTO pictures SELECT key, ?, ? FROM scenes WHERE name = ?",
                (outcome.scene_picture, outcome.mask_picture, outcome.name),
            )
        with self._database:
            self._database.execute(
                f"UPDATE scenes SET {columns} WHERE name = :scene",  # noqa: S608 - names of our own columns
                values | {"scene": outcome.name},
            )

    def stop(self) -> None:
        """Resets running scenes to waiting."""
        with self._database:
            self._database.execute("UPDATE scenes SET state = ? WHERE state = ?", (WAITING, RUNNING))


COLUMNS = ", ".join(f.name for f in fields(Entry))

_WAYS = ("mode=ro", "mode=rw", "immutable=1")
"""To open a database for reading. A killed writer's last change must be undone first, which is writing; immutable reads
WAL of an earlier version where nothing may be written, as of its last checkpoint."""


def select(path: Path, what: str, then: str, values: Sequence[object] = (), table: str = "scenes") -> list[sqlite3.Row]:
    """The rows of ``SELECT what FROM table``; of scenes it may name thumbnails too.

    ``then`` follows FROM. A column that an earlier version lacked is null, a table empty. Raises OutputError,
    sqlite3.Error.
    """
    for how in _WAYS:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=TIMEOUT)) as database:
            database.row_factory = sqlite3.Row
            try:
                if (version := version_of(database)) > VERSION:
                    raise OutputError(newer(path, version))
                if not (there := columns_of(database, table)):
                    return []  # another process is creating it
                if "shadow_percent" not in there:
                    what = what.replace("shadow_percent", "NULL AS shadow_percent")
                tables, pictures = table, thumbnails_of(path)
                if "_picture" in what and pictures.exists():
                    database.execute("ATTACH ? AS beside", (f"{pictures.resolve().as_uri()}?{how}",))
                    tables = "scenes LEFT JOIN pictures USING (key)"
                elif version:
                    what = re.sub(r"(\w+_picture)", r"NULL AS \1", what)
                return database.execute(f"SELECT {what} FROM {tables} {then}", values).fetchall()  # noqa: S608
            except sqlite3.OperationalError:
                if how == _WAYS[-1] or (how == _WAYS[1] and path.with_name(f"{path.name}-journal").exists()):
                    raise
    return []


def manifests_in(folder: Path) -> list[Path]:
    """The manifests in a folder, of which each shard has one, by name. None if there is no such folder."""
    try:
        with os.scandir(folder) as files:  # Path.glob would hold the names of a million masks
            names = [f.name for f in files if f.name.startswith("manifest") and f.name.endswith(".sqlite")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names)]


def thumbnails_of(manifest: Path) -> Path:
    """The database of thumbnails beside a manifest."""
    return manifest.with_name(manifest.name.replace("manifest", "thumbnails", 1))


def version_of(database: sqlite3.Connection) -> int:
    """Of a manifest's tables."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def columns_of(database: sqlite3.Connection, table: str = "scenes") -> set[str]:
    """Of a table; none if there is no such table yet."""
    return {str(row["name"]) for row in database.execute(f"PRAGMA table_info({table})")}


def newer(path: Path, version: int) -> str:
    """The message for a manifest of a version that is not known yet."""
    return f"{path}: a manifest of version {version}, written by a later geocloud; this one reads {VERSION}: update it"


def entry_of(row: sqlite3.Row) -> Entry:
    """The entry in a row that has all columns of `COLUMNS`."""
    values: dict[str, Any] = {f.name: row[f.name] for f in fields(Entry)}
    transform = json.loads(values["transform"] or "null")
    values["transform"] = tuple(transform) if transform else None
    values["files"] = json.loads(values["files"] or "{}")
    return Entry(**values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
