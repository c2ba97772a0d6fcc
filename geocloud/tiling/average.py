"""Images averaged to larger pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average(fine: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """``(bands, h, w)`` → means over the valid ones of factor × factor pixels; NaN where none is valid."""
    bands, height, width = fine.shape
    rows = fine[:, ::factor].copy()
    for row in range(1, factor):  # five times as fast as summing over axes of a few elements
        rows += fine[:, row::factor]
    sums = rows[:, :, ::factor].copy()
    for col in range(1, factor):
        sums += rows[:, :, col::factor]
    sums /= factor**2
    gaps = np.isnan(sums)
    if gaps.any():
        parts = fine.reshape(bands, height // factor, factor, width // factor, factor).swapaxes(2, 3)[gaps]
        known = np.isfinite(parts).sum((1, 2))
        sums[gaps] = np.where(known > 0, np.nansum(parts, (1, 2)) / np.maximum(known, 1), np.nan)
    return sums
