"""Decoding Sentinel-2's JPEG 2000 at a lower resolution if pixels are finer than the model's."""

import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import rasterio
from conftest import geobox, read_tif, write_tif
from rasterio.windows import Window
from scipy import ndimage

from geocloud.pipeline import MaskOptions, mask_scene
from geocloud.readers import RasterScene, ReadOptions, find_recipe
from geocloud.readers.stack import BandStack
from geocloud.simulate import simulate_scene


def values(size=(516, 612)):
    scene = simulate_scene(4, size, ("crops", "forest"), ("cumulus",), 0.4)
    numbers = np.rint(scene.reflectance * 1e4).astype("uint16")
    numbers[:, :40] = 0
    return numbers


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    numbers = values()
    lossless = {"QUALITY": 100, "REVERSIBLE": "YES", "YCBCR420": "NO", "RESOLUTIONS": 4}
    place = geobox(*numbers.shape[1:], size=10)
    path = tmp_path_factory.mktemp("jp2") / "scene.jp2"
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", count=4, dtype="uint16", **place.profile, **lossless
    ) as dataset:
        dataset.write(numbers)
    return path


READ = ReadOptions(bands=(1, 2, 3, 4), scale=1e-4)


def opened(path, read=READ):
    return RasterScene(find_recipe(path, read), read)


def test_pixels_are_those_of_the_file_at_half_its_resolution_repeated(path):
    with opened(path) as scene, rasterio.open(path) as dataset:
        raw = scene.read_raw(Window(0, 36, 612, 40), 2)
        half = dataset.read(window=Window(0, 36, 612, 40), out_shape=(4, 20, 306))
        np.testing.assert_array_equal(raw.values, np.kron(half, np.ones((2, 2), "uint16")))
        assert (raw.valid == raw.values.any(0)).all() and raw.valid.shape == (40, 612)


@pytest.mark.slow
def test_only_wavelets_hold_lower_resolutions_and_only_whole_ones_are_used(path, tmp_path):
    with opened(path) as scene:
        assert [scene.coarsest(most) for most in (1, 2, 3, 4, 7)] == [1, 2, 2, 4, 4]
        left, bottom, right, top = scene.bounds
    with opened(path, ReadOptions(bands=(1, 2, 3, 4), scale=1e-4, extent=(left + 10, bottom, right, top))) as scene:
        assert scene.coarsest(4) == 1, "the extent begins between two of its pixels"
    plain = write_tif(tmp_path / "plain.tif", values(), geobox(516, 612, size=10), tiled=True)
    with rasterio.open(plain, "r+") as dataset:
        dataset.build_overviews([2, 4])
    with opened(plain) as scene:
        assert scene.coarsest(4) == 1, "nothing tells how its overviews were made"
    beside = Path(shutil.copy(path, tmp_path))
    write_tif(tmp_path / "scene.jp2.ovr", values()[:, ::2, ::2], geobox(258, 306, size=20))
    with opened(beside) as scene:
        assert scene.coarsest(4) == 1, "GDAL would read the file beside it"


@pytest.mark.slow
def test_the_mask_is_that_of_all_pixels_but_for_a_few(path, tmp_path):
    asked = []
    read_raw = RasterScene.read_raw

    def spy(scene, window, level=1):
        asked.append(level)
        return read_raw(scene, window, level)

    with patch.object(RasterScene, "read_raw", spy):
        for name, options in (("half", None), ("native", "native")):
            options = MaskOptions(working_resolution=options)
            mask_scene(path, tmp_path / f"{name}.tif", read=READ, options=options)
        assert set(asked) == {1, 2}
    plain = write_tif(tmp_path / "plain.tif", values(), geobox(516, 612, size=10))
    mask_scene(plain, tmp_path / "whole.tif", read=READ)
    masks = [read_tif(tmp_path / f"{name}.tif")[0] for name in ("half", "whole")]
    cloud = masks[1] == 1
    edge = ndimage.binary_dilation(cloud, iterations=3) & ~ndimage.binary_erosion(cloud, iterations=3)
    same = masks[0] == masks[1]
    assert same.mean() > 0.97 and same[~edge].mean() > 0.995
    assert (masks[0][:38] == 255).all() and (masks[0][42:] != 255).all()  # correct to a pixel at that resolution


def test_values_are_sampled_at_a_lower_resolution_and_no_data_does_not_show_through(tmp_path):
    numbers = values((512, 1024))[:, 40:] + np.uint16(1000)  # no zeros among them
    numbers = ndimage.gaussian_filter(numbers, (0, 2, 2))  # as blurred as by a telescope
    slanted = np.add.outer(np.arange(472), 2 * np.arange(1024)) > 1250
    numbers[:, slanted] = 0
    place = geobox(472, 1024, size=10)
    lossless = {"QUALITY": 100, "REVERSIBLE": "YES", "YCBCR420": "NO", "RESOLUTIONS": 4}
    with rasterio.open(
        tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", count=4, dtype="uint16", **place.profile, **lossless
    ) as dataset:
        dataset.write(numbers)
    asked = []
    read = BandStack.read_values

    def spy(layers, window, shape):
        asked.append(window.width / shape[1])
        return read(layers, window, shape)

    with patch.object(BandStack, "read_values", spy), opened(tmp_path / "a.jp2") as scene:
        sample = scene.sample
    assert set(asked) == {4}
    assert sample.valid_share == pytest.approx((~slanted).mean(), abs=0.1)
    for band, seen in zip(numbers, sample.bands, strict=True):
        low, high = np.percentile(band[band > 0], (0.1, 99.9))
        assert seen.low == pytest.approx(low, rel=0.05)
        assert seen.high == pytest.approx(high, rel=0.1)
