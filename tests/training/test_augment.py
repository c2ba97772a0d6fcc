"""Augmentation of chips."""

import dataclasses

import numpy as np
import pytest
from conftest import simulated_chip as chip

from geocloud.training.data.augment import LANDSAT_5, LANDSAT_7, SATURATION, Augment, coarsen, saturate
from geocloud.training.data.chips import CLEAR, CLOUD, UNKNOWN, Chip
from geocloud.training.data.samples import Samples, batches

QUIET = Augment(size=64, clouds=0, more_clouds=0, dim=0, saturate=0, wedge=0, drop_nir=0, swap=0, coarse=0)
GROUND = Chip("c", np.full((4, 96, 96), 0.1, "float32"), np.zeros((2, 96, 96), "uint8"))


def test_geometry_moves_image_and_target_together():
    """The image contains the target, so rotations and flips must keep both equal."""
    truth = chip().target
    image = np.stack([truth[0] / 100] * 4).astype("float32")
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        sample, target = QUIET.sample(Chip("c", image, truth), rng)
        assert sample.shape == (4, 64, 64)
        assert ((sample[0] > 0.5) == (target[0] == CLOUD)).mean() > 0.999
        seen.add(target.tobytes())
    assert len(seen) > 30


def test_added_clouds_are_labelled_and_missing_data_is_unknown():
    rng = np.random.default_rng(1)
    cloudy = dataclasses.replace(QUIET, clouds=1)
    for _ in range(20):
        image, (cloud, shadow) = cloudy.sample(GROUND, rng)
        if (cloud == CLOUD).any() and (cloud == CLEAR).any():
            assert image[0][cloud == CLOUD].mean() > image[0][cloud == CLEAR].mean()
        assert (shadow == UNKNOWN).all(), "where simulated clouds throw theirs is not told"
    image, target = dataclasses.replace(QUIET, wedge=1).sample(GROUND, np.random.default_rng(3))
    assert ((target == UNKNOWN) == np.isnan(image).all(0)).all()


def test_a_small_chip_is_mirrored():
    small = Chip("c", np.arange(4 * 30 * 40, dtype="float32").reshape(4, 30, 40) / 5000, np.zeros((2, 30, 40), "uint8"))
    image, target = QUIET.sample(small, np.random.default_rng(0))
    assert np.isfinite(image).all()
    assert (target == CLEAR).all()


def test_near_infrared_is_dropped_and_stays_missing_where_there_is_none():
    rng = np.random.default_rng(2)
    image, target = dataclasses.replace(QUIET, drop_nir=1).sample(GROUND, rng)
    assert np.isnan(image[3]).all()
    assert (target == CLEAR).all(), "the other bands are known"
    reflectance = GROUND.reflectance.copy()
    reflectance[3] = np.nan
    image, _ = dataclasses.replace(QUIET, clouds=1).sample(Chip("c", reflectance, GROUND.target), rng)
    assert np.isnan(image[3]).all()
    assert np.isfinite(image[:3]).all()


@pytest.mark.parametrize(
    ("limits", "radiance", "irradiance"),
    [
        (LANDSAT_5, (264, 365, 193, 221), (1536, 1796, 1983, 1031)),
        (LANDSAT_7, (152.9, 196.5, 191.6, 241.1), (1533, 1812, 1997, 1039)),
    ],
)
def test_older_sensors_saturate_where_their_radiance_ends(limits, radiance, irradiance):
    """Maximum radiance and solar irradiance of red, green, blue and nir: Chander, Markham and Helder 2009."""
    ramp = np.linspace(0, 2, 50, dtype="float32")[None, None] * np.ones((4, 3, 1), "float32")
    seen = saturate(ramp, limits, 30)
    highest = np.pi * np.array(radiance) / (np.array(irradiance) * np.sin(np.radians(30)))
    np.testing.assert_allclose(seen.max((1, 2)), highest, atol=2e-3)
    assert (seen[ramp <= 0.6] == ramp[ramp <= 0.6]).all(), "what is darker stays"


