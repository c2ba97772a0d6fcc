"""Codes of a mask, and how probabilities become them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLEAR, CLOUD, SHADOW, SNOW, CIRRUS, NO_DATA = 0, 1, 2, 3, 4, 255
"""Values of a mask, uint8."""

STRIP = 640
"""Rows of a mask that are refined or counted at once."""

Mask = NDArray[np.uint8]

ReadMask = Callable[[int, int], Mask]
"""Reads the rows of a mask from the first to the last (exclusive), as an array of its own."""

Rows = Iterator[tuple[int, Mask]]
"""Strips of a mask from top to bottom, each with its first row."""


def count(mask: Mask) -> Counter[int]:
    """Number of pixels of each value of a mask, or of a part of one; parts add up."""
    counts = {code: int(np.count_nonzero(mask == code)) for code in (CLOUD, SHADOW, SNOW, CIRRUS, NO_DATA)}
    return Counter({CLEAR: mask.size - sum(counts.values()), **counts})


def percent(counts: Counter[int], code: int) -> float | None:
    """Per cent of the valid pixels that are of a class; None if there are no valid pixels."""
    valid = counts.total() - counts[NO_DATA]
    return 100 * counts[code] / valid if valid else None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of probability. Pixels above both are cloud."""

    cloud: float
    """Pixels with a higher probability of cloud are cloud."""
    shadow: float | None = None
    """Pixels with a higher probability of shadow are shadow; None: shadow is not masked."""

    @property
    def classes(self) -> int:
        """Number of probabilities needed: 1 cloud, 2 cloud and shadow."""
        return 1 if self.shadow is None else 2


def to_percent(probability: NDArray[np.float32]) -> Mask:
    """Probability, NaN where there is no data → whole per cent, 255 where there is no data."""
    missing = np.isnan(probability)
    percent = np.rint(100 * np.where(missing, 0, probability)).astype("uint8")
    percent[missing] = NO_DATA
    return percent
