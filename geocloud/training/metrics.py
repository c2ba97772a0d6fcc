"""Agreement of a mask with a reference: confusion counts that can be added, and scores derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixel counts with cloud as the positive class. Adding two pools their pixels.

    Scores are floats in [0, 1], NaN where their denominator is zero.
    """

    hits: int = 0
    """True positives (TP): cloud in both."""
    false_alarms: int = 0
    """False positives (FP): cloud in the mask only."""
    misses: int = 0
    """False negatives (FN): cloud in the reference only."""
    correct_clear: int = 0
    """True negatives (TN): clear in both."""

    @classmethod
    def of(cls, predicted: Any, truth: Any, valid: Any = None) -> Confusion:
        """Counts two arrays of one shape, True for cloud, where ``valid`` is True; None: everywhere."""
        predicted, truth = np.asarray(predicted, bool), np.asarray(truth, bool)
        valid = np.ones(truth.shape, bool) if valid is None else np.asarray(valid, bool)
        counts = np.bincount((2 * truth + predicted)[valid].ravel(), minlength=4)
        clear, alarms, misses, hits = (int(n) for n in counts)
        return cls(hits, alarms, misses, clear)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.hits + other.hits,
            self.false_alarms + other.false_alarms,
            self.misses + other.misses,
            self.correct_clear + other.correct_clear,
        )

    @property
    def jaccard(self) -> float:
        """TP / (TP + FP + FN): intersection over union."""
        return _ratio(self.hits, self.hits + self.false_alarms + self.misses)

    @property
    def precision(self) -> float:
        """TP / (TP + FP): the share of predicted cloud that is cloud."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """TP / (TP + FN): the share of cloud that was detected."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP): the share of clear pixels that were predicted clear."""
        return _ratio(self.correct_clear, self.correct_clear + self.false_alarms)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / N: the share of pixels that are correct."""
        total = self.hits + self.false_alarms + self.misses + self.correct_clear
        return _ratio(self.hits + self.correct_clear, total)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
