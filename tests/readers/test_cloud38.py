"""38-Cloud patches in the authors' layout."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import level1_numbers, ramp, write_tif
from rasterio.windows import Window

from geocloud.bands import Units
from geocloud.errors import BandError
from geocloud.grid import GeoBox
from geocloud.readers import ReadOptions, open_scene

ID = "LC08_L1TP_002053_20160520_20170324_01_T1"
BANDS = ("red", "green", "blue", "nir")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # no georeference


def nowhere(height, width):
    return GeoBox(height, width, Affine.identity(), None)


def make_scene(root, numbers, side=32, truth=True):
    """Cuts values (4, h, w) into patches like the authors: centred and padded with zeros."""
    _, height, width = numbers.shape
    rows, cols = -(-height // side), -(-width // side)
    top, left = (rows * side - height) // 2, (cols * side - width) // 2
    canvas = np.zeros((4, rows * side, cols * side), numbers.dtype)
    canvas[:, top : top + height, left : left + width] = numbers
    for b, band in enumerate(BANDS):
        folder = root / f"test_{band}"
        folder.mkdir(parents=True, exist_ok=True)
        for r in range(rows):
            for c in range(cols):
                patch = canvas[b, r * side : (r + 1) * side, c * side : (c + 1) * side]
                name = f"{band}_patch_{r * cols + c + 1}_{r + 1}_by_{c + 1}_{ID}.TIF"
                write_tif(folder / name, patch[None], nowhere(side, side), compress="packbits")
    if truth:
        (root / "Entire_scene_gts").mkdir(exist_ok=True)
        path = root / "Entire_scene_gts" / f"edited_corrected_gts_{ID}.TIF"
        write_tif(path, np.zeros((1, height, width), "uint8"), nowhere(height, width))
    return root


@pytest.mark.parametrize(("height", "width"), [(90, 110), (64, 96), (65, 97), (31, 33)])
def test_a_scene_put_together_from_patches_is_the_scene(tmp_path, height, width):
    image = ramp(height, width)
    root = make_scene(tmp_path / "38-Cloud_test", level1_numbers(image))
    with open_scene(root, ReadOptions(scene_id=ID)) as scene:
        assert scene.grid == nowhere(height, width)
        assert scene.units is Units.LANDSAT_L1
        assert scene.acquired.date().isoformat() == "2016-05-20"
        raster = scene.read(Window(0, 0, width, height))
        found, valid = raster.data, raster.valid
        part = scene.read(Window(5, 9, 20, 15)).data
    np.testing.assert_allclose(found, image, atol=2e-5)
    assert valid.all()
    np.testing.assert_array_equal(part, found[:, 9:24, 5:25])


def test_without_a_truth_the_padding_stays_as_no_data(tmp_path):
    root = make_scene(tmp_path / "t", level1_numbers(ramp()), truth=False)
    with open_scene(root) as scene:
        assert scene.grid.shape == (96, 128)
        valid = scene.read(Window(0, 0, 128, 96)).valid
    assert valid.sum() == 90 * 110
    assert valid[3, 9]
    assert not valid[2, 9]


def test_one_patch_by_the_name_of_any_band(tmp_path):
    root = make_scene(tmp_path / "t", level1_numbers(ramp()))
    for band in BANDS:
        with open_scene(root / f"test_{band}" / f"{band}_patch_6_2_by_2_{ID}.TIF") as scene:
            assert scene.name == f"patch_6_2_by_2_{ID}"
            found = scene.read(Window(0, 0, 32, 32)).data
        np.testing.assert_allclose(found, ramp()[:, 29:61, 23:55], atol=2e-5)


def test_files_side_by_side_make_a_patch_too(tmp_path):
    for b, band in enumerate(BANDS):
        path = tmp_path / f"{band}_patch_1_1_by_1_{ID}.TIF"
        write_tif(path, level1_numbers(ramp(32, 32))[b : b + 1], nowhere(32, 32))
    with open_scene(path) as scene:
        np.testing.assert_allclose(scene.read(Window(0, 0, 32, 32)).data, ramp(32, 32), atol=2e-5)
    path.unlink()
    with pytest.raises(BandError, match="no nir file"):
        open_scene(tmp_path / f"red_patch_1_1_by_1_{ID}.TIF")


def test_eight_bit_copies(tmp_path):
    numbers = (level1_numbers(ramp()) // 257).astype("uint8")
    root = make_scene(tmp_path / "t", numbers)
    with open_scene(root) as scene:
        found = scene.read(Window(0, 0, 110, 90)).data
    np.testing.assert_allclose(found, ramp(), atol=0.006)


def test_an_incomplete_scene_is_refused_and_what_is_missing_is_named(tmp_path):
    root = make_scene(tmp_path / "t", level1_numbers(ramp()))
    (root / "test_green" / f"green_patch_7_2_by_3_{ID}.TIF").unlink()
    with pytest.raises(BandError, match="green row 2 column 3"):
        open_scene(root)


def test_several_scenes_need_a_word(tmp_path):
    root = make_scene(tmp_path / "t", level1_numbers(ramp()))
    for path in list(root.rglob("*_patch_*")):
        (path.parent / path.name.replace("002053", "002054")).write_bytes(path.read_bytes())
    with pytest.raises(BandError, match="scene_id="):
        open_scene(root)
    with open_scene(root, ReadOptions(scene_id=ID)) as scene:
        assert scene.name == ID
    with pytest.raises(BandError, match="nothing"):
        open_scene(root, ReadOptions(scene_id="nothing"))


def test_rasterio_agrees_that_patches_have_no_place(tmp_path):
    root = make_scene(tmp_path / "t", level1_numbers(ramp()))
    with rasterio.open(next(root.rglob("red_patch_*"))) as dataset:
        assert dataset.crs is None
