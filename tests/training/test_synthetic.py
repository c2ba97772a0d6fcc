"""The simulated data set, compared with properties of the real one."""

import csv
import re

import numpy as np
import pytest
from conftest import read_tif

from geocloud.errors import OptionError, OutputExistsError
from geocloud.io.gdal import open_quietly
from geocloud.readers import ReadOptions, open_scene
from geocloud.training.data.synthetic import write_38cloud


def test_files_are_as_the_authors_write_them(toy):
    for path in toy.rglob("*.TIF"):
        with open_quietly(path) as dataset:
            assert dataset.crs is None
            assert "Simulated" in dataset.tags()["TIFFTAG_IMAGEDESCRIPTION"]
            if path.parent.name != "Entire_scene_gts":
                assert dataset.shape == (384, 384)
                assert dataset.compression.name == "packbits"
                assert dataset.dtypes[0] == ("uint8" if path.name.startswith("gt") else "uint16")
                name = r"(red|green|blue|nir|gt)_patch_(\d+)_(\d+)_by_(\d+)_LC08_L1TP_999\d{3}_.*\.TIF"
                found = re.fullmatch(name, path.name)
                assert found
                index, row, col = (int(found[i]) for i in (2, 3, 4))
                assert index == (row - 1) * 2 + col
    with (toy / "38-Cloud_training" / "training_patches_38-Cloud.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert {f"red_{name}.TIF" for name in names} == {p.name for p in toy.glob("38-Cloud_training/train_red/*")}


def test_truths_lie_on_the_scenes_they_belong_to(toy):
    """The scene mosaicked by the reader is brighter where the truth is cloud."""
    truth_path = sorted((toy / "38-Cloud_test" / "Entire_scene_gts").iterdir())[0]
    truth = read_tif(truth_path)[0]
    assert set(np.unique(truth)) <= {0, 1}
    scene_id = truth_path.stem.removeprefix("edited_corrected_gts_")
    with open_scene(toy / "38-Cloud_test", ReadOptions(scale=2e-5, offset=-0.1, scene_id=scene_id)) as scene:
        assert scene.grid.shape == truth.shape
        from rasterio.windows import Window

        raster = scene.read(Window(0, 0, *reversed(truth.shape)))
        reflectance, valid = raster.data, raster.valid
    assert not truth[~valid].any()
    brightness = reflectance[2]
    right = brightness[valid & (truth == 1)].mean() - brightness[valid & (truth == 0)].mean()
    moved = np.roll(truth, 60, 1)
    assert right > brightness[valid & (moved == 1)].mean() - brightness[valid & (moved == 0)].mean() > -1
    assert right > 0.05


def test_the_same_seed_gives_the_same_and_a_full_folder_is_left_alone(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert write_38cloud(tmp_path / name, 1, 0, (1, 1), seed) == 1
    one, same, other = (read_tif(next((tmp_path / n).rglob("red_*.TIF"))) for n in "abc")
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    with pytest.raises(OutputExistsError, match="not empty"):
        write_38cloud(tmp_path / "a", 1, 0, (1, 1))
    with pytest.raises(OptionError, match="at least one"):
        write_38cloud(tmp_path / "d", 0, 0)
