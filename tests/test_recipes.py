"""The recipe of the bundled models: split, reading of each set, and a short run, on synthetic data."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import geobox, write_tif
from PIL import Image

from benchmarks import accuracy
from geocloud.errors import DatasetError
from geocloud.training.data.chips import CLEAR, CLOUD, UNKNOWN
from recipes import bundled, release
from recipes.material import HELD_OUT, SHARES, SOURCES, catalogue, training_groups, validation_chips

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All sets, with a few images of 140×150 pixels each; images at 20 and 10 m are averaged to 30 m."""
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
    for folder, names in (
        ("backgrounds", ("s2l2a_varilhes", "l8l1_zion")),
        ("snow/swiss", ("s2_a_clear_20m",)),
        ("snow", ("s2_sr_l2a_finland_20m",)),
        ("more", ("s2_toa_l1c_terramesh_s_chile_39s_10m", "s2_toa_l1c_eolearn_slovenia_scene2_10m")),
    ):
        for name in names:
            tif(root / folder / f"{name}.tif", four())
    return root


def names(chips):
    return {chip.name for chip in chips}


def test_no_scene_or_place_is_on_both_sides(data):
    for name, source in SOURCES.items():
        training, validation = source.training(data), validation_chips(source, data)
        assert not names(training) & names(validation)
        assert len(names(training) | names(validation)) == len(source.paths(data))
        for place in HELD_OUT.get(name, ()):
            assert not any(chip.name.startswith(place) for chip in training)
        halves = [names(validation_chips(source, data, half)) for half in (0, 1)]
        assert not halves[0] & halves[1] and halves[0] | halves[1] == names(validation)
        assert all(chip.metres >= 30 for chip in training), "as the pipeline shows finer scenes to a model"
    counts = {name: len(chips) for name, (_, chips) in zip(SHARES, training_groups(data, SHARES), strict=True)}
    assert counts == {
        "biome": 4, "sparcs": 4, "catalogue": 4, "taught": 1, "chips": 1, "clear": 1, "glaciers": 1, "fields": 1,
    }  # fmt: skip
    assert set(SOURCES) - set(SHARES) == {"weak", "winter"}, "share-alike labels; the only winter, for validation"
    assert not validation_chips(SOURCES["glaciers"], data), "two of their bands are imputed"


def test_folds_hold_every_scene_out_once_and_no_place_is_on_both_sides(data):
    for source in SOURCES.values():
        held = [chip.name for k in range(2) for chip in validation_chips(source, data, fold=(k, 2))]
        assert sorted(held) == sorted(path.stem for path in source.paths(data))
    taught = SOURCES["taught"]
    files = ("a_p100_clear_20m", "a_p840_cloudy_20m", "JAS_S_10_30m", "JAS_S_7_30m", "x_ImgNo_3_2018-01-01_patch_0_20m")
    assert [taught.place(Path(f"{name}.tif")) for name in files] == ["a", "a", "JAS_S", "JAS_S", "x"]
    assert SOURCES["clear"].place(Path("montcalm_01_01_2018.tif")) == "montcalm"


def test_how_each_set_is_read(data):
    read = {name: source.read(source.paths(data)[0]) for name, source in SOURCES.items()}
    assert {name: chip.metres for name, chip in read.items()} == {
        "biome": 30, "sparcs": 30, "catalogue": 45, "taught": 20, "chips": 10, "clear": 30, "glaciers": 20,
        "fields": 10, "winter": 20, "weak": 10,
    }  # fmt: skip
    for name, chip in read.items():
        assert np.isnan(chip.reflectance[3]).all() == (name == "catalogue")
        assert (chip.target[:, np.isnan(chip.reflectance[:3]).any(0)] == UNKNOWN).all()
    pixels = np.array(Image.open(data / "sparcs" / "images" / "LC8_0.jpg"))[..., 0]
    reflectance, known = read["sparcs"].pixels()[0], read["sparcs"].known
    np.testing.assert_allclose(reflectance[known], ((pixels + 0.5) * 256 * 2e-5 - 0.1)[known], atol=1e-3)
    assert (read["clear"].target[:, 5:] == CLEAR).all()
    assert set(np.unique(read["taught"].target[0])) > {0, 37, 100}
    with rasterio.open(data / "snow" / "swiss" / "s2_a_clear_20m.tif") as dataset:
        real = dataset.read().astype("float32") * 1e-4
    gain = np.nanmedian(read["glaciers"].pixels()[:, 5:] / np.maximum(real[:, 5:], 1e-4), (1, 2))
    assert (np.abs(gain[:2] - 1) > 1e-3).all(), "imputed bands vary"
    np.testing.assert_allclose(gain[2:], 1, atol=1e-3)


