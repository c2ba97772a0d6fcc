import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geocloud.training.metrics import Confusion

masks = arrays("bool", (4, 9))


def test_counts_and_scores_of_a_case_done_by_hand():
    predicted = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    truth = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    found = Confusion.of(predicted, truth)
    assert found == Confusion(tp=2, fp=1, fn=1, tn=4)
    assert found.jaccard == 0.5
    assert found.scores()["precision"] == found.scores()["recall"] == pytest.approx(2 / 3)
    assert found.scores()["specificity"] == 0.8
    assert found.scores()["accuracy"] == 0.75


@given(masks, masks, masks)
def test_counts_agree_with_set_arithmetic_and_leave_out_what_is_not_valid(predicted, truth, valid):
    found = Confusion.of(predicted, truth, valid)
    assert found.tp == (predicted & truth & valid).sum()
    assert found.fp == (predicted & ~truth & valid).sum()
    assert found.fn == (~predicted & truth & valid).sum()
    assert found.tp + found.fp + found.fn + found.tn == valid.sum()


@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=4))
def test_sums_pool_pixels(pairs):
    total = sum((Confusion.of(p, t) for p, t in pairs), Confusion())
    assert total == Confusion.of(np.concatenate([p for p, _ in pairs]), np.concatenate([t for _, t in pairs]))


def test_a_score_without_a_denominator_is_nan_and_no_error():
    nothing = Confusion.of(np.zeros(5, bool), np.zeros(5, bool))
    assert math.isnan(nothing.jaccard)
    assert math.isnan(nothing.scores()["recall"])
    assert nothing.scores()["accuracy"] == 1
