"""Codes of a mask, and how probabilities become them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

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


@dataclass(frozen=True, slots=True)
class Counts:
    """Number of pixels of each class in a mask."""

    clear: int
    """None of the other classes."""
    cloud: int
    """Cloud."""
    shadow: int
    """Cloud shadow."""
    no_data: int
    """No data."""
    snow: int = 0
    """Snow or ice."""
    cirrus: int = 0
    """Thin cirrus."""

    @classmethod
    def of(cls, mask: Mask) -> Counts:
        """Counts the pixels of a mask, or of a part of one."""
        codes = (CLOUD, SHADOW, NO_DATA, SNOW, CIRRUS)
        counts = [int(np.count_nonzero(mask == code)) for code in codes]
        return cls(mask.size - sum(counts), *counts)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def valid(self) -> int:
        """Pixels with data."""
        return self.clear + self.cloud + self.shadow + self.snow + self.cirrus

    def percent(self, code: int) -> float | None:
        """Per cent of the valid pixels that are of a class; None if there are no valid pixels."""
        pixels = {CLEAR: self.clear, CLOUD: self.cloud, SHADOW: self.shadow, SNOW: self.snow, CIRRUS: self.cirrus}
        return 100 * pixels[code] / self.valid if self.valid else None

    @property
    def cloud_percent(self) -> float | None:
        """Per cent of the valid pixels that are cloud; None if there are no valid pixels."""
        return self.percent(CLOUD)

    @property
    def shadow_percent(self) -> float | None:
        """Per cent of the valid pixels that are cloud shadow; None if there are no valid pixels."""
        return self.percent(SHADOW)

    @property
    def valid_percent(self) -> float:
        """Per cent of all pixels that are valid."""
        return 100 * self.valid / (self.valid + self.no_data)


NONE = Counts(0, 0, 0, 0)


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


def to_mask(probability: NDArray[np.float32], thresholds: Thresholds) -> Mask:
    """Probability ``(class, h, w)`` of cloud, then of shadow, NaN where there is no data → mask ``(h, w)``."""
    mask = (probability[0] > thresholds.cloud).astype("uint8")
    if thresholds.shadow is not None:
        mask[(probability[1] > thresholds.shadow) & (mask == CLEAR)] = SHADOW
    mask[np.isnan(probability[0])] = NO_DATA
    return mask


def to_percent(probability: NDArray[np.float32]) -> Mask:
    """Probability, NaN where there is no data → whole per cent, 255 where there is no data."""
    missing = np.isnan(probability)
    percent = np.rint(100 * np.where(missing, 0, probability)).astype("uint8")
    percent[missing] = NO_DATA
    return percent
