"""The benchmarks run on a tiny scene; their figures are not checked."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import read_tif
from rio_cogeo.cogeo import cog_validate

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def python(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=BENCHMARKS, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_scenes_floor_and_stages(tmp_path):
    for name, options in (("plain", []), ("collar", ["--collar", "--layout", "striped", "--compress", "none"])):
        python("scenes.py", tmp_path / name, "--rows", 600, "--cols", 500, *options)
    bands = [read_tif(path) for path in sorted((tmp_path / "plain").glob("*.TIF"))]
    assert [band.shape for band in bands] == [(1, 600, 500)] * 4
    assert all(band.all() for band in bands)
    missing = [(read_tif(path) == 0).mean() for path in (tmp_path / "collar").glob("*.TIF")]
    assert np.allclose(missing, 1 / 3, atol=0.02)
    python("floor.py", tmp_path / "plain", tmp_path / "floor.tif")
    assert cog_validate(tmp_path / "floor.tif", strict=True)[0]
    spent = json.loads(python("stages.py", tmp_path / "plain", tmp_path / "mask.tif"))
    assert set(spent) == {"start-up", "read", "fill gaps", "network", "convert, blend", "write"}
    assert min(spent.values()) >= 0 and spent["network"] > 0
    with rasterio.open(tmp_path / "mask.tif") as mask:
        assert mask.shape == (600, 500)


def test_results_are_shown_and_guarded(tmp_path):
    took = {"megapixels": 58.5, "wall": 4.0, "cpu": 6.0, "cpu_per_mp": 0.1, "peak": 400}
    rows = [
        {"what": "floor", **took},
        {"what": "mask", **took, "wall": 9.0},
        {"what": "collar", **took},
        {"what": "shadows", **took},
    ]
    groups = {"full": {"machine": "here", "turns": 3, "rows": rows}}
    (tmp_path / "results.json").write_text(json.dumps({"groups": groups}))
    python("show.py", tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "2.25 times" in text
    assert "| mask | 58.5 | 9.0 | 6.0 | 0.1 | 400 |" in text
    assert (tmp_path / "results.png").stat().st_size > 1000
    code = f"import check, pathlib; print(check.ratios(pathlib.Path({str(tmp_path)!r})))"
    assert "'wall of mask over floor': 2.25" in python("-c", code)


def test_what_was_recorded_is_what_is_shown(tmp_path):
    (tmp_path / "results.json").write_text((BENCHMARKS / "results.json").read_text())
    python("show.py", tmp_path)
    assert (tmp_path / "results.md").read_text() == (BENCHMARKS / "results.md").read_text()


def test_a_group_that_does_not_exist():
    python("run.py", "nonsense", code=2)
