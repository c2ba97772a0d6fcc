"""PROJ's database is rasterio's, regardless of other programs' settings."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from conftest import geobox, write_tif

from geocloud.simulate import simulate_scene


@pytest.fixture
def elsewhere(tmp_path):
    """Environment of a program with an older PROJ."""
    folder = tmp_path / "proj"
    folder.mkdir()
    with sqlite3.connect(folder / "proj.db") as database:
        database.execute("create table metadata(key text primary key, value text)")
        rows = [("DATABASE.LAYOUT.VERSION.MAJOR", "1"), ("DATABASE.LAYOUT.VERSION.MINOR", "0")]
        database.executemany("insert into metadata values (?, ?)", rows)
    database.close()
    return {**os.environ, "PROJ_DATA": str(folder), "PROJ_LIB": str(folder)}


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(rasterio.__file__).with_name("proj_data") / "proj.db").exists(), reason="this rasterio has no database"
)
def test_the_database_of_another_program_is_ignored(tmp_path, elsewhere):
    scene = simulate_scene(3, (64, 60)).reflectance
    path = write_tif(tmp_path / "s.tif", scene, geobox(64, 60), descriptions=("red", "green", "blue", "nir"))
    command = [sys.executable, "-m", "geocloud_cli", "mask", path, "-o", tmp_path / "m.tif"]
    done = subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "m.tif") as mask:
        assert mask.crs == geobox(64, 60).crs
        assert mask.crs.is_projected


def test_a_broken_database_is_named(monkeypatch):
    from pyproj.exceptions import ProjError

    from geocloud import doctor

    def fail(code):
        raise ProjError("no database")

    monkeypatch.setattr(doctor.pyproj.CRS, "from_epsg", fail)
    monkeypatch.setenv("PROJ_LIB", "/opt/other/proj")
    finding = doctor._projections()
    assert not finding.well
    assert "unset PROJ_LIB" in finding.text
