"""Refined masks, compared with scipy, and written files, validated by rio-cogeo."""

from functools import partial

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import geobox, read_tif
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage
from shapes import blobs

from geocloud.errors import OptionError
from geocloud.grid import GeoBox
from geocloud.masks.codes import CLOUD, Thresholds, percent, to_mask, to_percent
from geocloud.masks.refine import dilate, refine, refinements, remove_small
from geocloud.options import MaskOptions
from geocloud.writers import styles
from geocloud.writers.cog import StripWriter, rewrite, write_cog


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(1, 700), st.sampled_from([(30, 30), (30, 10), (12.5, 40)]), st.integers(7, 60))
def test_a_buffer_is_the_euclidean_distance(seed, radius, size, strip):
    mask = blobs(seed=seed, share=0.02, missing=0.1)
    grid = GeoBox(90, 110, Affine(size[1], 0, 5e5, 0, -size[0], 5e6), CRS.from_epsg(32633))
    found = refine(mask, [partial(dilate, grid=grid, radii={CLOUD: radius}, strip=strip)])
    distance = ndimage.distance_transform_edt(mask != 1, sampling=size)
    expected = np.where(mask == 255, 255, distance <= radius).astype("uint8")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cloud", [0, 1])
def test_a_buffer_wider_than_the_scene(cloud):
    mask = np.zeros((20, 7), "uint8")
    mask[13, 2] = cloud
    found = refine(mask, [partial(dilate, grid=geobox(20, 7), radii={CLOUD: 1e12}, strip=8)])
    assert (found == cloud).all()


def test_a_buffer_in_degrees_is_wider_where_meridians_are_closer():
    grid = GeoBox(41, 41, Affine(0.001, 0, 20, 0, -0.001, 60.02), CRS.from_epsg(4326))
    mask = np.zeros((41, 41), "uint8")
    mask[20, 20] = 1
    found = refine(mask, [partial(dilate, grid=grid, radii={CLOUD: 500}, strip=16)]) == 1
    assert found[:, 20].sum() == 2 * 4 + 1  # 111 m a step
    assert found[20].sum() == 2 * 8 + 1  # 56 m a step


def test_a_buffer_needs_a_crs():
    with pytest.raises(OptionError, match="pixel size"):
        refinements(MaskOptions(buffer=100), geobox(crs=None), None)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_no_small_cloud_and_no_small_hole_is_left(seed, pixels):
    mask = blobs(seed=seed, share=0.4, missing=0.2)
    found = refine(mask, [partial(remove_small, grid=geobox(), pixels=pixels)])
    np.testing.assert_array_equal(found == 255, mask == 255)
    for value in (0, 1):
        labels, n = ndimage.label(found == value)
        assert n == 0 or np.bincount(labels.ravel())[1:].min() >= pixels
        old, _ = ndimage.label(mask == value)
        large = np.bincount(old.ravel()) >= 3 * pixels + 60  # large parts stay, and may grow by removed ones
        large[0] = False
        if large.any():
            assert (found[large[old]] == value).mean() > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (30, 40)])
def test_with_a_minimum_larger_than_the_scene_nothing_is_left(shape):
    mask = blobs(*shape, missing=0.1)
    mask[0, 0] = 1
    found = refine(mask, [partial(remove_small, grid=geobox(*shape), pixels=5000)])
    np.testing.assert_array_equal(found, np.where(mask == 255, 255, 0))


def test_threshold_and_per_cent():
    probability = np.array([[0.2, 0.5, 0.51, np.nan, 1.0]], "float32")
    assert to_mask(probability[None], Thresholds(0.5)).tolist() == [[0, 0, 1, 255, 1]]
    assert to_percent(probability).tolist() == [[20, 50, 51, 255, 100]]


def write_strips(path, mask, grid, strip=32):
    with StripWriter(path, grid, "Point") as writer:
        for first in range(0, grid.height, strip):
            writer.write(first, mask[first : first + strip])


@pytest.mark.parametrize("shape", [(90, 110), (1, 1), (1, 2000), (1300, 1100)])
def test_a_cog_is_valid_and_on_the_grid(tmp_path, shape):
    mask, grid = blobs(*shape, missing=0.1), geobox(*shape)
    write_strips(tmp_path / "a.tif", mask, grid)
    write_cog(
        tmp_path / "a.tif", tmp_path / "b.tif", descriptions=["d"], tags={"A": "b"}, colours=styles.colours((0, 1))
    )
    valid, errors, warnings = cog_validate(tmp_path / "b.tif", strict=True)
    assert valid, (errors, warnings)
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs) == grid
        assert dataset.nodata == 255
        assert dataset.tags()["AREA_OR_POINT"] == "Point"
        assert dataset.tags()["A"] == "b"
        assert dataset.descriptions == ("d",)
        assert dataset.colormap(1)[1] == (213, 94, 0, 255)
        np.testing.assert_array_equal(dataset.read(1), mask)
        if min(shape) > 512:
            small = dataset.read(1, out_shape=(shape[0] // 2, shape[1] // 2))
            assert abs((small == 1).mean() - (mask == 1).mean()) < 0.01  # overviews keep the share of cloud


def halves(read):
    yield 0, read(0, 40)
    yield 40, read(40, 90)


def test_counts_of_a_rewritten_mask(tmp_path):
    mask = blobs(missing=0.25)
    write_strips(tmp_path / "a.tif", mask, geobox())
    found = rewrite(tmp_path / "a.tif", tmp_path / "b.tif", halves, geobox(), None)
    np.testing.assert_array_equal(read_tif(tmp_path / "b.tif")[0], mask)
    assert (found[0], found[1], found[255]) == ((mask == 0).sum(), (mask == 1).sum(), (mask == 255).sum())
    assert percent(found, CLOUD) == pytest.approx(100 * (mask == 1).sum() / (mask != 255).sum())
