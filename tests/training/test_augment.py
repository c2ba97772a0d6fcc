"""What augmentation may and may not do to a chip."""

import dataclasses

import numpy as np
from conftest import simulated_chip as chip

from geocloud.training.augment import Augment
from geocloud.training.chips import CLEAR, CLOUD, IGNORE, Chip
from geocloud.training.samples import Batches, Samples

QUIET = Augment(size=64, coarsen=0, tint=0, roofs=0, snow=0, rock=0, clouds=0, low_sun=0, dim=0, saturate=0, wedge=0)
GROUND = Chip("c", np.full((4, 96, 96), 0.1, "float32"), np.zeros((96, 96), "uint8"))


def test_geometry_moves_image_and_label_together():
    """With the label hidden in the image, every turn and flip must keep the two alike."""
    truth = chip().label
    image = np.stack([truth * 1.0] * 4).astype("float32")
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        sample, label = QUIET.sample(Chip("c", image, truth), rng)
        assert sample.shape == (4, 64, 64)
        assert ((sample[0] > 0.5) == (label == CLOUD)).mean() > 0.999
        seen.add(label.tobytes())
    assert len(seen) > 30


def test_added_clouds_are_labelled_and_missing_data_ignored():
    rng = np.random.default_rng(1)
    cloudy = dataclasses.replace(QUIET, clouds=1)
    for _ in range(20):
        image, label = cloudy.sample(GROUND, rng)
        if (label == CLOUD).any() and (label == CLEAR).any():
            assert image[0][label == CLOUD].mean() > image[0][label == CLEAR].mean()
    image, label = dataclasses.replace(QUIET, wedge=1).sample(GROUND, np.random.default_rng(3))
    assert ((label == IGNORE) == np.isnan(image).all(0)).all()
    small = Chip("c", np.full((4, 30, 40), 0.1, "float32"), np.zeros((30, 40), "uint8"))
    image, label = QUIET.sample(small, rng)
    assert (label != IGNORE).sum() == 30 * 40


def test_roofs_snow_and_rock_brighten_clear_ground_and_leave_it_clear():
    half = np.zeros((96, 96), "uint8")
    half[:, :48] = CLOUD
    for change in ("roofs", "snow", "rock"):
        augment = dataclasses.replace(QUIET, **{change: 1})
        rng = np.random.default_rng(2)
        for _ in range(5):
            assert (augment.sample(GROUND, rng)[1] == CLEAR).all()
        brightest = max(np.nanmax(augment.sample(GROUND, rng)[0]) for _ in range(10))
        assert brightest > 0.2, change
        image, label = augment.sample(Chip("c", GROUND.reflectance, half), rng)
        assert np.nanmax(image[:, label == CLOUD]) < 0.2, change


def test_snow_is_less_bright_in_the_near_infrared_and_cloud_more():
    """The colour by which the two differ survives every change of light."""
    rng = np.random.default_rng(5)
    light = dataclasses.replace(QUIET, dim=1)
    white = Chip("c", np.full((4, 96, 96), 0.8, "float32"), np.zeros((96, 96), "uint8"))
    for _ in range(20):
        image, _ = light.sample(white, rng)
        assert 0.95 < image[3].mean() / image[0].mean() < 1.05


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
        i for ids in zip(Batches(0, 6, 4, 0, 2), Batches(0, 6, 4, 1, 2), strict=True) for part in ids for i in part
    ]
    assert whole == list(range(48))
    assert [*Batches(0, 3, 2), *Batches(3, 6, 2)] == list(Batches(0, 6, 2))
