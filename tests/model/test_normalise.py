"""What networks are fed, against the formula in numpy."""

import numpy as np
import torch

from geocloud.model.normalise import normalise

MEAN, STD = (torch.tensor(v).view(1, 4, 1, 1) for v in ((0.2, 0.21, 0.22, 0.3), (0.25, 0.2, 0.3, 0.25)))
IMAGE = torch.from_numpy(np.random.default_rng(0).uniform(0, 1.6, (2, 4, 6, 5)).astype("float32"))


def test_it_is_scaled_and_clipped_and_gaps_hold_the_mean():
    image = IMAGE.clone()
    image[0, 2, 1, 3] = torch.nan
    found = normalise(image, MEAN, STD, 1.1)
    expected = (image.clamp(max=1.1) - MEAN) / STD
    known = torch.ones(6, 5, dtype=torch.bool)
    known[1, 3] = False
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(found[0][:, known], expected[0][:, known])
    torch.testing.assert_close(found[0][:, 1, 3], expected[0][:, known].mean(1))


def test_red_stands_in_for_missing_near_infrared_and_a_channel_says_so():
    image = IMAGE.clone()
    image[1, 3] = torch.nan
    image[1, :, 0, 0] = torch.nan
    found = normalise(image, MEAN, STD, 1.1, optional_nir=True)
    assert found.shape == (2, 5, 6, 5)
    assert (found[0, 4] == 0).all()
    assert (found[1, 4] == 1).all()
    torch.testing.assert_close(found[0, :4], normalise(image[:1], MEAN, STD, 1.1)[0])
    red = (image[1, 0].clamp(max=1.1) - MEAN[0, 3]) / STD[0, 3]
    known = torch.isfinite(red)
    torch.testing.assert_close(found[1, 3][known], red[known])
    torch.testing.assert_close(found[1, 3, 0, 0], red[known].mean())


def test_near_infrared_that_is_missing_in_places_is_no_data_there():
    image = IMAGE.clone()
    image[0, 3, 2:4] = torch.nan
    found = normalise(image, MEAN, STD, None, optional_nir=True)
    assert torch.isfinite(found).all()
    assert (found[0, 4] == 0).all()
    torch.testing.assert_close(found[:, :4], normalise(image, MEAN, STD))
