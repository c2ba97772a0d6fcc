"""Every case of the matrix: the exit code, one line, nothing written where it fails, nothing left behind."""

import numpy as np
import pytest
import rasterio
from cases import CASES, MASKED
from click.testing import CliRunner
from conftest import ROOT
from geocloud_cli.main import cli

from geocloud.io.gdal import open_quietly


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES, ids=[f"{c.group}: {c.what}" for c in CASES])
def test_a_case_of_the_matrix(case, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    words = case.make(tmp_path)
    if not {"-o", "--"} & set(words):
        words += ["-o", str(tmp_path / "out" / "mask.tif")]
    elif "--" in words:
        words = ["-o", str(tmp_path / "out" / "mask.tif"), *words]
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["mask", *words])
    errors = [line for line in done.stderr.splitlines() if line.startswith("geocloud: error: ")]
    assert done.exit_code == case.code, done.output
    assert "(unexpected;" not in done.stderr and "Traceback" not in done.output
    assert case.says in done.stderr
    if case.code == MASKED:
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
    scene, out = case.make(tmp_path)[0], tmp_path / "out" / "m.tif"
    assert CliRunner().invoke(cli, ["mask", scene, "-o", str(out)]).exit_code == 0
    with rasterio.open(scene) as source, rasterio.open(out) as mask:
        assert mask.transform.almost_equals(source.transform, 1e-9) and mask.crs == source.crs


def table():
    """The matrix in Markdown, for docs/reliability.md: cases that end alike share a row."""
    rows = {}
    for case in CASES:
        happens = f"error: …{case.says}…" if case.code else "masked"
        if not case.code and case.says:
            happens += f", with the note: …{case.says}…"
        rows.setdefault((case.group, happens), []).append(case.what)
    lines = [f"| {group} | {'; '.join(whats)} | {happens} |" for (group, happens), whats in rows.items()]
    return "\n".join(["| | case | what happens |", "|---|---|---|", *lines])


def test_the_documentation_shows_the_matrix():
    """To make it anew: python -c "from test_matrix import table; print(table())" in this folder."""
    assert table() in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
