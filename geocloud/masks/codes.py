"""Codes of a mask, derived from probabilities and from the bands for snow and thin cirrus.

Snow reflects green and absorbs short-wave infrared at 1.6 µm, while most clouds reflect both. The normalised difference
snow index (NDSI) separates them: Dozier 1989, https://doi.org/10.1016/0034-4257(89)90101-6. Ice clouds have a high
index, too, so the more probable cloud is, the higher an index is required for snow. At 1.37 µm water vapour absorbs the
light that low ground reflects; bright pixels are high: cirrus, or mountains in dry air.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CLEAR, CLOUD, SHADOW, SNOW, CIRRUS, NO_DATA = 0, 1, 2, 3, 4, 255
"""Values of a mask, uint8."""

STRIP = 640
"""Number of rows of a mask that are refined or counted at once."""

Mask = NDArray[np.uint8]

ReadMask = Callable[[int, int], Mask]
"""Reads the rows of a mask from the first to the last (exclusive) into a new array."""

Rows = Iterator[tuple[int, Mask]]
"""Strips of a mask from top to bottom, each with its first row."""

LOWEST_INDEX, INDEX_BY_PROBABILITY = 0.2, 0.5
"""Snow has an NDSI above 0.2 + 0.5 × the probability of cloud: chosen on half of SPARCS, see `benchmarks/snow.py`."""

DARKEST_SNOW = 0.2
"""Lower limit of snow's green reflectance; water, whose NDSI is also high, is darker."""

THIN_CIRRUS = 0.012
"""Reflectance at 1.37 µm above which there is thin cirrus: Sen2Cor, Level-2A ATBD 2.10, section 3.3.4."""

ROWS = 16
"""Number of rows processed at once, so that intermediate arrays fit into a CPU's cache."""


def count(mask: Mask) -> Counter[int]:
    """Number of pixels of each value of a mask, or of part of it; the counts of parts can be added."""
    counts = {code: int(np.count_nonzero(mask == code)) for code in (CLOUD, SHADOW, SNOW, CIRRUS, NO_DATA)}
    return Counter({CLEAR: mask.size - sum(counts.values()), **counts})


def percent(counts: Counter[int], code: int) -> float | None:
    """Per cent of the valid pixels that belong to a class; None if there are no valid pixels."""
    valid = counts.total() - counts[NO_DATA]
    return 100 * counts[code] / valid if valid else None


class Thresholds(NamedTuple):
    """Probabilities above which a pixel is cloud or, if it is not cloud, shadow."""

    cloud: float
    shadow: float | None = None  # None: shadow is not masked

    @property
    def classes(self) -> int:
        """Number of probabilities needed: 1 cloud, 2 cloud and shadow."""
        return 1 if self.shadow is None else 2


def snow_limit(reflectance: NDArray[np.float32], swir1: NDArray[np.float32]) -> Mask:
    """Cloud probability in per cent below which a pixel is snow, from the band at 1.6 µm ``(h, w)``; 0: no snow."""
    green = reflectance[1]
    limit = np.zeros(green.shape, "uint8")
    bright = (green > DARKEST_SNOW) & (swir1 < green * (1 - LOWEST_INDEX) / (1 + LOWEST_INDEX))  # NDSI above the lowest
    green, swir1 = green[bright], swir1[bright]
    with np.errstate(divide="ignore"):
        index = np.rint(np.clip(100 * (green - swir1) / (green + swir1), 0, 100))  # NDSI in per cent
    limit[bright] = np.maximum(index - 100 * LOWEST_INDEX, 0) / INDEX_BY_PROBABILITY
    return limit


def thin_cirrus(reflectance: NDArray[np.float32], cirrus: NDArray[np.float32]) -> Mask:
    """1 where the band at 1.37 µm ``(h, w)`` shows thin cirrus, else 0."""
    return (cirrus > THIN_CIRRUS).astype("uint8")


LAYERS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], Mask]] = {
    "swir1": snow_limit,
    "cirrus": thin_cirrus,
}
"""Functions by band: reflectance ``(4, h, w)`` and that band ``(h, w)`` → a layer for `to_mask`."""


def to_mask(
    probability: NDArray[np.float32],
    thresholds: Thresholds,
    layers: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    snow: bool = False,
) -> Mask:
    """Probability ``(class, h, w)`` of cloud, then of shadow, NaN where there is no data → mask ``(h, w)``.

    ``layers`` are those of `LAYERS`, by band. With ``snow``, cloud and clear pixels that are snow become SNOW; without
    it, cloud that is snow becomes clear.
    """
    cloud = probability[0]
    mask = (cloud > thresholds.cloud).astype("uint8")
    if thresholds.shadow is not None:
        mask[(probability[1] > thresholds.shadow) & (mask == CLEAR)] = SHADOW
    mask[np.isnan(cloud)] = NO_DATA
    if "swir1" in layers:
        for first in range(0, len(mask), ROWS):
            rows = slice(first, first + ROWS)
            part, limit = mask[rows], layers["swir1"][rows]
            is_snow = np.rint(100 * cloud[rows]) < limit
            is_snow &= part <= CLOUD if snow else part == CLOUD
            np.copyto(part, SNOW if snow else CLEAR, where=is_snow)
    if "cirrus" in layers:
        mask[(layers["cirrus"] == 1) & (mask == CLEAR)] = CIRRUS
    return mask


def to_percent(probability: NDArray[np.float32]) -> Mask:
    """Probability, NaN where there is no data → whole per cent, 255 where there is no data."""
    missing = np.isnan(probability)
    percent = np.rint(100 * np.where(missing, 0, probability)).astype("uint8")
    percent[missing] = NO_DATA
    return percent
