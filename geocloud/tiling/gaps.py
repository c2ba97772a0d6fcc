"""Narrow gaps in the data, such as the stripes that Landsat 7 leaves since its scan-line corrector failed in 2003."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDEST = 16
"""Rows of the widest gap that is filled; Landsat 7's are at most 14 wide, at the edges of a scene."""


def fill_gaps(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tiles ``(N, 4, H, W)`` whose narrow gaps hold the values of the nearest row in the same column, for the network.

    A gap is NaN in red, has data above and below, and is at most `WIDEST` rows high; all other NaN stay. The mask
    keeps gaps as no data: filling only spares their surroundings. Tiles without gaps are returned as they are.
    """
    filled = reflectance
    for index, tile in enumerate(reflectance):
        missing = np.isnan(tile[0])
        ends, begins = missing[1:] & ~missing[:-1], missing[:-1] & ~missing[1:]
        between = np.flatnonzero(ends.any(0) & begins.any(0))  # columns whose data end and begin again, or the reverse
        source, within = _nearest_rows(missing[:, between])
        if within.any():
            filled = reflectance.copy() if filled is reflectance else filled
            rows, cols = np.nonzero(within)
            filled[index][:, rows, between[cols]] = tile[:, source[rows, cols], between[cols]]
    return filled


def _nearest_rows(missing: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """For each pixel the nearest row with data in its column, and whether it lies in a narrow gap, both ``(H, W)``."""
    height = missing.shape[0]
    rows = np.arange(height, dtype="int32")[:, None]
    above = np.maximum.accumulate(np.where(missing, -1, rows), axis=0)
    below = np.minimum.accumulate(np.where(missing, height, rows)[::-1], axis=0)[::-1]
    within = missing & (above >= 0) & (below < height) & (below - above <= WIDEST + 1)
    return np.where(rows - above <= below - rows, above, below), within
