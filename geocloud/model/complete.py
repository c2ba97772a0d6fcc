"""Tiles as the networks see them: each value a number, also where there is no data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocloud.tiling.gaps import fill_gaps

Floats = NDArray[np.float32]


def complete(reflectance: Floats, clip: float | None, optional_nir: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Fills what is missing, as `geocloud.model.normalise` does after `fill_gaps`.

    Args:
        reflectance: Tiles ``(N, 4, H, W)``, NaN where there is no data.
        clip: Reflectance above it counts as it in means; None: no limit.
        optional_nir: Whether near-infrared may be missing: NaN all over an image.

    Returns:
        Reflectance ``(N, 4, H, W)``, contiguous, the same array if nothing is missing, and True for images without
        near-infrared ``(N,)``.
    """
    absent = np.zeros(len(reflectance), bool)
    if not np.isnan(reflectance.min()):  # the quickest look at all of them
        return np.ascontiguousarray(reflectance), absent
    filled = fill_gaps(reflectance)
    for index in range(len(filled)):
        if filled is reflectance:
            filled = reflectance.copy()
        tile = filled[index]
        if optional_nir and np.isnan(tile[3]).all():
            tile[3], absent[index] = tile[0], True
        missing = np.isnan(tile.sum(0))
        np.copyto(tile, 0, where=missing)
        total = (tile if clip is None else np.minimum(tile, clip)).sum((1, 2))
        np.copyto(tile, (total / max(1, (~missing).sum()))[:, None, None], where=missing)
    return np.ascontiguousarray(filled), absent
