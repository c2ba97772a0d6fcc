"""Area-weighted averages over larger pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

ROUNDING = 1e-6
"""Part of a pixel that is the rounding error of a ratio of pixel sizes."""


def average(fine: Array, factor: float) -> Array:
    """Average an image to pixels ``factor`` times as large, each pixel weighted by the area that it shares with them.

    Args:
        fine: ``(bands, h, w)``; NaN where there is no data.
        factor: Ratio of the pixel sizes, at least 1; it need not be an integer.

    Returns:
        ``(bands, ceil(h / factor), ceil(w / factor))``: means over the valid part of each pixel, NaN where nothing is
        valid. The last row and column may extend beyond the image.
    """
    rows, cols = (coarse_size(size, factor) for size in fine.shape[1:])
    return average_rows(fine, (factor, factor), (0, rows), cols)


def coarse_size(size: int, factor: float) -> int:
    """Number of pixels ``factor`` times as large that cover ``size`` pixels."""
    return math.ceil(size / factor - ROUNDING)


def average_rows(fine: Array, factors: tuple[float, float], rows: tuple[int, int], cols: int, start: int = 0) -> Array:
    """Average to the coarse rows from ``rows[0]`` to ``rows[1]`` (exclusive).

    ``factors`` are the ratios of the pixels' heights and widths; the first row of ``fine`` is row ``start`` of the
    image.
    """
    total = _sums(fine, factors, rows, cols, start)
    area = _sums(np.ones((1, fine.shape[1], 1), "float32"), (factors[0], 1), rows, 1, start)
    area = area * _sums(np.ones((1, 1, fine.shape[2]), "float32"), (1, factors[1]), (0, 1), cols, 0)
    gaps = np.isnan(total)
    if gaps.any():
        valid = ~np.isnan(fine)
        total = _sums(np.where(valid, fine, np.float32(0)), factors, rows, cols, start)
        area = _sums(valid.astype("float32"), factors, rows, cols, start)
        total[area <= ROUNDING] = np.nan
    total /= np.maximum(area, ROUNDING)
    return total


def _sums(values: Array, factors: tuple[float, float], rows: tuple[int, int], cols: int, start: int) -> Array:
    tall = _sum(values, 1, factors[0], rows, start)
    return _sum(tall, 2, factors[1], (0, cols), 0)


def _sum(values: Array, axis: int, factor: float, coarse: tuple[int, int], start: int) -> Array:
    """Sum values along an axis over the extents of coarse pixels, weighted by the part of each that lies inside."""
    edges = np.arange(coarse[0], coarse[1] + 1) * factor - start
    edges = np.where(np.abs(edges - np.rint(edges)) < ROUNDING * np.maximum(1, edges), np.rint(edges), edges)
    first, size = np.floor(edges[:-1]).astype(int), values.shape[axis]
    before, along = (slice(None),) * axis, (-1,) + (1,) * (values.ndim - 1 - axis)
    total: Array | None = None
    for step in range(math.ceil(factor) + 1):
        at = first + step
        weight = np.minimum(edges[1:], at + 1) - np.maximum(edges[:-1], at)
        weight = np.where(at < size, np.maximum(weight, 0), 0).astype("float32")
        if not weight.any():
            continue
        if (weight == 1).all() and factor == int(factor):  # five times as fast
            part = values[(*before, slice(at[0], at[-1] + 1, int(factor)))]
        else:
            part = values.take(np.minimum(at, size - 1), axis) * weight.reshape(along)
        total = part.copy() if total is None else np.add(total, part, out=total)
    assert total is not None, "each coarse pixel covers part of the image"
    return total
