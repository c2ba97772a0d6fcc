"""Manifests: earlier versions, concurrent readers, and bounded memory."""

import csv
import logging
import sqlite3
from contextlib import closing
from dataclasses import fields

import pyarrow.parquet
import pytest
from click.testing import CliRunner
from geocloud_cli.main import cli

from geocloud.batch import Entry, read_entries
from geocloud.batch.state import DONE, PAGE, Manifest, export
from geocloud.errors import OutputError

# As created by version 0.1.0.
OLD = """
CREATE TABLE scenes (
    key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT NOT NULL, state TEXT NOT NULL,
    fingerprint TEXT, settings TEXT, tries INTEGER NOT NULL DEFAULT 0, error TEXT, failure TEXT,
    started TEXT, finished TEXT, seconds REAL, worker TEXT, megapixels REAL, cloud_percent REAL, valid_percent REAL,
    height INTEGER, width INTEGER, crs TEXT, transform TEXT, footprint TEXT, acquired TEXT, model TEXT, threshold REAL,
    files TEXT, uploaded TEXT, scene_picture BLOB, mask_picture BLOB, notes TEXT
);
INSERT INTO scenes (key, name, source, state, files, scene_picture, mask_picture)
    VALUES ('A', 'a', '/in/a', 'done', '{"mask": "a_cloudmask.tif"}', x'01', x'02');
INSERT INTO scenes (key, name, source, state, error) VALUES ('B', 'b', '/in/b', 'failed', 'broken');
"""


def fill(path, names, state="done"):
    """Writes a manifest of scenes with these names."""
    with Manifest(path) as manifest:
        manifest.plan(((name.upper(), name, f"/in/{name}", "print") for name in names), "settings")
        with manifest._database:
            error = 'broken, "quite"' if state == "failed" else None
            manifest._database.execute("UPDATE scenes SET state = ?, error = ?", (state, error))
    return path


@pytest.fixture
def old(tmp_path):
    with closing(sqlite3.connect(tmp_path / "manifest.sqlite")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(OLD)
    return tmp_path


def test_an_earlier_version_is_converted_with_a_note(old, caplog):
    logging.getLogger("geocloud").propagate = True
    for _ in range(2):
        a, b = read_entries(old)
        assert (a.name, a.files, a.shadow_percent) == ("a", {"mask": "a_cloudmask.tif"}, None)
        assert (b.state, b.error, b.snow_percent) == ("failed", "broken", None)
    assert caplog.text.count("of an earlier version; added the columns") == 1
    assert sorted(path.name for path in old.iterdir()) == ["manifest.sqlite"]  # no log, no index of a log


def test_the_version_before_is_read_as_it_is(tmp_path):
    """The table of scenes is unchanged. Rasters that are not scenes were in another table, and are opened once more."""
    path = fill(tmp_path / "manifest.sqlite", "ab")
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE others (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL)")
        database.execute("INSERT INTO others VALUES ('/in/dem.tif', 'print')")
        database.commit()
    before = path.read_bytes()
    with Manifest(path):
        assert [e.name for e in read_entries(tmp_path)] == ["a", "b"] and read_entries(tmp_path).counts() == {"done": 2}
    assert path.read_bytes() == before


def test_a_later_version_is_refused_in_a_line(tmp_path):
    fill(tmp_path / "manifest.sqlite", "a")
    with closing(sqlite3.connect(tmp_path / "manifest.sqlite")) as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(OutputError, match="of version 7, written by a later geocloud"):
        Manifest(tmp_path / "manifest.sqlite")
    found = CliRunner().invoke(cli, ["batch", "status", str(tmp_path)])
    assert found.exit_code == 1 and len(found.output.splitlines()) == 1 and "version 7" in found.output


def test_the_journal_works_on_network_file_systems(tmp_path):
    with Manifest(tmp_path / "manifest.sqlite") as manifest:
        manifest.plan([("A", "a", "/in/a", "print")], "settings")
        manifest.finish(Entry("", "a", "", DONE))
        assert [path.name for path in tmp_path.iterdir()] == ["manifest.sqlite"]
    with closing(sqlite3.connect(tmp_path / "manifest.sqlite")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


def test_a_reader_holds_no_writer_up(tmp_path):
    """A reader that pauses between two pages does not block writers."""
    names = [f"scene_{i:05}" for i in range(3 * PAGE)]
    path = fill(tmp_path / "manifest.sqlite", names)
    reading = iter(read_entries(tmp_path))
    next(reading)
    with Manifest(path) as manifest:
        manifest._database.execute("PRAGMA busy_timeout = 0")
        manifest.finish(Entry("", names[-1], "", "failed", error="late"))
    rest = list(reading)
    assert [e.name for e in rest] == names[1:] and rest[-1].error == "late"


def test_what_a_killed_writer_left_is_undone(tmp_path):
    path = fill(tmp_path / "manifest.sqlite", [f"scene_{i:05}" for i in range(2000)])
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA cache_size = 5")  # writes half of the transaction to the file before its end
        database.execute("UPDATE scenes SET state = 'running', notes = hex(randomblob(100))")
        parts = path.read_bytes(), (tmp_path / "manifest.sqlite-journal").read_bytes()
    for name, part in zip(("manifest.sqlite", "manifest.sqlite-journal"), parts, strict=True):
        (tmp_path / name).write_bytes(part)
    assert read_entries(tmp_path).counts() == {"done": 2000}


def test_scenes_of_all_shards_come_by_name(tmp_path):
    fill(tmp_path / "manifest-00001-of-00002.sqlite", ["a", "d", "e"], "failed")
    fill(tmp_path / "manifest-00002-of-00002.sqlite", ["b", "c"])
    entries = read_entries(tmp_path)
    assert "".join(e.name for e in entries) == "abcde" and "".join(e.name for e in entries.failures()) == "ade"
    assert entries.counts() == {"failed": 3, "done": 2} and len(entries) == 5


def test_exports_hold_every_row(tmp_path):
    fill(tmp_path / "manifest.sqlite", [f"scene_{i:05}" for i in range(PAGE + 3)], "failed")
    names = [field.name for field in fields(Entry)]
    for ending in ("csv", "parquet"):
        export(read_entries(tmp_path), tmp_path / f"m.{ending}")
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == PAGE + 3 and list(rows[0]) == names and rows[-1]["error"] == 'broken, "quite"'
    table = pyarrow.parquet.read_table(tmp_path / "m.parquet")
    assert table.column_names == names and table.column("cloud_percent").null_count == PAGE + 3
    assert table.column("name").to_pylist() == [row["name"] for row in rows]
    assert [str(table.schema.field(n).type) for n in ("name", "tries", "cloud_percent")] == [
        "string",
        "int64",
        "double",
    ]
