"""How well a mask agrees with a truth: counts that can be added up, and scores made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixel counts with cloud as the positive class. Add two to pool them.

    Scores are floats in [0, 1], NaN where their denominator is zero.
    """

    hits: int = 0
    false_alarms: int = 0
    misses: int = 0
    correct_clear: int = 0

    @classmethod
    def of(cls, predicted: Any, truth: Any, valid: Any = None) -> Confusion:
        """Counts two arrays of one shape, True for cloud, where ``valid`` (everywhere, when None) is True."""
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
        """TP / (TP + FP + FN): the intersection over the union of both clouds."""
        return _ratio(self.hits, self.hits + self.false_alarms + self.misses)

    @property
    def precision(self) -> float:
        """TP / (TP + FP): the share of what was called cloud that is cloud."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """TP / (TP + FN): the share of the cloud that was found."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP): the share of the clear that was called clear."""
        return _ratio(self.correct_clear, self.correct_clear + self.false_alarms)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / N: the share of pixels that are right."""
        total = self.hits + self.false_alarms + self.misses + self.correct_clear
        return _ratio(self.hits + self.correct_clear, total)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
