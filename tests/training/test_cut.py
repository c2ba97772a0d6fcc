"""Positions of tiles, and scenes mosaicked again from 38-Cloud patches."""

import csv

import numpy as np
import pytest
import rasterio
import rasterio.merge
from conftest import geobox, level1_numbers, ramp, read_tif, write_tif
from rasterio.windows import Window
from shapes import blobs

from geocloud.errors import GridError, OutputExistsError
from geocloud.readers import ReadOptions, open_scene
from geocloud.training.data.cut import cut_38cloud, cut_geotiffs


@pytest.mark.parametrize("overlap", [0, 16])
def test_merged_tiles_are_the_scene(product, tmp_path, overlap):
    mask = write_tif(tmp_path / "mask.tif", blobs(missing=0.1)[None], nodata=255)
    with open_scene(product) as scene:
        count = cut_geotiffs(scene, tmp_path / "t", mask, 32, overlap)
    images, masks = (sorted((tmp_path / "t" / kind).iterdir()) for kind in ("images", "masks"))
    assert len(images) == len(masks) == count
    assert [p.name for p in images] == [p.name for p in masks]
    left, bottom, right, top = rasterio.transform.array_bounds(90, 110, geobox().transform)
    merged, transform = rasterio.merge.merge(images, bounds=(left, bottom, right, top))
    assert transform.almost_equals(geobox().transform)
    np.testing.assert_allclose(merged / 10_000, ramp(), atol=8e-5)
    merged, _ = rasterio.merge.merge(masks, bounds=(left, bottom, right, top), method="min")
    np.testing.assert_array_equal(merged[0], blobs(missing=0.1))


def test_a_tile_is_a_scene_again(product, tmp_path):
    with open_scene(product) as scene:
        cut_geotiffs(scene, tmp_path, tile_size=64)
    with open_scene(tmp_path / "images" / f"{product.name}_001_001.tif") as tile:
        assert tile.grid == geobox().crop(Window(64, 64, 64, 64))
        raster = tile.read(Window(0, 0, 64, 64))
        found, valid = raster.data, raster.valid
    assert valid.sum() == 26 * 46  # pixels beyond the edge are no data
    np.testing.assert_allclose(found[:, :26, :46], ramp()[:, 64:, 64:], atol=8e-5)


def test_tiles_without_data_are_left_out(tmp_path):
    image = ramp()
    image[:, :, :40] = np.nan
    path = write_tif(tmp_path / "s.tif", image, descriptions=("red", "green", "blue", "nir"))
    with open_scene(path) as scene:
        assert cut_geotiffs(scene, tmp_path / "t", tile_size=32) == 3 * 3


def test_38cloud_patches_make_up_the_scene_again(product, tmp_path):
    mask = blobs(missing=0.1)
    path = write_tif(tmp_path / "mask.tif", mask[None], nodata=255)
    root = tmp_path / "t"
    with open_scene(product) as scene:
        assert cut_38cloud(scene, root, path, 32) == 3 * 4
        raw = read_tif(product / f"{product.name}_B4.TIF")[0]
    with open_scene(root, ReadOptions(sun_elevation=50)) as again:
        assert again.grid.shape == (90, 110)
        found = again.read(Window(0, 0, 110, 90)).data
    np.testing.assert_allclose(found, ramp(), atol=3e-5)
    patch = read_tif(root / "train_red" / f"red_patch_6_2_by_2_{product.name}.TIF")[0]
    np.testing.assert_array_equal(patch, raw[29:61, 23:55])  # the same numbers as on disk
    truth = read_tif(root / "train_gt" / f"gt_patch_6_2_by_2_{product.name}.TIF")[0]
    np.testing.assert_array_equal(truth, np.where(mask == 1, 255, 0)[29:61, 23:55])
    whole = read_tif(root / "Entire_scene_gts" / f"edited_corrected_gts_{product.name}.TIF")[0]
    np.testing.assert_array_equal(whole, mask == 1)
    with rasterio.open(root / "train_red" / f"red_patch_6_2_by_2_{product.name}.TIF") as dataset:
        assert dataset.transform == geobox().crop(Window(23, 29, 32, 32)).transform


def test_the_lists_of_38cloud_grow(product, tmp_path):
    root = tmp_path / "t"
    with open_scene(product) as scene:
        cut_38cloud(scene, root, tile_size=64)
        with pytest.raises(OutputExistsError):
            cut_38cloud(scene, root, tile_size=64)
        cut_38cloud(scene, root, tile_size=64, overwrite=True)
    write_tif(tmp_path / "other.tif", level1_numbers(ramp()), descriptions=("red", "green", "blue", "nir"))
    with open_scene(tmp_path / "other.tif", ReadOptions(units="landsat-l1")) as scene:
        cut_38cloud(scene, root, tile_size=64)
    with (root / "training_patches_38-Cloud.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert len(names) == len(set(names)) == 8
    assert names[0] == f"patch_1_1_by_1_{product.name}"
    assert (root / "training_sceneids_38-Cloud.csv").read_text().splitlines()[1:] == [product.name, "other"]


def test_patches_of_two_sizes_do_not_mix(product, tmp_path):
    with open_scene(product) as scene:
        cut_38cloud(scene, tmp_path / "t", tile_size=32)
        with pytest.raises(OutputExistsError, match="cut differently"):
            cut_38cloud(scene, tmp_path / "t", tile_size=64, overwrite=True)
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "training_patches_38-Cloud.csv").write_text("mine\n1\n")
    with open_scene(product) as scene, pytest.raises(OutputExistsError, match="no column 'name'"):
        cut_38cloud(scene, tmp_path / "u", tile_size=32)


def test_a_mask_from_elsewhere_is_refused(product, tmp_path):
    grid = geobox()
    moved = type(grid)(90, 110, grid.transform @ grid.transform.translation(1, 0), grid.crs)
    path = write_tif(tmp_path / "mask.tif", blobs()[None], moved)
    with open_scene(product) as scene, pytest.raises(GridError, match=r"mask\.tif"):
        cut_geotiffs(scene, tmp_path / "t", path)
    assert not (tmp_path / "t").exists()


def test_mask_and_scene_from_south_to_north(tmp_path):
    mask = blobs(missing=0.1)[None]
    for name, grid, rows in (("north", geobox(), slice(None)), ("south", geobox().flip(), slice(None, None, -1))):
        (tmp_path / name).mkdir()
        scene = write_tif(tmp_path / name / "s.tif", ramp()[:, rows].copy(), grid)
        own = write_tif(tmp_path / name / "m.tif", mask[:, rows].copy(), grid, nodata=255)
        with open_scene(scene) as opened:
            cut_geotiffs(opened, tmp_path / name, own, 32, 8)
    north = sorted((tmp_path / "north").rglob("*_*.tif"))
    assert len(north) == 2 * 4 * 5
    for path in north:
        np.testing.assert_array_equal(
            read_tif(tmp_path / "south" / path.relative_to(tmp_path / "north")), read_tif(path)
        )
