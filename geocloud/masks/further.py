"""Snow and thin cirrus, told by bands beyond red, green, blue and near-infrared.

Snow reflects green and absorbs short-wave infrared at 1.6 µm; most clouds reflect both: the normalised difference snow
index (NDSI) of Dozier 1989, https://doi.org/10.1016/0034-4257(89)90101-6. Clouds of ice have a high index, too, so that
a pixel needs the higher an index, the more probable cloud is. At 1.37 µm water vapour absorbs what the ground reflects;
what is seen there is high: cirrus, or mountains in dry air.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geocloud.grid import GeoBox
from geocloud.masks.codes import CIRRUS, CLEAR, CLOUD, NO_DATA, SNOW, STRIP, Mask, ReadMask, Rows

LOWEST_INDEX, INDEX_BY_PROBABILITY = 0.2, 0.5
"""Snow has an NDSI above 0.2 + 0.5 × the probability of cloud: chosen on half of SPARCS, see `benchmarks/snow.py`."""

DARKEST_SNOW = 0.2
"""Reflectance of snow in green is above it; water, whose NDSI is high, too, is darker."""

THIN_CIRRUS = 0.012
"""Reflectance at 1.37 µm above which there is thin cirrus: Sen2Cor, Level-2A ATBD 2.10, section 3.3.4."""


def snow_index(green: NDArray[np.float32], swir1: NDArray[np.float32]) -> Mask:
    """NDSI in per cent, 0 to 100, of reflectance ``(h, w)``; 0 where green is too dark for snow, 255 without data."""
    with np.errstate(invalid="ignore", divide="ignore"):
        index = 100 * (green - swir1) / (green + swir1)
    index = np.where(green > DARKEST_SNOW, np.clip(index, 0, 100), 0)
    return np.where(np.isfinite(green) & np.isfinite(swir1), np.nan_to_num(np.rint(index)), NO_DATA).astype("uint8")


def thin_cirrus(cirrus: NDArray[np.float32]) -> Mask:
    """Reflectance at 1.37 µm ``(h, w)`` → 1 where there is thin cirrus, 255 without data."""
    return np.where(np.isfinite(cirrus), cirrus > THIN_CIRRUS, NO_DATA).astype("uint8")


LAYERS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], Mask]] = {
    "swir1": lambda reflectance, swir1: snow_index(reflectance[1], swir1),
    "cirrus": lambda _, cirrus: thin_cirrus(cirrus),
}
"""Functions by name of a band: reflectance ``(4, h, w)`` and that band ``(h, w)`` → a layer for `mark_snow` or
`mark_cirrus`."""


def mark_snow(read: ReadMask, *, grid: GeoBox, index: ReadMask, percent: ReadMask, as_class: bool) -> Rows:
    """The mask with snow as `SNOW`, or with cloud that is snow taken back to clear; shadow stays.

    ``index`` reads rows of `snow_index`, ``percent`` rows of the probability of cloud in per cent.
    """
    for first in range(0, grid.height, STRIP):
        rows = first, min(first + STRIP, grid.height)
        mask, seen = read(*rows), index(*rows)
        limit = 100 * LOWEST_INDEX + INDEX_BY_PROBABILITY * percent(*rows).astype("float32")
        snow = (seen != NO_DATA) & (seen > limit) & ((mask == CLOUD) | (mask == CLEAR))
        mask[snow if as_class else snow & (mask == CLOUD)] = SNOW if as_class else CLEAR
        yield first, mask


def mark_cirrus(read: ReadMask, *, grid: GeoBox, cirrus: ReadMask) -> Rows:
    """The mask with thin cirrus over clear ground as `CIRRUS`; ``cirrus`` reads rows of `thin_cirrus`."""
    for first in range(0, grid.height, STRIP):
        rows = first, min(first + STRIP, grid.height)
        mask = read(*rows)
        mask[(cirrus(*rows) == 1) & (mask == CLEAR)] = CIRRUS
        yield first, mask
