"""Agreement of a mask with a reference: confusion counts, and the scores derived from them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

SCORES = ("precision", "recall", "specificity", "jaccard", "accuracy")


@dataclass(frozen=True, slots=True)
class Confusion:
    """Confusion counts in pixels, with cloud as the positive class. Their sum pools the pixels."""

    tp: int = 0  # cloud in both
    fp: int = 0  # cloud in the mask only
    fn: int = 0  # cloud in the reference only
    tn: int = 0  # clear in both

    @classmethod
    def of(cls, predicted: Any, truth: Any, valid: Any = None) -> Confusion:
        """Counts of two arrays of one shape, True for cloud, where ``valid`` is True; None: everywhere."""
        predicted, truth = np.asarray(predicted, bool), np.asarray(truth, bool)
        pairs = (2 * truth + predicted).ravel() if valid is None else (2 * truth + predicted)[np.asarray(valid, bool)]
        tn, fp, fn, tp = (int(n) for n in np.bincount(pairs, minlength=4))
        return cls(tp, fp, fn, tn)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def scores(self) -> dict[str, float]:
        """The `SCORES` by name, in [0, 1]; NaN if the denominator is zero."""
        tp, fp, fn, tn = astuple(self)
        parts = (tp, tp, tn, tp, tp + tn)
        wholes = (tp + fp, tp + fn, tn + fp, tp + fp + fn, tp + fp + fn + tn)
        return {s: a / b if b else float("nan") for s, a, b in zip(SCORES, parts, wholes, strict=True)}

    @property
    def jaccard(self) -> float:
        """Intersection over union, TP / (TP + FP + FN); NaN if there is no cloud in either."""
        return self.scores()["jaccard"]