def test_saturated_samples_end_where_a_sensor_does():
    bright = Chip("c", np.full((4, 96, 96), 9, "float32"), np.zeros((2, 96, 96), "uint8"))
    saturated, rng = dataclasses.replace(QUIET, saturate=1), np.random.default_rng(0)
    ends = [saturated.sample(bright, rng)[0].max((1, 2)) for _ in range(60)]
    found = [
        [np.allclose(end / end[0], np.array(limits) / limits[0], rtol=1e-3) for limits in SATURATION] for end in ends
    ]
    assert (np.sum(found, 1) == 1).all()
    assert np.any(found, 0).all(), "all four sensors and gains, at any height of the sun"


def test_swapped_samples_have_red_and_blue_in_each_others_place():
    (plain, target), (swapped, same) = (
        dataclasses.replace(QUIET, swap=swap).sample(chip(), np.random.default_rng(4)) for swap in (0, 1)
    )
    np.testing.assert_array_equal(swapped, plain[[2, 1, 0, 3]])
    np.testing.assert_array_equal(same, target)


@pytest.mark.parametrize(
    ("metres", "coarse", "factor"), [(10.0, 0, 3), (20.0, 0, 1.5), (30.0, 0, 1), (20.0, 1, 3), (45.0, 0, 1)]
)
def test_fine_chips_are_averaged_to_the_pixel_size_of_models(metres, coarse, factor):
    """The slope of a ramp shows the averaging factor."""
    ramp = np.broadcast_to(np.arange(400, dtype="float32")[:, None] * 0.01, (4, 400, 400))
    source = Chip("c", ramp, np.zeros((2, 400, 400), "uint8"), metres)
    rng = np.random.default_rng(0)
    for _ in range(8):
        image, target = dataclasses.replace(QUIET, coarse=coarse).sample(source, rng)
        assert image.shape == (4, 64, 64) and target.shape == (2, 64, 64)
        steps = np.abs([np.diff(image[0], axis=axis).mean() for axis in (0, 1)])
        np.testing.assert_allclose(steps.max() / 0.01, factor, rtol=0.05)


def test_coarsening_is_the_mean_and_knows_nothing_where_any_is_unknown():
    image = np.random.default_rng(0).random((4, 7, 9), "float32")
    target = np.full((2, 7, 9), CLOUD, "uint8")
    target[0, :2, :3], target[0, 5, 8], target[1, 0, 0] = CLEAR, CLEAR, UNKNOWN
    means, percent = coarsen(image, target, 3)
    np.testing.assert_allclose(means[2, 1, 2], image[2, 3:6, 6:9].mean(), rtol=1e-6)
    assert percent[0].tolist() == [[33, 100, 100], [100, 100, 89], [100, 100, 100]], "the last row extends beyond"
    assert percent[1].tolist() == [[UNKNOWN, 100, 100], [100, 100, 100], [100, 100, 100]]


def test_a_sample_depends_on_its_number_and_the_seed_alone():
    groups = [(1.0, [chip(0), chip(1)]), (0.5, [chip(2)]), (1.0, [])]
    one, other = (Samples(groups, Augment(size=64), seed) for seed in (7, 8))
    again = Samples(groups, Augment(size=64), 7)
    for index in (5, 0, 5):
        np.testing.assert_array_equal(one[index][0].numpy(), again[index][0].numpy())
    assert not np.array_equal(one[5][0].numpy(), other[5][0].numpy(), equal_nan=True)
    assert not np.array_equal(one[5][0].numpy(), one[6][0].numpy(), equal_nan=True)


def test_processes_share_the_samples_of_a_step_and_a_resumed_run_takes_up_the_next():
    whole = [
        i for ids in zip(batches(0, 6, 4, 0, 2), batches(0, 6, 4, 1, 2), strict=True) for part in ids for i in part
    ]
    assert whole == list(range(48))
    assert [*batches(0, 3, 2), *batches(3, 6, 2)] == batches(0, 6, 2)
