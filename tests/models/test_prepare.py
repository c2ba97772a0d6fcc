"""Network input, compared with the formula in numpy."""

import numpy as np
import pytest
import torch

from geocloud.models.network import prepare

MEAN, STD = (0.2, 0.21, 0.22, 0.3), (0.25, 0.2, 0.3, 0.25)
IMAGE = torch.from_numpy(np.random.default_rng(0).uniform(0, 1.6, (2, 4, 6, 5)).astype("float32"))


def _normalised(image):
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (MEAN, STD))
    return (image.clamp(max=1.1) - mean) / std


def test_it_is_scaled_and_clipped_and_gaps_hold_the_mean():
    image = IMAGE.clone()
    image[0, 2, 1, 3] = torch.nan
    x = prepare(image, MEAN, STD, 1.1)
    expected = _normalised(image)
    known = torch.ones(6, 5, dtype=torch.bool)
    known[1, 3] = False
    torch.testing.assert_close(x[1], expected[1])
    torch.testing.assert_close(x[0][:, known], expected[0][:, known])
    torch.testing.assert_close(x[0][:, 1, 3], expected[0][:, known].mean(1))


def test_red_stands_in_for_missing_near_infrared_which_is_marked():
    image = IMAGE.clone()
    image[1, 3] = torch.nan
    image[1, :, 0, 0] = torch.nan
    x = prepare(image, MEAN, STD, 1.1, optional_nir=True)
    assert x.shape == (2, 5, 6, 5) and (x[0, 4] == 0).all() and (x[1, 4] == 1).all()
    torch.testing.assert_close(x[0, :4], prepare(image[:1], MEAN, STD, 1.1)[0])
    red = (image[1, 0].clamp(max=1.1) - MEAN[3]) / STD[3]
    known = torch.isfinite(red)
    torch.testing.assert_close(x[1, 3][known], red[known])
    torch.testing.assert_close(x[1, 3, 0, 0], red[known].mean())


def test_near_infrared_that_is_missing_in_places_is_no_data_there():
    image = IMAGE.clone()
    image[0, 3, 2:4] = torch.nan
    x = prepare(image, MEAN, STD, None, optional_nir=True)
    assert torch.isfinite(x).all() and not x[:, 4].any()
    torch.testing.assert_close(x[:, :4], prepare(image, MEAN, STD))


def test_a_small_image_by_hand():
    image = torch.full((1, 4, 2, 2), 0.5)
    image[0, 0, 0] = 0.1
    image[0, :, 1, 1] = torch.nan
    mean, std = [0.25] * 4, [0.5] * 4
    x = prepare(image, mean, std)
    assert x[0, 0, 0].tolist() == pytest.approx([-0.3, -0.3])
    assert x[0, 0, 1, 0] == pytest.approx(0.5)
    assert x[0, 0, 1, 1] == pytest.approx((-0.3 - 0.3 + 0.5) / 3)  # no data: the mean of the rest
    assert not torch.isnan(prepare(torch.full((1, 4, 2, 2), torch.nan), mean, std)).any()
