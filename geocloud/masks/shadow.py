"""Removal of shadow that no cloud of the scene can cast, if the position of the sun is known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geocloud.grid import GeoBox
from geocloud.masks.codes import CLEAR, CLOUD, SHADOW, STRIP, ReadMask, Rows
from geocloud.raster import Sun

LOWEST, HIGHEST = 200.0, 5_000.0
"""Range of heights in metres of clouds with visible shadow. Cirrus is higher, but its shadow is faint: a limit of 12 km
keeps more false shadow, but hardly more true shadow (see ``benchmarks/shadow_reach.py``)."""

CELL = 60.0
"""Approximate side in metres of the cells in which shadows are projected."""

TOLERANCE = 300.0
"""Tolerance in metres around the projected shadow."""

AXIS, DIAGONAL = 0.414, 0.293
"""Half-lengths of lines along axes and diagonals, whose sum is an octagon, relative to the tolerance."""


def drop_impossible(read: ReadMask, *, grid: GeoBox, sun: Sun, strip: int = STRIP) -> Rows:
    """The mask with shadow that no cloud in it can cast set to clear.

    A shadow lies away from the sun, height / tan(elevation) from its cloud (on flat ground). Clouds outside the scene
    are unknown, so their shadows at its edge are removed, too.
    """
    assert grid.pixel_size is not None
    cell = max(1, round(CELL / grid.pixel_size[0])), max(1, round(CELL / grid.pixel_size[1]))
    rows = max(strip // cell[0], 1) * cell[0]
    edges = [(first, min(first + rows, grid.height)) for first in range(0, grid.height, rows)]
    possible = reach(np.concatenate([_any(read(*edge) == CLOUD, cell) for edge in edges]), grid, sun, cell)
    for first, last in edges:
        mask = read(first, last)
        cells = possible[first // cell[0] :][: math.ceil(len(mask) / cell[0])]
        here = cells.repeat(cell[1], 1).repeat(cell[0], 0)[: len(mask), : grid.width]
        np.copyto(mask, CLEAR, where=(mask == SHADOW) & ~here)
        yield first, mask


def reach(cloud: NDArray[np.bool_], grid: GeoBox, sun: Sun, cell: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells ``(h, w)`` with cloud → cells where its shadow can lie. ``cell``: rows and columns of a cell in pixels."""
    assert grid.pixel_size is not None
    down, right = _step(grid, sun)
    rows, cols = down / cell[0], right / cell[1]  # movement of the shadow in cells per metre along the ground
    finest = 1 / max(abs(rows), abs(cols))  # metres in which it moves by one cell
    nearest, farthest = (height / math.tan(math.radians(sun.elevation)) / finest for height in (LOWEST, HIGHEST))
    step = rows * finest, cols * finest
    size = min(n * metres for n, metres in zip(cell, grid.pixel_size, strict=True))
    margin = math.ceil(TOLERANCE / size) + 1  # shadow beyond the edge can reach back inside
    possible = _smear(_moved(np.pad(cloud, margin), step, nearest), step, math.ceil(farthest - nearest) + 1)
    for row, col, share in (1, 0, AXIS), (0, 1, AXIS), (1, 1, DIAGONAL), (1, -1, DIAGONAL):
        count = math.ceil(share * TOLERANCE / size) + 1
        possible = _smear(possible, (row, col), count) | _smear(possible, (-row, -col), count)
    return possible[margin:-margin, margin:-margin]


def _smear(cells: NDArray[np.bool_], step: tuple[float, float], count: int) -> NDArray[np.bool_]:
    """Union of the cells moved by 0 to ``count`` − 1 steps, computed by doubling."""
    union, done = cells, 1
    while done < count:
        more = min(done, count - done)
        union = union | _moved(union, step, more)
        done += more
    return union


def _moved(cells: NDArray[np.bool_], step: tuple[float, float], times: float) -> NDArray[np.bool_]:
    """Cells moved by whole rows and columns; those that leave the array are dropped."""
    row, col = round(step[0] * times), round(step[1] * times)
    moved = np.zeros_like(cells)
    height, width = cells.shape
    if abs(row) < height and abs(col) < width:
        here = np.s_[max(row, 0) : height + min(row, 0), max(col, 0) : width + min(col, 0)]
        moved[here] = cells[max(-row, 0) : height - max(row, 0), max(-col, 0) : width - max(col, 0)]
    return moved


def _step(grid: GeoBox, sun: Sun) -> tuple[float, float]:
    """Rows and columns by which a shadow moves per metre along the ground, on a grid with perpendicular axes."""
    assert grid.pixel_size is not None
    away, t = math.radians(sun.azimuth + 180), grid.transform
    east, north = math.sin(away), math.cos(away)
    along_rows = (east * t.b + north * t.e) / math.hypot(t.b, t.e)
    along_cols = (east * t.a + north * t.d) / math.hypot(t.a, t.d)
    return along_rows / grid.pixel_size[0], along_cols / grid.pixel_size[1]


def _any(cloud: NDArray[np.bool_], cell: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells that contain cloud; the first row begins a cell. Axis by axis: both at once takes seven times as long."""
    height, width = cloud.shape
    whole = np.pad(cloud, ((0, -height % cell[0]), (0, -width % cell[1])))
    rows = np.logical_or.reduce(whole.reshape(-1, cell[0], whole.shape[1]), 1)
    cells: NDArray[np.bool_] = np.logical_or.reduce(rows.reshape(len(rows), -1, cell[1]), 2)
    return cells
