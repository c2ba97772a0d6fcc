"""Removal of shadow that no cloud of the scene could throw, where the position of the sun is known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geocloud.grid import GeoBox
from geocloud.masks.codes import CLEAR, CLOUD, SHADOW, STRIP, ReadMask, Rows
from geocloud.raster import Sun

LOWEST, HIGHEST = 200.0, 5_000.0
"""Heights in metres between which clouds throw shadow that shows. Cirrus is higher, but its shadow is faint: with 12
km, more false shadow stays and hardly more of the true (see ``benchmarks/shadow_reach.py``)."""

CELL = 60.0
"""Metres of the cells in which clouds are followed."""

TOLERANCE = 300.0
"""Tolerance in metres around the projected shadow."""

AXIS, DIAGONAL = 0.414, 0.293
"""Half the lengths, as shares of the tolerance, of the lines along the axes and diagonals whose sum is an octagon."""


def drop_impossible(read: ReadMask, *, grid: GeoBox, sun: Sun, strip: int = STRIP) -> Rows:
    """The mask without shadow that no cloud in it could throw; it becomes clear.

    A shadow lies away from the sun, height / tan(elevation) from its cloud (flat ground). Clouds outside the scene are
    not known, so that their shadows on its edge are dropped, too.
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
    """Cells ``(h, w)`` with cloud → cells where its shadow may lie. ``cell``: rows and columns of a cell in pixels."""
    assert grid.pixel_size is not None
    down, right = _step(grid, sun)
    rows, cols = down / cell[0], right / cell[1]  # cells that the shadow moves for each metre along the ground
    finest = 1 / max(abs(rows), abs(cols))  # metres that move it by one cell
    nearest, farthest = (height / math.tan(math.radians(sun.elevation)) / finest for height in (LOWEST, HIGHEST))
    step = rows * finest, cols * finest
    size = min(n * metres for n, metres in zip(cell, grid.pixel_size, strict=True))
    margin = math.ceil(TOLERANCE / size) + 1  # so that what lies beyond the edge may still reach in
    found = _smear(_moved(np.pad(cloud, margin), step, nearest), step, math.ceil(farthest - nearest) + 1)
    for row, col, share in (1, 0, AXIS), (0, 1, AXIS), (1, 1, DIAGONAL), (1, -1, DIAGONAL):
        count = math.ceil(share * TOLERANCE / size) + 1
        found = _smear(found, (row, col), count) | _smear(found, (-row, -col), count)
    return found[margin:-margin, margin:-margin]


def _smear(cells: NDArray[np.bool_], step: tuple[float, float], count: int) -> NDArray[np.bool_]:
    """Cells, and the same moved by 1 to ``count`` − 1 steps, all together; doubled until they are as many."""
    found, done = cells, 1
    while done < count:
        more = min(done, count - done)
        found = found | _moved(found, step, more)
        done += more
    return found


def _moved(cells: NDArray[np.bool_], step: tuple[float, float], times: float) -> NDArray[np.bool_]:
    """Cells moved by whole rows and columns; what leaves the array is lost."""
    row, col = round(step[0] * times), round(step[1] * times)
    moved = np.zeros_like(cells)
    height, width = cells.shape
    if abs(row) < height and abs(col) < width:
        here = np.s_[max(row, 0) : height + min(row, 0), max(col, 0) : width + min(col, 0)]
        moved[here] = cells[max(-row, 0) : height - max(row, 0), max(-col, 0) : width - max(col, 0)]
    return moved


def _step(grid: GeoBox, sun: Sun) -> tuple[float, float]:
    """Rows and columns by which a shadow moves for each metre along the ground; of a grid whose axes are square."""
    assert grid.pixel_size is not None
    away, t = math.radians(sun.azimuth + 180), grid.transform
    east, north = math.sin(away), math.cos(away)
    along_rows = (east * t.b + north * t.e) / math.hypot(t.b, t.e)
    along_cols = (east * t.a + north * t.d) / math.hypot(t.a, t.d)
    return along_rows / grid.pixel_size[0], along_cols / grid.pixel_size[1]


def _any(cloud: NDArray[np.bool_], cell: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells with any cloud, of rows that begin with a cell. Axis by axis: both at once take seven times as long."""
    height, width = cloud.shape
    whole = np.pad(cloud, ((0, -height % cell[0]), (0, -width % cell[1])))
    rows = np.logical_or.reduce(whole.reshape(-1, cell[0], whole.shape[1]), 1)
    cells: NDArray[np.bool_] = np.logical_or.reduce(rows.reshape(len(rows), -1, cell[1]), 2)
    return cells
