"""Manifests: SQLite databases in the output folder of a batch that hold the state of each scene.

Each shard has its own manifest, written by one process. It uses a rollback journal, because WAL does not work on
network file systems (https://sqlite.org/wal.html). Readers then block the writer, so they read in short pages.
"""

from __future__ import annotations

import csv
import heapq
import json
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from geocloud.errors import DependencyError, OutputError, SceneReadError
from geocloud.writers.staging import Staging

log = logging.getLogger(__name__)

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
OTHER = "other"
"""State of a raster that is not a scene. Its row, whose name is its key, saves opening it again in later runs."""
VERSION = 1
"""Version of the table. New columns do not change it, because earlier versions of geocloud ignore them."""
PAGE = 2000
"""Rows in memory at a time, over all manifests."""
TIMEOUT = 120
"""Seconds to wait while another reader or writer locks the database."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A scene's row in the manifest. Times are ISO 8601 in UTC. None: unknown, not yet known, or not requested."""

    key: str  # identical for all sources of a product
    name: str  # base name of the scene's files
    source: str  # path or URL of the scene, without secrets
    state: str  # waiting, running, done or failed
    fingerprint: str | None = None  # fingerprint of the source when the scene was last planned
    settings: str | None = None  # fingerprint of model and options when the scene was last planned
    tries: int = 0  # number of times that the scene was started
    error: str | None = None  # error message, in one line
    failure: str | None = None  # kind of failure, see `geocloud.batch.job.BAD_INPUT`
    started: str | None = None  # time when a worker last started the scene
    finished: str | None = None  # time when the scene was done or failed
    seconds: float | None = None  # wall-clock time
    worker: str | None = None  # host and process ID
    megapixels: float | None = None  # pixels of the scene, in millions
    cloud_percent: float | None = None  # percentage of valid pixels; likewise shadow, snow and cirrus
    shadow_percent: float | None = None
    snow_percent: float | None = None
    cirrus_percent: float | None = None
    valid_percent: float | None = None  # percentage of all pixels
    height: int | None = None
    width: int | None = None
    crs: str | None = None  # such as EPSG:32633
    transform: tuple[float, ...] | None = None  # first six numbers of the affine transform
    footprint: str | None = None  # GeoJSON in WGS 84 of the area with data
    acquired: str | None = None
    model: str | None = None
    threshold: float | None = None  # cloud probability threshold of the mask
    files: dict[str, str] = field(default_factory=dict)  # kind → file name in the folder, or under ``uploaded``
    uploaded: str | None = None  # object store URL to which the files were uploaded
    notes: str | None = None  # warnings, one per line

    def place(self, kind: str) -> str | None:
        """Name of a file in the folder, or its URL if it was uploaded; None without a file of this kind."""
        name = self.files.get(kind)
        return f"{self.uploaded.rstrip('/')}/{name}" if self.uploaded and name else name


KINDS = {f.name: str(f.type).partition(" ")[0] for f in fields(Entry)}
"""Column → type: str, int or float. Columns of other types hold JSON."""
NAMES = tuple(KINDS)
PERCENTS = ("cloud_percent", "shadow_percent", "snow_percent", "cirrus_percent", "valid_percent")
TOLD = [n for n in NAMES if n not in ("key", "name", "source", "fingerprint", "settings", "tries", "started")]
"""Columns that are set when a job ends."""

_TYPES = {name: {"int": "INTEGER", "float": "REAL"}.get(kind, "TEXT") for name, kind in KINDS.items()}
_TYPES |= {"key": "TEXT PRIMARY KEY", "name": "TEXT NOT NULL UNIQUE", "tries": "INTEGER NOT NULL DEFAULT 0"}
_SCHEMA = (
    f"TABLE IF NOT EXISTS scenes ({', '.join(f'{name} {kind}' for name, kind in _TYPES.items())})",
    "INDEX IF NOT EXISTS scenes_by_state ON scenes (state, name)",
    "INDEX IF NOT EXISTS scenes_with_notes ON scenes (name) WHERE notes IS NOT NULL",
)