def test_saturated_ground_is_unknown_in_training_and_scored_as_it_is_labelled(data, tmp_path):
    for folder, values in (("images", np.full((20, 30, 3), 255)), ("masks", np.eye(20, 30))):
        (tmp_path / folder).mkdir()
        suffix = "jpg" if folder == "images" else "png"
        Image.fromarray(values.astype("uint8")).save(tmp_path / folder / f"S2_ice.{suffix}")
    path = tmp_path / "images" / "S2_ice.jpg"
    target = SOURCES["catalogue"].read(path).target[0]
    np.testing.assert_array_equal(target, np.where(np.eye(20, 30), CLOUD, UNKNOWN))
    np.testing.assert_array_equal(catalogue(path).target[0], np.where(np.eye(20, 30), CLOUD, CLEAR))


def test_shadow_is_known_where_somebody_looked_for_it(data):
    drawn, not_drawn = (SOURCES["biome"].read(path) for path in SOURCES["biome"].paths(data)[:2])
    assert (drawn.target[1, 5:] != UNKNOWN).all()
    assert (drawn.target[1] == CLOUD).any()
    assert (not_drawn.target[1] == UNKNOWN).all()
    clear, cloudy = (catalogue(path) for path in SOURCES["catalogue"].paths(data)[:2])
    assert (clear.target == CLEAR).all(), "no cloud, no shadow of one"
    assert (cloudy.target[1] == UNKNOWN).all()


def test_a_folder_without_the_data_is_refused_in_words(tmp_path):
    with pytest.raises(DatasetError, match="no such files; the recipe needs them"):
        training_groups(tmp_path, SHARES)


def test_a_short_run_and_its_scores(data, tmp_path, monkeypatch, capsys):
    """Runs both scripts as described in their help."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(release, "SAMPLES", 5)
    settings = ("steps=3", "batch=2", "options={width=4,levels=2}", "augment={size=64}")
    small = ["--from-scratch", *(word for setting in settings for word in ("--set", setting))]

    def trained(*words):
        bundled.main.main([str(data), "--out", "run", *words, *small], standalone_mode=False)

    def scores(*words):
        monkeypatch.setattr("sys.argv", ["accuracy.py", str(data), *words, "--out", "scores"])
        accuracy.main()
        return capsys.readouterr().out

    trained()
    capsys.readouterr()
    table = scores("--model", "run/fast.safetensors")
    rows = ("| biome |", "| catalogue, red green blue alone |", "| chips, as Landsat 5 |", "| sparcs: land |")
    for word in (*rows, "clear: s2l2a_varilhes", "| red and blue swapped |", "| cloud cover at 10, 20, 30 m |"):
        assert word in table, table
    assert "| catalogue |" not in table, "without near-infrared there is nothing to hide"
    assert table == (tmp_path / "scores" / "accuracy.md").read_text(encoding="utf-8") + "\n"
    assert list((tmp_path / "scores" / "fast").glob("biome_*.png"))
    trained("--folds", "2")
    capsys.readouterr()
    table = scores("--folds", "run")
    counts = [int(row.split("|")[2]) for row in table.splitlines() if row.startswith("| biome |") and "**" in row]
    assert sum(counts) == 5, "each scene once"
