"""The recipe of the bundled models, on data of its own shape but a thousandth of the size."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import geobox, simulated_chip, write_tif

from geocloud.errors import DatasetError
from geocloud.model.checkpoint import Checkpoint
from geocloud.training.recipe import CONFIGS, DONE, FOLDS, Material, Recipe

GROUND = (
    "l8l1_zion_sun60assumed",
    "s2l1c_snow_montcalm_01_01_2018",
    "s2l1c_snow_montcalm_12_01_2021",
    "s2l2a_aquileia_italy",
)
TINY = dataclasses.replace(
    CONFIGS["fast"], threshold=0.45, options={"width": 4, "levels": 3}, steps=8, batch=2, workers=0
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")

    def write(path, seed, codes=None, size=64):
        chip = simulated_chip(seed, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.clip(chip.reflectance * 10_000, 0, 20_000).astype("uint16")
        write_tif(path, values, geobox(size, size), nodata=65535)
        if codes is not None:
            mask = np.where(chip.label == 1, *codes).astype("uint8")[None]
            where = root / "l8biome" / "masks" if "l8biome" in str(path) else path.parent
            where.mkdir(exist_ok=True)
            write_tif(where / (path.name if "l8biome" in str(path) else f"{path.stem}_label.tif"), mask, geobox(64, 64))

    for seed in range(4):
        write(root / "l8biome" / "images" / f"Barren_0{seed}.tif", seed, (255, 128))
    write(root / "s2_labelled" / "oncloudn_1.tif", 5, (1, 0))
    write(root / "weak" / "sen12mscr_7.tif", 6, (1, 0))
    write(root / "pairs" / "sen12mscr_7_clear.tif", 7)
    for seed, name in enumerate(GROUND):
        write(root / "backgrounds" / f"{name}.tif", 10 + seed)
    return root


def test_nothing_that_is_left_out_is_trained_on(data):
    material = Material.read(data)
    assert [chip.name for chip in material.biome] == [f"Barren_0{i}" for i in range(4)]
    assert {chip.label.max() for chip in material.biome} == {1}
    assert len(material.places["s2l1c_snow_montcalm"]) == 2
    assert material.apart == {"l8l1_zion_sun60assumed", "s2l2a_aquileia_italy"}
    everything = {chip.name for _, chips in material.without(set(), set()) for chip in chips}
    left = {chip.name for _, chips in material.without({1}, {"s2l1c_snow_montcalm", "sen12mscr_7"}) for chip in chips}
    assert everything - left == {"Barren_01", "sen12mscr_7", "sen12mscr_7_clear", *GROUND[1:3]}
    with pytest.raises(DatasetError, match="no l8biome/images"):
        Material.read(data / "weak")


def test_folds_are_scored_once_all_are_there_and_the_model_carries_the_scores(data, tmp_path):
    recipe = Recipe(data, tmp_path, TINY)
    assert recipe.cross_validate(2, only=1) is None
    written = [(tmp_path / run / DONE).stat().st_mtime_ns for run in ("base", "fold1")]
    scores = recipe.cross_validate(2)
    assert [(tmp_path / run / DONE).stat().st_mtime_ns for run in ("base", "fold1")] == written, "done once"
    assert scores == json.loads((tmp_path / FOLDS).read_text())
    assert sorted(scores["patches"]) == [f"Barren_0{i}" for i in range(4)]
    assert set(scores["false_alarms"]) == {"bright rock: l8l1_zion_sun60assumed", "fields: s2l2a_aquileia_italy"}
    pooled = scores["pooled"][str(TINY.threshold)]
    accuracy = np.mean([patch["accuracy"] for patch in scores["patches"].values()])
    assert pooled["accuracy"] == pytest.approx(accuracy, abs=1e-3)
    recipe.train()
    made = Checkpoint.load(tmp_path / "fast.safetensors")
    assert made.training["cross_validation"]["jaccard"] == pooled["jaccard"]
    assert made.training["config"]["steps"] == 2, "a quarter of the base's"
    card = (tmp_path / "fast.md").read_text()
    assert f"| {TINY.threshold} | {pooled['jaccard']:.3f} |" in card
    assert "| Barren_00 |" in card
    assert "| bright rock: l8l1_zion_sun60assumed |" in card
