"""A second look at bright cloud: at pixels three times as large, and at red, green and blue alone.

Bright bare ground looks like cloud in near-infrared, which soil and cloud share, and in small pixels, to which its
surroundings are far away. The second look sees past both. Cloud is taken back where three things come together: it is
bright in red, as thin cloud over dark ground, which the second look may miss, is not, yet not so bright that it
saturates the sensor, as ground hardly ever does; the second look finds next to nothing; and so it does for most of the
cloud around.
What it gains is told in docs/training-log.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geocloud.tiling.average import average
from geocloud.tiling.model import Predict

Look = Callable[[NDArray[np.float32], Sequence[tuple[int, int]]], NDArray[np.float32]]
"""Tiles ``(N, 4, H, W)``, NaN where there is no data, and the row and column of the scene at which each begins →
probability ``(N, classes, H, W)``."""

COARSER = 3
"""Side in pixels of the squares that are averaged into the pixels of the second look."""

LARGEST = 45.0
"""Pixel size in metres up to which a model looks twice: at larger pixels the second look would miss small clouds."""

BRIGHT = 0.16
"""Reflectance in red above which cloud is doubted: soil is brightest there, thin cloud over dark ground in blue."""

FOUND = 0.1
"""Probability above which cloud is doubted."""

TIMES = 4.0
"""Cloud may be so many times as probable as the second look finds it, in the highest of the 3×3 pixels around."""

AROUND = 35
"""Side of the square, in pixels of the second look, most of whose cloud must be doubted for any to be taken back.

Single bright tops of a thin cloud would leave holes in it.
"""

PLATEAU = 1e-3
"""Share of a tile's pixels that have its highest value in a band if the sensor is saturated."""


def looks(predict: Predict, metres: float | None) -> Look:
    """How a model looks at tiles with pixels of this size in metres (None: unknown): once or twice."""
    once = not predict.looks_twice or (metres is not None and metres > LARGEST)
    return partial(look_once if once else look_twice, predict)


def look_once(
    predict: Predict, reflectance: NDArray[np.float32], starts: Sequence[tuple[int, int]]
) -> NDArray[np.float32]:
    """What the model finds: a `Look`."""
    return predict(reflectance)


def look_twice(
    predict: Predict, reflectance: NDArray[np.float32], starts: Sequence[tuple[int, int]]
) -> NDArray[np.float32]:
    """What the model finds, and finds again where it is doubted: a `Look`."""
    found = predict(reflectance)
    for tile, cloud, start in zip(reflectance, found[:, 0], starts, strict=True):
        # Squares, and the network's pools of them, begin where the scene does: tiles that overlap share them.
        unit = COARSER * predict.stride
        beyond = [(at % unit, -(at + size) % unit) for at, size in zip(start, cloud.shape, strict=True)]
        coarse = average(np.pad(tile[:3], [(0, 0), *beyond], "symmetric"), COARSER)
        first = np.pad(np.where(np.isnan(tile[0]), 0, cloud), beyond, "symmetric")[1::COARSER, 1::COARSER]  # centres
        bright = coarse[0] > BRIGHT
        if (bright & (first > FOUND)).any():
            most = TIMES * _highest_around(_look_again(predict, coarse))
            dazzling = np.pad(_saturated(tile[:3]), beyond, "symmetric").astype("float32")
            bright &= average(dazzling[None], COARSER)[0] == 0
            doubted = _sum_around(np.where(bright & (most < first), first, 0)) > _sum_around(first) / 2
            most = np.where(bright & (first > FOUND) & doubted, most, 1).astype("float32")
            inside = tuple(slice(before, before + size) for (before, _), size in zip(beyond, cloud.shape, strict=True))
            np.minimum(cloud, most.repeat(COARSER, 0).repeat(COARSER, 1)[inside], out=cloud)
    return found


def _saturated(bands: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a sensor is saturated in any band, ``(h, w)``: colours, all that a second look sees, are wrong there."""
    at_top = bands == np.fmax.reduce(bands, (1, 2), keepdims=True)
    return (at_top & (at_top.mean((1, 2), keepdims=True) > PLATEAU)).any(0)


def _look_again(predict: Predict, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Red, green and blue ``(3, h, w)`` → probability of cloud ``(h, w)``, 0 where there is no data."""
    missing = np.full_like(coarse[:1], np.nan)
    return np.where(np.isnan(coarse[0]), 0, predict(np.concatenate([coarse, missing])[None])[0, 0])


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
