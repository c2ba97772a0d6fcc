"""Data sets on disk."""

import shutil

import numpy as np
import pytest
from conftest import geobox, read_tif, write_tif

from geocloud.errors import DatasetError, OptionError
from geocloud.readers import ReadOptions
from geocloud.training.data.chips import parse_classes
from geocloud.training.data.layout import hold_out, open_dataset


@pytest.fixture
def copy(toy, tmp_path):
    return shutil.copytree(toy, tmp_path / "38-Cloud")


def test_38_cloud_as_distributed(toy):
    found = open_dataset(toy)
    assert (found.kind, len(found.training), len(found.testing), found.problems) == ("38-Cloud", 6, 2, ())
    assert len({source.scene for source in found.training}) == 3
    source = found.training[0]
    chip = source.read()
    numbers = read_tif(source.image)[0]
    known = chip.known
    np.testing.assert_array_equal(known, numbers > 0)
    np.testing.assert_allclose(chip.reflectance[0][known], (numbers * 2e-5 - 0.1)[known], atol=1e-6)
    assert source.mask is not None
    np.testing.assert_array_equal(chip.cloud[known], read_tif(source.mask)[0][known] == 255)
    for part in ("38-Cloud_training", "38-Cloud_test"):
        assert (open_dataset(toy / part).kind) == "38-Cloud"
    scene = found.testing[0]
    assert scene.shape == (1, 2)
    assert scene.name in scene.truth.name


def test_other_spellings_are_the_same_data_set(copy):
    """Copies may differ in case; 95-Cloud has additional folders."""
    training = copy / "38-Cloud_training"
    for path in sorted(training.glob("train_red/*.TIF")):
        path.rename(path.with_name(path.name.replace(".TIF", ".tif")))
    (training / "train_blue").rename(training / "Train_Blue")
    more = copy / "95-cloud_training_only_additional_to38-cloud"
    for band in ("red", "green", "blue", "nir", "gt"):
        folder = more / f"train_{band}_additional_to38cloud"
        folder.mkdir(parents=True)
        for source in [path for path in training.iterdir() if path.name.lower() == f"train_{band}"]:
            for path in source.iterdir():
                shutil.copy(path, folder / path.name.replace("LC08_L1TP_999000", "LC08_L1TP_999900"))
    found = open_dataset(copy)
    assert found.kind == "95-Cloud"
    assert len(found.training) == 8
    assert len({source.scene for source in found.training}) == 4


def test_what_is_missing_is_said(copy):
    training = copy / "38-Cloud_training"
    red, nir = sorted(training.glob("train_red/*")), sorted(training.glob("train_nir/*"))
    nir[0].unlink()
    truth = training / "train_gt" / red[1].name.replace("red_", "gt_")
    truth.unlink()
    for path in (copy / "38-Cloud_test" / "Entire_scene_gts").iterdir():
        path.unlink()
        break
    found = open_dataset(copy)
    text = "\n".join(found.problems)
    assert f"{red[0].stem.removeprefix('red_')}: no nir file" in text
    assert f"{red[1].stem.removeprefix('red_')}: no truth mask (gt)" in text
    assert "training_patches_38-Cloud.csv: lists 2 patches that are missing" in text
    assert "no truth mask of this test scene" in text
    assert len(found.training) == 4
    assert len(found.testing) == 1


def test_informative_patches_by_the_list_and_without_it(copy):
    training = copy / "38-Cloud_training"
    listed = open_dataset(copy).worth_training()
    assert {s.name for s in listed} == {
        s.name for s in open_dataset(copy).training if (read_tif(s.image) > 0).mean() > 0.8
    }
    (training / "training_patches_38-cloud_nonempty.csv").write_text(f"name\n{listed[0].name}\n")
    assert [source.name for source in open_dataset(copy).worth_training()] == [listed[0].name]
    (training / "training_patches_38-cloud_nonempty.csv").unlink()
    assert open_dataset(copy).informative is None
    assert [source.name for source in open_dataset(copy).worth_training()] == [source.name for source in listed]


def test_eight_bit_copies_are_as_bright(copy):
    sixteen = open_dataset(copy).training[0].read()
    for path in copy.rglob("train_*/*.TIF"):
        values = read_tif(path)
        if values.dtype == np.uint16:
            write_tif(path, (values / 257).round().astype("uint8"), geobox(384, 384, None))
    eight = open_dataset(copy).training[0].read()
    np.testing.assert_allclose(eight.reflectance, sixteen.reflectance, atol=0.003)


def test_images_with_masks(tmp_path):
    grid = geobox(8, 9)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a_000_000", "a_000_001", "b"):
        write_tif(tmp_path / "images" / f"{name}.tif", np.full((4, 8, 9), 0.3, "float32"), grid)
    for name in ("a_000_000", "a_000_001"):
        write_tif(tmp_path / "masks" / f"{name}.tif", np.full((1, 8, 9), 192, "uint8"), grid)
    found = open_dataset(tmp_path, parse_classes("l8-biome"))
    assert [source.scene for source in found.training] == ["a", "a"]
    assert "b.tif: no mask of this name" in found.problems[0]
    assert found.training[0].read().cloud.all()
    assert found.worth_training() == found.training


def test_masks_beside_their_images(tmp_path):
    grid = geobox(8, 9)
    write_tif(tmp_path / "a.tif", np.full((4, 8, 9), 0.3, "float32"), grid)
    write_tif(tmp_path / "a_label.tif", np.ones((1, 8, 9), "uint8"), grid)
    (source,) = open_dataset(tmp_path).training
    assert source.read().cloud.all()


def test_38_cloud_needs_no_explanation(toy):
    for said in ({"classes": parse_classes("sparcs")}, {"options": ReadOptions(scale=1e-4)}):
        with pytest.raises(DatasetError, match="leave out classes, units"):
            open_dataset(toy, **said)


def test_a_folder_of_neither_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="neither 38-Cloud's folders"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "none")


def test_whole_scenes_are_held_out(toy):
    sources = open_dataset(toy).training
    kept, held = hold_out(sources, 2)
    assert (len(kept), len(held)) == (4, 2)
    assert not {s.scene for s in kept} & {s.scene for s in held}
    assert hold_out(sources, 2) == (kept, held)
    assert len(hold_out(sources, 3)[1]) == 4, "until at least as many are out"
    assert len(hold_out(sources, 5)[0]) == 2, "one scene stays"
    by_patch = hold_out(sources, 3, "patches", seed=1)
    assert len(by_patch[1]) == 3
    with pytest.raises(DatasetError, match="all 2 patches are from one scene"):
        hold_out([s for s in sources if s.scene == sources[0].scene], 1)
    with pytest.raises(OptionError, match="fewer than all 6"):
        hold_out(sources, 6)
