"""Checks of a data set."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from conftest import read_tif, write_tif

from geocloud.bands import BANDS
from geocloud.grid import GeoBox
from geocloud.training.data.check import check
from geocloud.training.data.layout import open_dataset


@pytest.mark.slow
def test_the_report_counts_what_is_there(toy, tmp_path):
    seen = []
    report = check(open_dataset(toy), pictures=tmp_path / "look.png", report=lambda *done: seen.append(done))
    assert [report[n] for n in ("chips", "scenes", "test_patches", "test_scenes")] == [6, 3, 4, 2]
    assert seen[-1] == (6, 6)
    assert (tmp_path / "look.png").stat().st_size > 10_000
    numbers = np.concatenate([read_tif(p).ravel() for p in sorted(toy.glob("38-Cloud_training/train_red/*"))])
    truths = np.concatenate([read_tif(p).ravel() for p in sorted(toy.glob("38-Cloud_training/train_gt/*"))])
    known = numbers > 0
    red = numbers[known] * 2e-5 - 0.1
    assert report["statistics"]["red"] == pytest.approx(
        {"mean": red.mean(), "std": red.std(), "min": red.min(), "max": red.max()}, rel=1e-4
    )
    assert report["cloud_share"] == pytest.approx((truths[known] == 255).mean())
    assert report["known_share"] == pytest.approx(known.mean())
    assert check(open_dataset(toy), limit=2)["looked_at"] == 2


@pytest.mark.slow
def test_damaged_empty_and_missing_patches_are_told(toy, tmp_path):
    root = shutil.copytree(toy, tmp_path / "copy")
    reds = sorted(root.glob("38-Cloud_training/train_red/*"))
    reds[0].write_bytes(b"no raster")
    for band in BANDS:
        path = Path(str(reds[1]).replace("red", band))
        write_tif(path, np.zeros((1, 384, 384), "uint16"), GeoBox(384, 384, Affine.identity(), None))
    reds[2].unlink()
    report = check(open_dataset(root))
    assert (report["chips"], report["looked_at"], report["empty"]) == (5, 4, 1)
    assert any("no red file" in problem for problem in report["problems"])
    assert any(reds[0].name in problem for problem in report["problems"])
