"""All cases of the matrix: exit code, one line, and no files written or left behind on failure."""

import numpy as np
import pytest
import rasterio
from cases import CASES, table
from click.testing import CliRunner
from geocloud_cli.main import cli

from geocloud.io.gdal import open_quietly

pytestmark = pytest.mark.slow


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES, ids=[f"{c.group}: {c.what}" for c in CASES])
def test_a_case_of_the_matrix(case, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    words = case.words(tmp_path)
    if not {"-o", "--"} & set(words):
        words += ["-o", str(tmp_path / "out" / "mask.tif")]
    elif "--" in words:
        words = ["-o", str(tmp_path / "out" / "mask.tif"), *words]
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["mask", *words])
    errors = [line for line in done.stderr.splitlines() if line.startswith("geocloud: error: ")]
    assert done.exit_code == case.refused, done.output
    assert "(unexpected;" not in done.stderr and "Traceback" not in done.output
    assert case.says in done.stderr
    if not case.refused:
        assert not errors
        mask = tmp_path / "out" / "mask.tif"
        with open_quietly(mask) as dataset:
            values = dataset.read(1)
        assert case.expect(values), np.unique(values, return_counts=True)
        assert {0, 1, 255} >= set(np.unique(values).tolist())
        assert {path: data for path, data in contents(tmp_path).items() if path in before} == before
    else:
        assert len(errors) == 1 and len(done.stderr.splitlines()) <= 2  # a note may come before
        assert contents(tmp_path) == before
    assert not list(tmp_path.rglob(".geocloud-*"))


@pytest.mark.parametrize("case", [c for c in CASES if c.what.startswith("a geotransform")], ids=lambda c: c.what)
def test_odd_geotransforms_are_kept(case, tmp_path):
    (tmp_path / "out").mkdir()
    scene, out = case.words(tmp_path)[0], tmp_path / "out" / "m.tif"
    assert CliRunner().invoke(cli, ["mask", scene, "-o", str(out)]).exit_code == 0
    with rasterio.open(scene) as source, rasterio.open(out) as mask:
        assert mask.transform.almost_equals(source.transform, 1e-9) and mask.crs == source.crs


def test_the_matrix_has_a_row_for_every_kind():
    assert {line.split("|")[1].strip() for line in table().splitlines()[2:]} == {case.group for case in CASES}
