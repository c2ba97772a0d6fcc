"""The state of a batch: a table of scenes in an SQLite database in the output folder, a manifest, and its queries.

One process writes a manifest; each shard has its own. SQLite keeps a rollback journal, no WAL: that does not work on
network file systems (https://sqlite.org/wal.html). With it a reader holds a writer up, so it reads in short pages.
"""

from __future__ import annotations

import csv
import heapq
import json
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from geocloud.errors import DependencyError, OutputError, SceneReadError
from geocloud.writers.staging import Staging

log = logging.getLogger(__name__)

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
VERSION = 1
"""Version of the tables. Later columns (`ADDED`) do not change it: earlier programs ignore them."""
PAGE = 2000
"""Rows in memory at a time, of all manifests together."""
MAX_KEYS = 512
"""Scenes that are looked up together: SQLite takes 999 values in a query."""
TIMEOUT = 120
"""Seconds that a reader or writer waits for another."""


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
    fingerprint: str | None = None
    """Fingerprint of the source's contents when the scene was last planned, see `geocloud.batch.find.fingerprint`."""
    settings: str | None = None
    """Fingerprint of model and options when the scene was last planned, see `BatchOptions.fingerprint`."""
    tries: int = 0
    """Number of times that the scene was started."""
    error: str | None = None
    """Why it failed, in one line."""
    failure: str | None = None
    """Kind of failure, see `geocloud.batch.job.BAD_INPUT`."""
    started: str | None = None
    """When it was last handed to a worker."""
    finished: str | None = None
    """When it was done or failed."""
    seconds: float | None = None
    """Wall-clock time."""
    worker: str | None = None
    """Host and process ID."""
    megapixels: float | None = None
    """Pixels of the scene, in millions."""
    cloud_percent: float | None = None
    """Per cent of the valid pixels that are cloud; None if there are no valid pixels."""
    shadow_percent: float | None = None
    """Likewise cloud shadow; None if not requested."""
    snow_percent: float | None = None
    """Likewise snow and ice; None if not requested."""
    cirrus_percent: float | None = None
    """Likewise thin cirrus; None if not requested."""
    valid_percent: float | None = None
    """Per cent of all pixels that hold data."""
    height: int | None = None
    width: int | None = None
    crs: str | None = None
    """Such as EPSG:32633."""
    transform: tuple[float, ...] | None = None
    """First six numbers of the affine transform."""
    footprint: str | None = None
    """GeoJSON in WGS 84 of the area with data."""
    acquired: str | None = None
    model: str | None = None
    threshold: float | None = None
    """Threshold of cloud that was applied."""
    files: dict[str, str] = field(default_factory=dict)
    """File names by kind, in the manifest's folder or under ``uploaded``."""
    uploaded: str | None = None
    """The URL in an object store that the files were uploaded to; None: not uploaded."""
    notes: str | None = None
    """Warnings, a line each."""

    def place(self, kind: str) -> str | None:
        """A file's name in the folder, or its URL if it was uploaded."""
        name = self.files.get(kind)
        return f"{self.uploaded.rstrip('/')}/{name}" if self.uploaded and name else name


KINDS = {f.name: str(f.type).partition(" ")[0] for f in fields(Entry)}
"""Column → str, int or float; what else there is, is JSON."""
NAMES = tuple(KINDS)
STATE = ("key", "name", "state")
"""The columns that `Entries.rows` needs."""
PERCENTS = ("cloud_percent", "shadow_percent", "snow_percent", "cirrus_percent", "valid_percent")
ADDED = PERCENTS[1:4]
"""Columns that manifests of earlier versions lack, all of them numbers."""
PLANNED = {"key", "name", "source", "fingerprint", "settings", "tries", "started", "finished"}
"""Columns that are not a job's to tell."""

_SQL = {"int": "INTEGER", "float": "REAL"}
_MUST = {"key": "PRIMARY KEY", "name": "NOT NULL UNIQUE", "source": "NOT NULL", "state": "NOT NULL"}
_MUST["tries"] = "NOT NULL DEFAULT 0"
_COLUMNS = ", ".join(f"{name} {_SQL.get(kind, 'TEXT')} {_MUST.get(name, '')}" for name, kind in KINDS.items())
_SCHEMA = (
    f"TABLE IF NOT EXISTS scenes ({_COLUMNS})",
    "TABLE IF NOT EXISTS others (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL)",
    "INDEX IF NOT EXISTS scenes_by_state ON scenes (state, name)",
    "INDEX IF NOT EXISTS scenes_with_notes ON scenes (name) WHERE notes IS NOT NULL",
)


