"""The small training wing: chips, augmentation, loss, and a run of a few steps."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import geobox, write_tif

from geocloud.metrics import Confusion
from geocloud.simulate import simulate_scene
from geocloud.training.augment import Augment
from geocloud.training.chips import CLEAR, CLOUD, IGNORE, L8_BIOME, Chip, read_chip, read_pairs
from geocloud.training.fit import FitConfig, fit, loss, probabilities

QUIET = Augment(size=64, coarsen=0, roofs=0, clouds=0, dim=0, saturate=0, wedge=0)


def chip(seed=0, size=96):
    scene = simulate_scene(seed, (size, size), ("forest", "water"), ("cumulus",), 0.4)
    return Chip(f"s{seed}", scene.reflectance, scene.truth.astype("uint8"))


def test_chips_and_the_meaning_of_mask_values(tmp_path):
    values = np.full((4, 3, 5), 2500, "uint16")
    values[1, 0, 0] = 65535
    codes = np.array([[64, 128, 192, 255, 0], [64] * 5, [7] * 5], "uint8")
    write_tif(tmp_path / "a.tif", values, geobox(3, 5), nodata=65535)
    write_tif(tmp_path / "a_label.tif", codes[None], geobox(3, 5))
    (found,) = read_pairs([tmp_path / "a.tif"], tmp_path, "_label.tif", L8_BIOME)
    assert found.label.tolist() == [[IGNORE, CLEAR, CLOUD, CLOUD, IGNORE], [CLEAR] * 5, [IGNORE] * 5]
    assert np.isnan(found.reflectance[:, 0, 0]).all()
    assert found.reflectance[0, 1, 1] == 0.25
    assert (read_chip(tmp_path / "a.tif", None, {}).label[1:] == CLEAR).all()


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
    clear = Chip("c", np.full((4, 96, 96), 0.1, "float32"), np.zeros((96, 96), "uint8"))
    rng = np.random.default_rng(1)
    cloudy = dataclasses.replace(QUIET, clouds=1)
    for _ in range(20):
        image, label = cloudy.sample(clear, rng)
        if (label == CLOUD).any() and (label == CLEAR).any():
            assert image[0][label == CLOUD].mean() > image[0][label == CLEAR].mean()
    image, label = dataclasses.replace(QUIET, wedge=1).sample(clear, np.random.default_rng(3))
    assert ((label == IGNORE) == np.isnan(image).all(0)).all()
    small = Chip("c", np.full((4, 30, 40), 0.1, "float32"), np.zeros((30, 40), "uint8"))
    image, label = QUIET.sample(small, rng)
    assert (label != IGNORE).sum() == 30 * 40
    roofs = dataclasses.replace(QUIET, roofs=1)
    assert all((roofs.sample(clear, rng)[1] == CLEAR).all() for _ in range(5))


def test_the_loss_is_low_for_what_is_right_and_blind_to_what_is_ignored():
    label = torch.tensor([[[1, 0], [0, 255]]])
    right = torch.tensor([[[[9.0, -9.0], [-9.0, 9.0]]]])
    assert loss(right, label) < 0.01 < 1 < loss(-right, label)
    other = right.clone()
    other[0, 0, 1, 1] = -9
    torch.testing.assert_close(loss(right, label), loss(other, label))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking a loader beside OpenMP's threads
def test_a_few_steps_learn_and_the_same_seed_gives_the_same_weights():
    config = FitConfig(options={"width": 4, "levels": 3}, steps=60, batch=4, warmup=5, average=0.9, augment=QUIET)
    chips = [chip(seed) for seed in range(4)]
    first, second = (fit([(1.0, chips)], config) for _ in range(2))
    for key, value in first.weights.items():
        torch.testing.assert_close(value, second.weights[key])
    unseen = chip(9)
    found = Confusion.of(probabilities(first, unseen) > 0.5, unseen.label == CLOUD)
    assert found.jaccard > 0.5
    assert first.training["config"]["steps"] == 60
