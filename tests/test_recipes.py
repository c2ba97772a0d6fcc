"""The bundled models' recipe: its split, how it reads each set, and a run of a few steps, on made-up data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import geobox, write_tif
from PIL import Image

from geocloud.errors import DatasetError
from geocloud.training.data.chips import CLEAR, CLOUD, UNKNOWN
from recipes.bundled import RECIPES, SHARES, WINTER, needed
from recipes.material import HELD_OUT, SOURCES, training_groups, validation_sets

ROOT = Path(__file__).parents[1]

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All sets, each of a few images of 140×150 pixels."""
    root = tmp_path_factory.mktemp("data")
    grid = geobox(140, 150)

    def tif(path, values):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tif(path, values, grid)

    def picture(path, values):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)

    def four():
        values = RNG.integers(0, 12_000, (4, 140, 150)).astype("uint16")
        values[:, :5] = 65_535
        return values

    codes = RNG.choice([64, 128, 192, 255], (1, 140, 150)).astype("uint8")
    for n in range(5):
        tif(root / "l8biome" / "images" / f"Barren_{n:02}.tif", four())
        tif(root / "l8biome" / "masks" / f"Barren_{n:02}.tif", np.where(codes == 64, 128, codes) if n == 1 else codes)
        rgb = RNG.integers(1, 255, (140, 150, 3)).astype("uint8")
        picture(root / "sparcs" / "images" / f"LC8_{n}.jpg", rgb)
        picture(root / "sparcs" / "nir" / f"LC8_{n}.jpg", rgb[..., 0])
        picture(root / "sparcs" / "masks" / f"LC8_{n}.png", RNG.integers(0, 7, (140, 150)).astype("uint8"))
        picture(root / "catalogue" / "images" / f"S2_{n}.jpg", rgb)
        picture(root / "catalogue" / "masks" / f"S2_{n}.png", (RNG.random((140, 150)) < 0.3 * (n > 0)).astype("uint8"))
    for name in ("0060c0a5_S2_00_20m", "JAS_1_30m"):
        tif(root / "taught" / f"{name}.tif", four())
        tif(root / "taught" / f"{name}_probability.tif", RNG.integers(0, 101, (1, 140, 150)).astype("uint8"))
    for folder, names in (("s2_labelled", ("oncloudn_1", "oncloudn_3")), ("weak", ("w",))):
        for name in names:
            tif(root / folder / f"{name}.tif", four())
            tif(root / folder / f"{name}_label.tif", RNG.choice([0, 1, 255], (1, 140, 150)).astype("uint8"))
    for name in ("s2l2a_varilhes", "l8l1_zion"):
        tif(root / "backgrounds" / f"{name}.tif", four())
    return root


def test_no_scene_or_place_is_on_both_sides(data):
    for name, source in SOURCES.items():
        one, other = ({chip.name for chip in source.chips(data, side)} for side in (False, True))
        assert not one & other
        assert len(one | other) == len(source.paths(data))
        for place in HELD_OUT.get(name, ()):
            assert not any(chip.startswith(place) for chip in one)
    assert sum(len(chips) for _, chips in training_groups(data, SHARES)) == 4 + 4 + 4 + 1 + 1 + 1
    assert {name: len(chips) for name, chips in validation_sets(data)}["weak"] == 1
    assert set(SOURCES) - set(SHARES) == {"weak"}, "its labels are share-alike"


def test_folds_hold_every_scene_out_once_and_no_place_is_on_both_sides(data):
    for source in SOURCES.values():
        held = [chip.name for k in range(2) for chip in source.chips(data, True, (k, 2))]
        assert sorted(held) == sorted(path.stem for path in source.paths(data))
    taught = SOURCES["taught"]
    names = ("a_p100_clear_20m", "a_p840_cloudy_20m", "JAS_S_10_30m", "JAS_S_7_30m", "x_ImgNo_3_2018-01-01_patch_0_20m")
    assert [taught.place(Path(f"{name}.tif")) for name in names] == ["a", "a", "JAS_S", "JAS_S", "x"]
    assert SOURCES["clear"].place(Path("montcalm_01_01_2018.tif")) == "montcalm"


