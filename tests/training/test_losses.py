"""Losses, compared with their formulas in numpy."""

import numpy as np
import pytest
import torch

from geocloud.errors import OptionError
from geocloud.training.losses import SHADOW_WEIGHT, TERMS, parse_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (2, 1, 5, 6)).astype("float32")
LABEL = RNG.choice([0, 1, 255], (2, 5, 6)).astype("uint8")
TARGET = torch.from_numpy(np.stack([np.where(LABEL == 1, 100, LABEL)] * 2, 1).astype("uint8"))


def oracle():
    known = LABEL != 255
    p, y = 1 / (1 + np.exp(-LOGITS[:, 0][known].astype("float64"))), LABEL[known]
    right = np.where(y == 1, p, 1 - p)
    hits, alarms, misses = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    tversky = 1 - (hits + 1) / (hits + 0.3 * alarms + 0.7 * misses + 1)
    return {
        "bce": -np.log(right).mean(),
        "focal": (-np.log(right) * (1 - right) ** 2).mean(),
        "jaccard": 1 - (hits + 1) / (hits + alarms + misses + 1),
        "dice": 1 - (2 * hits + 1) / (2 * hits + alarms + misses + 1),
        "tversky": tversky,
        "focal-tversky": tversky**0.75,
    }


@pytest.mark.parametrize("name", TERMS)
def test_each_loss_is_its_formula(name):
    value = parse_loss(name)(torch.from_numpy(LOGITS), TARGET)
    assert float(value) == pytest.approx(oracle()[name], rel=1e-5)


def test_sums_and_weights():
    value = parse_loss("0.5*focal + 2 * dice+bce")(torch.from_numpy(LOGITS), TARGET)
    found = oracle()
    assert float(value) == pytest.approx(0.5 * found["focal"] + 2 * found["dice"] + found["bce"], rel=1e-5)
    for wrong in ("iou", "", "bce-dice", "bce+"):
        with pytest.raises(OptionError, match="wanted bce, focal, jaccard"):
            parse_loss(wrong)


@pytest.mark.parametrize("name", TERMS)
def test_low_for_what_is_right_blind_to_what_is_ignored_and_with_a_gradient(name):
    target = torch.tensor([[[[100, 0], [0, 255]]] * 2], dtype=torch.uint8)
    right = torch.tensor([[[[9.0, -9.0], [-9.0, 9.0]]]], requires_grad=True)
    loss = parse_loss(name)
    value = loss(right, target)
    assert value < 0.01 < 0.25 < loss(-right, target)
    other = right.detach().clone()
    other[0, 0, 1, 1] = -9
    torch.testing.assert_close(value.detach(), loss(other, target))
    (gradient,) = torch.autograd.grad(loss(-right, target), right)
    assert torch.isfinite(gradient).all()
    nothing = loss(right, torch.full((1, 2, 2, 2), 255, dtype=torch.uint8))
    assert torch.isfinite(nothing)


def test_shadow_counts_beside_cloud_and_partial_targets_are_probabilities():
    logits = torch.tensor([[[[0.4]], [[-1.3]]]])
    target = torch.tensor([[[[70]], [[100]]]], dtype=torch.uint8)
    p, q = 1 / (1 + np.exp([-0.4, 1.3]))
    expected = -(0.7 * np.log(p) + 0.3 * np.log(1 - p)) - SHADOW_WEIGHT * np.log(q)
    assert float(parse_loss("bce")(logits, target)) == pytest.approx(expected, rel=1e-5)
    target[0, 1] = 255
    assert float(parse_loss("bce")(logits, target)) == pytest.approx(expected + SHADOW_WEIGHT * np.log(q), rel=1e-5)
