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
    assert found == Confusion(hits=2, false_alarms=1, misses=1, correct_clear=4)
    assert found.jaccard == 0.5
    assert found.precision == found.recall == pytest.approx(2 / 3)
    assert found.specificity == 0.8
    assert found.accuracy == 0.75


@given(masks, masks, masks)
def test_counts_agree_with_set_arithmetic_and_leave_out_what_is_not_valid(predicted, truth, valid):
    found = Confusion.of(predicted, truth, valid)
    assert found.hits == (predicted & truth & valid).sum()
    assert found.false_alarms == (predicted & ~truth & valid).sum()
    assert found.misses == (~predicted & truth & valid).sum()
    assert found.hits + found.false_alarms + found.misses + found.correct_clear == valid.sum()


@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=4))
def test_sums_pool_pixels(pairs):
    total = sum((Confusion.of(p, t) for p, t in pairs), Confusion())
    assert total == Confusion.of(np.concatenate([p for p, _ in pairs]), np.concatenate([t for _, t in pairs]))


def test_a_score_without_a_denominator_is_nan_and_no_error():
    nothing = Confusion.of(np.zeros(5, bool), np.zeros(5, bool))
    assert math.isnan(nothing.jaccard)
    assert math.isnan(nothing.recall)
    assert nothing.accuracy == 1