def test_what_each_set_is_read_as(data):
    read = {name: source.read(source.paths(data)[0]) for name, source in SOURCES.items()}
    assert {name: chip.metres for name, chip in read.items()} == {
        "biome": 30, "sparcs": 30, "catalogue": 40, "taught": 20, "chips": 10, "clear": 30, "weak": 10,
    }  # fmt: skip
    for name, chip in read.items():
        assert np.isnan(chip.reflectance[3]).all() == (name == "catalogue")
        assert (chip.target[:, np.isnan(chip.reflectance[:3]).any(0)] == UNKNOWN).all()
    pixels = np.array(Image.open(data / "sparcs" / "images" / "LC8_0.jpg"))[..., 0]
    found, known = read["sparcs"].pixels()[0], read["sparcs"].known
    np.testing.assert_allclose(found[known], ((pixels + 0.5) * 256 * 2e-5 - 0.1)[known], atol=1e-3)
    assert (read["clear"].target[:, 5:] == CLEAR).all()
    assert set(np.unique(read["taught"].target[0])) > {0, 37, 100}


def test_shadow_is_known_where_somebody_looked_for_it(data):
    drawn, not_drawn = (SOURCES["biome"].read(path) for path in SOURCES["biome"].paths(data)[:2])
    assert (drawn.target[1, 5:] != UNKNOWN).all()
    assert (drawn.target[1] == CLOUD).any()
    assert (not_drawn.target[1] == UNKNOWN).all()
    clear, cloudy = (SOURCES["catalogue"].read(path) for path in SOURCES["catalogue"].paths(data)[:2])
    assert (clear.target == CLEAR).all(), "no cloud, no shadow of one"
    assert (cloudy.target[1] == UNKNOWN).all()


def test_snow_is_drawn_more_often_from_the_training_chips_alone(data):
    sets = dict(zip(WINTER, (chips for _, chips in training_groups(data, WINTER)), strict=True))
    plain = [chip for name in SHARES for chip in sets[name]]
    assert len(plain) == sum(len(chips) for _, chips in training_groups(data, SHARES))
    for name, has_nir in (("snow", True), ("snow, red green blue alone", False)):
        assert sets[name]
        for chip in sets[name]:
            assert any(chip is other for other in plain)
            assert np.isfinite(chip.reflectance[3]).any() == has_nir
            clear = chip.known & ~chip.cloud
            assert (chip.pixels()[:3, clear].min(0) > 0.3).sum() > clear.size / 10


def test_a_stage_needs_no_more_than_it_starts_from_and_learns_from():
    assert list(needed("fast", "first")) == ["first"]
    assert list(needed("fast", "both")) == ["wide", "deep", "first", "labels", "taught", "both"]
    for arch, stages in RECIPES.items():
        assert needed(arch, list(stages)[-1]) == stages, "nothing is trained in vain"


def test_a_folder_without_the_data_is_refused_in_words(tmp_path):
    with pytest.raises(DatasetError, match="no such files; the recipe needs them"):
        training_groups(tmp_path, SHARES)


def test_a_short_run_and_its_scores(data, tmp_path):
    """The two scripts as their help tells, as programs of their own."""

    def run(*words):
        command = [sys.executable, "-W", "ignore", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    small = [
        "--set",
        "steps=3",
        "--set",
        "batch=2",
        "--set",
        "options={width=4,levels=2}",
        "--set",
        "augment={size=64}",
    ]
    run(ROOT / "recipes" / "bundled.py", data, "--out", "run", *small)
    model = tmp_path / "run" / "fast.safetensors"
    table = run(ROOT / "benchmarks" / "accuracy.py", data, "--model", model, "--out", "scores")
    sets = ("| biome |", "| catalogue, red green blue alone |", "| chips, saturated as Landsat 5 |")
    for word in (*sets, "sparcs: snow", "clear: s2l2a_varilhes"):
        assert word in table, table
    assert "| catalogue |" not in table, "without near-infrared there is nothing to hide"
    assert table == (tmp_path / "scores" / "accuracy.md").read_text(encoding="utf-8") + "\n"
    assert list((tmp_path / "scores" / "fast").glob("biome_*.png"))
    run(ROOT / "recipes" / "bundled.py", data, "--out", "cv", "--folds", 2, "--stage", "first", *small)
    assert [path.name for path in (tmp_path / "cv" / "fold1").iterdir() if path.is_dir()] == ["first"]
    table = run(ROOT / "benchmarks" / "accuracy.py", data, "--folds", "cv", "--out", "scores")
    assert "## fast, 2 folds" in table
    assert "| biome | 5 |" in table, "each scene once"