class Manifest:
    """The database, to be written. One process may do so at a time (see `geocloud.batch.run`), any number may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, timeout=TIMEOUT)
            columns = _columns(path, self._database)
            if columns.issuperset(NAMES):  # or every opening would make the manifest newer than the report
                return
            self._database.execute("PRAGMA journal_mode=DELETE")
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                for name in ADDED:
                    if columns and name not in columns:
                        self._database.execute(f"ALTER TABLE scenes ADD COLUMN {name} REAL")
                for part in _SCHEMA:
                    self._database.execute(f"CREATE {part}")
                self._database.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            raise OutputError(f"{path}: cannot be used as a manifest ({error})") from error

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def plan(self, rows: Iterable[tuple[str, str, str, str]], settings: str) -> None:
        """Adds or resets scenes to be masked: rows of key, name, source, fingerprint."""
        self._write(
            "INSERT INTO scenes (key, name, source, fingerprint, settings, state) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET source = excluded.source, fingerprint = excluded.fingerprint, "
            "settings = excluded.settings, state = excluded.state, tries = 0, error = NULL, failure = NULL",
            ((*row, settings, WAITING) for row in rows),
        )

    def pass_over(self, rows: Iterable[tuple[str, str]]) -> None:
        """Records files that are no scenes: rows of key, fingerprint."""
        self._write("INSERT OR REPLACE INTO others VALUES (?, ?)", rows)

    def start(self, name: str) -> None:
        """Records that a worker has begun with a scene."""
        row = (RUNNING, _now(), name)
        self._write("UPDATE scenes SET state = ?, tries = tries + 1, started = ? WHERE name = ?", [row])

    def finish(self, entry: Entry) -> None:
        """Records what came of a scene."""
        values = {name: getattr(entry, name) for name in NAMES if name not in PLANNED}
        values |= {"transform": entry.transform and json.dumps(entry.transform), "files": json.dumps(entry.files)}
        values["finished"] = _now()
        changes = ", ".join(f"{name} = :{name}" for name in values)
        self._write(f"UPDATE scenes SET {changes} WHERE name = :name", [values | {"name": entry.name}])  # noqa: S608

    def stop(self) -> None:
        """Resets running scenes to waiting."""
        self._write("UPDATE scenes SET state = ? WHERE state = ?", [(WAITING, RUNNING)])

    def _write(self, statement: str, rows: Iterable[Any]) -> None:
        with self._database:
            self._database.executemany(statement, rows)


class Entries:
    """The scenes in some manifests, each once, by name. They are read when they are asked for, a page at a time.

    A scene that is in several manifests, as shards of another count may have left it, is taken from one in which it is
    done, or else from the first.
    """

    def __init__(self, paths: list[Path], keys: frozenset[str] | None = None) -> None:
        """``keys``: the scenes to keep; None: all."""
        self._paths, self._keys = paths, keys
        counts = {path.stem.partition("-of-")[2] for path in paths}
        self._apart = len(paths) <= 1 or (len(counts) == 1 and "" not in counts)
        """True if no scene can be in two of the manifests: they are the shards of one count."""

    def __iter__(self) -> Iterator[Entry]:
        return map(_entry, self.rows(NAMES))

    def __len__(self) -> int:
        return self.counts().total()

    def failures(self) -> Iterator[Entry]:
        """The scenes that failed."""
        rows = self.rows(NAMES, f"state = '{FAILED}'" if self._apart else "true")
        return (_entry(row) for row in rows if row["state"] == FAILED)

    def counts(self) -> Counter[str]:
        """State → number of scenes."""
        if not self._apart or self._keys is not None:
            return Counter(row["state"] for row in self.rows(STATE))
        counts: Counter[str] = Counter()
        for path in self._paths:
            counts.update(dict(map(tuple, select(path, ("state", "count(*)"), "GROUP BY state"))))
        return counts

    def noted(self) -> int:
        """Number of scenes with notes."""
        return sum(1 for _ in self.rows(STATE, "notes IS NOT NULL"))

    def rows(self, columns: Sequence[str], where: str = "true") -> Iterator[sqlite3.Row]:
        """Some columns of the scenes, with `STATE` among them."""
        size = max(10, PAGE // max(1, len(self._paths)))
        merged = heapq.merge(*(_pages(path, columns, where, size) for path in self._paths), key=itemgetter("name"))
        for _, same in groupby(merged, key=itemgetter("name")):
            rows = list(same)
            row = next((row for row in rows if row["state"] == DONE), rows[0])
            if self._keys is None or row["key"] in self._keys:
                yield row


def read_entries(folder: Path) -> Entries:
    """The scenes in all manifests of a folder. Raises SceneReadError if there is none or its only one is none."""
    paths = manifests_in(folder)
    if not paths:
        raise SceneReadError(f"{folder}: no manifest there; 'geocloud batch SOURCE -o {folder}' makes one")
    readable = []
    for path in paths:
        try:
            select(path, ("name",), "LIMIT 1")
            readable.append(path)
        except sqlite3.Error as error:
            if len(paths) == 1:
                raise SceneReadError(f"{path}: cannot be read as a manifest ({error})") from error
            log.warning("%s: cannot be read now (%s); its scenes are left out", path, error)
    return Entries(readable)


def export(entries: Entries, path: Path) -> None:
    """Writes the manifest as a table: .csv, .json or .parquet. Raises OutputError, DependencyError."""
    forms = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}
    if path.suffix not in forms:
        raise OutputError(f"{path}: wanted a name that ends in {', '.join(forms)}")
    with Staging([path], overwrite=True) as staging:
        try:
            forms[path.suffix](entries.rows(NAMES), staging.place(path))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        staging.publish()


def _write_csv(rows: Iterator[sqlite3.Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(NAMES)
        writer.writerows(rows)


def _write_json(rows: Iterator[sqlite3.Row], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{',' if number else '['}\n {json.dumps(dict(row))}" for number, row in enumerate(rows))
        file.write("\n]\n" if file.tell() else "[]\n")


def _write_parquet(rows: Iterator[sqlite3.Row], path: Path) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("Parquet needs pyarrow; run pip install 'geocloud[batch]'") from error
    kinds = {"int": pa.int64(), "float": pa.float64()}
    with parquet.ParquetWriter(path, pa.schema([(n, kinds.get(k, pa.string())) for n, k in KINDS.items()])) as writer:
        while some := list(islice(rows, PAGE)):
            columns = zip(*map(tuple, some), strict=True)
            writer.write_table(pa.table([list(column) for column in columns], schema=writer.schema))


def select(
    path: Path, columns: Sequence[str], then: str = "", values: Sequence[Any] = (), table: str = "scenes"
) -> list[sqlite3.Row]:
    """The rows of ``SELECT columns FROM table then``. A table that is not there yet is empty.

    The database is opened for writing where it may be: what a killed writer has left must be undone first. Raises
    OutputError, sqlite3.Error.
    """
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=TIMEOUT)) as database:
        database.row_factory = sqlite3.Row
        if not (present := _columns(path, database, table)):
            return []  # another process is creating it
        names = ", ".join(f"NULL AS {n}" if n in ADDED and n not in present else n for n in columns)
        return database.execute(f"SELECT {names} FROM {table} {then}", values).fetchall()  # noqa: S608


def manifests_in(folder: Path) -> list[Path]:
    """The manifests in a folder, of which each shard has one, by name. None if there is no such folder."""
    try:
        with os.scandir(folder) as files:  # Path.glob would hold the names of a million masks
            names = [f.name for f in files if f.name.startswith("manifest") and f.name.endswith(".sqlite")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names)]


def _pages(path: Path, columns: Sequence[str], where: str, size: int) -> Iterator[sqlite3.Row]:
    """Rows by name. Between pages nothing is open: a writer need not wait, and a thousand shards are no open files."""
    last = ""
    while rows := select(path, columns, f"WHERE {where} AND name > ? ORDER BY name LIMIT {size}", [last]):
        yield from rows
        last = rows[-1]["name"]


def _columns(path: Path, database: sqlite3.Connection, table: str = "scenes") -> set[str]:
    """The columns of a table; none if there is no such table yet. Raises OutputError for a later version's."""
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        reads = f"this one reads {VERSION}: update it"
        raise OutputError(f"{path}: a manifest of version {version}, written by a later geocloud; {reads}")
    return {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}


def _entry(row: sqlite3.Row) -> Entry:
    values: dict[str, Any] = {name: row[name] for name in NAMES}
    transform = json.loads(values["transform"] or "null")
    files = json.loads(values["files"] or "{}")
    return Entry(**values | {"transform": transform and tuple(transform), "files": files})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