class Manifest:
    """An open manifest, for use from any thread. One process may write at a time, any number may read."""

    def __init__(self, path: Path, mode: str = "rwc") -> None:
        """Opens a manifest, or with mode "rwc" creates it, and adds missing columns. Raises OutputError."""
        self.path, self._lock = path, threading.Lock()
        try:
            # Readers, too, open it for writing, because the transaction of a killed writer must be rolled back.
            address = f"{path.resolve().as_uri()}?mode={mode}"
            self._database = sqlite3.connect(address, uri=True, timeout=TIMEOUT, check_same_thread=False)
            self._database.row_factory = sqlite3.Row
            try:
                self._complete()
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as error:
            raise OutputError(f"{path}: cannot be used as a manifest ({error})") from error

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def _complete(self) -> None:
        """Creates the table, or adds the columns that it lacks."""
        version = int(self._database.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            hint = f"this geocloud reads version {VERSION}; update it"
            raise OutputError(f"{self.path}: manifest of version {version}, written by a later geocloud; {hint}")
        present = {row["name"] for row in self._database.execute("PRAGMA table_info(scenes)")}
        if present.issuperset(NAMES):  # otherwise every opening would make the manifest newer than the report
            return
        self._database.execute("PRAGMA journal_mode=DELETE")
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            added = [f"{name} {_TYPES[name]}" for name in NAMES if present and name not in present]
            for column in added:
                self._database.execute(f"ALTER TABLE scenes ADD COLUMN {column}")
            for part in _SCHEMA:
                self._database.execute(f"CREATE {part}")
            self._database.execute(f"PRAGMA user_version = {VERSION}")
        if added:
            log.warning("%s: manifest of an earlier version; added the columns %s", self.path, ", ".join(added))

    def select(self, columns: Sequence[str], then: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Rows of the query ``SELECT columns FROM scenes then``."""
        return self._database.execute(f"SELECT {', '.join(columns)} FROM scenes {then}", values).fetchall()  # noqa: S608

    def plan(self, rows: Iterable[tuple[str, str, str, str]], settings: str, state: str = WAITING) -> None:
        """Adds or resets scenes. Each row is (key, name, source, fingerprint)."""
        self._write(
            "INSERT INTO scenes (key, name, source, fingerprint, settings, state) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET name = excluded.name, source = excluded.source, "
            "fingerprint = excluded.fingerprint, settings = excluded.settings, state = excluded.state, "
            "tries = 0, error = NULL, failure = NULL",
            ((*row, settings, state) for row in rows),
        )

    def start(self, name: str) -> None:
        """Records that a worker has started a scene, unless the scene is already done or failed."""
        change = "UPDATE scenes SET state = ?, tries = tries + 1, started = ? WHERE name = ? AND state IN (?, ?)"
        self._write(change, [(RUNNING, _now(), name, WAITING, RUNNING)])

    def finish(self, entry: Entry) -> None:
        """Records the outcome of a scene."""
        values = {name: getattr(entry, name) for name in TOLD} | {"finished": _now(), "files": json.dumps(entry.files)}
        values["transform"] = entry.transform and json.dumps(entry.transform)
        changes = ", ".join(f"{name} = :{name}" for name in TOLD)
        self._write(f"UPDATE scenes SET {changes} WHERE name = :name", [values | {"name": entry.name}])  # noqa: S608

    def stop(self) -> None:
        """Resets running scenes to waiting."""
        self._write("UPDATE scenes SET state = ? WHERE state = ?", [(WAITING, RUNNING)])

    def _write(self, statement: str, rows: Iterable[Any]) -> None:
        with self._lock, self._database:
            self._database.executemany(statement, rows)


class Entries:
    """Scenes in one or more manifests, sorted by name. They are read on demand, a page at a time."""

    def __init__(self, paths: list[Path], keys: frozenset[str] | None = None) -> None:
        """Scenes in the manifests at ``paths``, limited to ``keys`` if given."""
        self._paths, self._keys = paths, keys

    def __iter__(self) -> Iterator[Entry]:
        return map(_entry, self.rows())

    def __len__(self) -> int:
        return self.counts().total()

    def failures(self) -> Iterator[Entry]:
        """The scenes that failed."""
        return map(_entry, self.rows(where=f"state = '{FAILED}'"))

    def counts(self) -> Counter[str]:
        """Number of scenes in each state."""
        if self._keys is not None:
            return Counter(row["state"] for row in self.rows(("key", "name", "state")))
        counts: Counter[str] = Counter()
        for path in self._paths:
            with Manifest(path, "rw") as manifest:
                counts.update(dict(map(tuple, manifest.select(("state", "count(*)"), "GROUP BY state"))))
        del counts[OTHER]
        return counts

    def noted(self) -> int:
        """Number of scenes with notes."""
        return sum(1 for _ in self.rows(("key", "name"), "notes IS NOT NULL"))

    def rows(self, columns: Sequence[str] = NAMES, where: str = "true") -> Iterator[sqlite3.Row]:
        """Rows of the scenes. ``columns`` must include key and name; ``where`` is an SQL condition."""
        size = max(1, PAGE // max(1, len(self._paths)))
        pages = (_pages(path, columns, f"{where} AND state != '{OTHER}'", size) for path in self._paths)
        rows = heapq.merge(*pages, key=itemgetter("name"))
        return rows if self._keys is None else (row for row in rows if row["key"] in self._keys)


def _pages(path: Path, columns: Sequence[str], where: str, size: int) -> Iterator[sqlite3.Row]:
    """Rows sorted by name. The file is closed between pages, so that writers can continue and few files are open."""
    last = ""
    while True:
        with Manifest(path, "rw") as manifest:
            rows = manifest.select(columns, f"WHERE {where} AND name > ? ORDER BY name LIMIT {size}", [last])
        yield from rows
        if len(rows) < size:
            return
        last = rows[-1]["name"]


def _entry(row: sqlite3.Row) -> Entry:
    values: dict[str, Any] = {name: row[name] for name in NAMES}
    transform = json.loads(values["transform"] or "null")
    files = json.loads(values["files"] or "{}")
    return Entry(**values | {"transform": transform and tuple(transform), "files": files})


def read_entries(folder: Path) -> Entries:
    """Scenes in a folder, of all shards. Raises SceneReadError if the folder has no manifest."""
    paths = manifests_in(folder)
    if not paths:
        raise SceneReadError(f"{folder}: no manifest there; 'geocloud batch SOURCE -o {folder}' makes one")
    return Entries(paths)


def manifests_in(folder: Path) -> list[Path]:
    """Manifests in a folder, one per shard, sorted by name; empty if the folder does not exist."""
    try:
        with os.scandir(folder) as files:  # Path.glob would keep the names of a million masks in memory
            names = [f.name for f in files if f.name.startswith("manifest") and f.name.endswith(".sqlite")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names)]


def export(entries: Entries, path: Path) -> None:
    """Writes entries as a table, .csv or .parquet. Raises OutputError, DependencyError."""
    if path.suffix not in (".csv", ".parquet"):
        raise OutputError(f"{path}: wanted a name that ends in .csv or .parquet")
    with Staging([path], overwrite=True) as staging:
        try:
            if path.suffix == ".csv":
                with staging.place(path).open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows(chain([NAMES], entries.rows()))
            else:
                _write_parquet(entries.rows(), staging.place(path))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        staging.publish()


def _write_parquet(rows: Iterator[sqlite3.Row], path: Path) -> None:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise DependencyError("Parquet needs pyarrow; run pip install 'geocloud[batch]'") from error
    kinds = {"int": pa.int64(), "float": pa.float64()}
    schema = pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in KINDS.items()])
    with ParquetWriter(path, schema) as writer:
        while some := list(islice(rows, PAGE)):
            writer.write_batch(pa.RecordBatch.from_pylist(list(map(dict, some)), schema))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
