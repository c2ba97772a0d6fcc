"""Stripes without data, as in Landsat 7's scenes since 2003."""

from unittest.mock import patch

import numpy as np
import pytest
from scipy import ndimage

from geocloud.models.predictor import load_model
from geocloud.simulate import simulate_scene
from geocloud.tiling.mosaic import WIDEST, fill_gaps


def stripes(shape, width):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (rows + 0.14 * cols) % 33 < width


@pytest.mark.parametrize("width", [3, 14])
def test_gaps_are_filled_from_the_nearest_row(width):
    image = np.random.default_rng(1).random((4, 120, 90), "float32")
    gaps = stripes(image.shape[1:], width)
    holed = np.where(gaps, np.nan, image)
    filled = fill_gaps(holed[None])[0]
    assert np.isnan(holed).any(), "what was given stays as it was"
    for col in range(90):
        known = np.flatnonzero(~gaps[:, col])
        for row in np.flatnonzero(gaps[:, col]):
            above, below = known[known < row], known[known > row]
            if len(above) and len(below):
                near = below[0] if below[0] - row < row - above[-1] else above[-1]
                assert (filled[:, row, col] == image[:, near, col]).all()
            else:
                assert np.isnan(filled[:, row, col]).all(), "the margin is no gap"


def test_margins_and_wide_gaps_stay():
    image = np.ones((2, 4, 90, 70), "float32")
    assert fill_gaps(image) is image
    image[0, :, :20] = image[0, :, 40 : 41 + WIDEST] = image[0, :, :, 60:] = np.nan
    np.testing.assert_array_equal(np.isnan(fill_gaps(image)), np.isnan(image))


def test_gaps_hardly_disturb_what_is_around_them_and_stay_no_data():
    image = simulate_scene(5, (384, 384), ("soil", "crops"), ("cumulus",), 0.4).reflectance
    gaps = stripes((384, 384), 10)
    predictor = load_model()
    whole = predictor.predict_array(image)[0]
    holed = np.where(gaps, np.nan, image)
    found = predictor.predict_array(holed)[0]
    with patch("geocloud.models.predictor.fill_gaps", lambda tiles: tiles):
        unfilled = predictor.predict_array(holed)[0]
    inside = ndimage.binary_erosion(np.ones_like(gaps), iterations=20)
    np.testing.assert_array_equal(np.isnan(found[inside]), gaps[inside])
    wrong, before = (
        ((seen > predictor.threshold) != (whole > predictor.threshold))[~gaps].mean() for seen in (found, unfilled)
    )
    assert wrong < 0.6 * before and wrong < 0.04


def test_a_scene_without_near_infrared_has_its_gaps_filled_too():
    image = np.full((1, 4, 64, 64), 0.2, "float32")
    image[:, 3] = np.nan
    image[:, :, 30:33] = np.nan
    filled = fill_gaps(image)
    assert not np.isnan(filled[:, :3]).any() and np.isnan(filled[:, 3]).all()
