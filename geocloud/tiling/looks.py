"""A second look at bright cloud: at pixels three times as large, and at red, green and blue alone.

Bright bare ground looks like cloud in near-infrared, which soil and cloud share, and in small pixels, to which its
surroundings are far away. The second look sees past both, and takes back cloud where it finds next to nothing itself.
Thin cloud it may miss, but thin cloud is dark. What it gains is told in docs/training-log.md.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from geocloud.tiling.average import average
from geocloud.tiling.model import Function, Predict

COARSER = 3
"""Side in pixels of the squares that are averaged into the pixels of the second look."""

LARGEST = 45.0
"""Pixel size in metres up to which a model looks twice: at larger pixels the second look would miss small clouds."""

BRIGHT = 0.13
"""Reflectance in the darkest of red, green and blue above which cloud is doubted."""

FOUND = 0.1
"""Probability above which there is something to doubt."""

TIMES = 8.0
"""How often the probability of the second look, the highest of the 3×3 pixels around, may be that of the first."""

AROUND = 21
"""Side of the square, in pixels of the second look, most of whose cloud must be doubted for any to be taken back.

Single bright tops of a thin cloud would leave holes in it.
"""


def looks(predict: Predict, metres: float | None) -> Function:
    """How a model looks at tiles with pixels of this size in metres (None: unknown): once or twice."""
    once = not predict.looks_twice or (metres is not None and metres > LARGEST)
    return predict if once else partial(look_twice, predict)


def look_twice(predict: Predict, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``."""
    found = predict(reflectance)
    for tile, cloud in zip(reflectance, found[:, 0], strict=True):
        height, width = cloud.shape
        rows, cols = height // COARSER, width // COARSER
        coarse = average(tile[:3, : rows * COARSER, : cols * COARSER], COARSER)
        bright, first = coarse.min(0) > BRIGHT, cloud[1::COARSER, 1::COARSER][:rows, :cols]
        if (bright & (first > FOUND)).any():
            most = TIMES * _highest_around(_look_again(predict, coarse))
            doubted = _sum_around(np.where(bright & (most < first), first, 0)) > _sum_around(first) / 2
            most = np.where(bright & doubted, most, 1).astype("float32")
            most = np.pad(most, ((0, 1), (0, 1)), "edge")  # the last pixels may be fewer than a square
            np.minimum(cloud, most.repeat(COARSER, 0).repeat(COARSER, 1)[:height, :width], out=cloud)
    return found


def _look_again(predict: Predict, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Red, green and blue ``(3, h, w)`` → probability of cloud ``(h, w)``."""
    rows, cols = coarse.shape[1:]
    seen = np.pad(coarse, ((0, 0), (0, -rows % predict.stride), (0, -cols % predict.stride)), "edge")
    seen = np.concatenate([seen, np.full_like(seen[:1], np.nan)])
    return predict(seen[None])[0, 0, :rows, :cols]


def _highest_around(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest of the 3×3 pixels around each."""
    for _ in range(2):
        highest = values.copy()
        np.maximum(highest[1:], values[:-1], out=highest[1:])
        np.maximum(highest[:-1], values[1:], out=highest[:-1])
        values = highest.T
    return values


def _sum_around(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of the `AROUND` × `AROUND` pixels around each."""
    for _ in range(2):
        sums = np.cumsum(np.pad(values, ((AROUND // 2 + 1, AROUND // 2), (0, 0))), 0)
        values = (sums[AROUND:] - sums[:-AROUND]).T
    return values
