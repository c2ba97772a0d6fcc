"""A small map of a batch's scenes, as SVG: where they are, and how cloudy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geocloud.batch.state import DONE, Entries

SHADES = ("#2b6ca8", "#6fa3cc", "#b9b6b0", "#e39a5f", "#d55e00", "#8a929b")
"""Colours of 0-20 %, 20-40 % … cloud; the last one: not known."""
WIDTH, HEIGHT, MARGIN = 880, 500, 24
"""Largest size of the picture, and its margin, in pixels."""
OUTLINES = 2000
"""Scenes that are shown by their outlines; more of them by the mean of cells."""
CELL = 4
"""Pixels of a cell's side."""
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
"""Degrees between the lines of the graticule."""
STYLE = (
    "text{font:11px sans-serif;fill:#54616e}.edge{stroke:#0007;stroke-width:.7;fill-opacity:.8}.grid{stroke:#8a929b66}"
    "@media(prefers-color-scheme:dark){text{fill:#a5b2bf}}"
)


def overview(entries: Entries) -> str | None:
    """The finished scenes in longitude and latitude, coloured by cloud percentage; None if no footprint is known."""
    outlined = entries.counts()[DONE] <= OUTLINES
    shapes, clouds = [], []
    for row in entries.rows("key, name, state, footprint, cloud_percent", "footprint IS NOT NULL"):
        if row["state"] == DONE:
            shape = shapely.from_geojson(row["footprint"])
            parts = shapely.get_parts(shape) if outlined else [shapely.box(*shape.bounds)]
            shapes += list(parts)
            clouds += [np.nan if row["cloud_percent"] is None else row["cloud_percent"]] * len(parts)
    if not shapes:
        return None
    left, bottom, right, top = shapely.total_bounds(np.array(shapes))
    squeeze = max(0.2, np.cos(np.deg2rad((bottom + top) / 2)))
    spread = max((right - left) * squeeze, 1e-6), max(top - bottom, 1e-6)
    scale = min((WIDTH - 2 * MARGIN) / spread[0], (HEIGHT - 2 * MARGIN) / spread[1])  # pixels in a degree of latitude
    width, height = (int(scale * side) + 2 * MARGIN for side in spread)

    def placed(lonlat: Any) -> NDArray[np.float64]:
        return (np.asarray(lonlat) - [left, top]) * [scale * squeeze, -scale] + MARGIN

    paths: dict[str, str] = dict.fromkeys(SHADES, "")
    if outlined:
        for shape, cloud in zip(shapes, clouds, strict=True):
            points = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed(shapely.get_coordinates(shape)))
            paths[_shade(cloud)] += f"M{points}z"
    else:
        bounds = shapely.bounds(np.array(shapes))
        boxes = np.hstack([placed(bounds[:, [0, 3]]), placed(bounds[:, [2, 1]])])
        for top_row, col, cloud in _cells(boxes, np.array(clouds), (height, width)):
            paths[_shade(cloud)] += f"M{col} {top_row}h{CELL}v{CELL}h-{CELL}z"
    filled = (f'<path fill="{shade}" d="{path}"/>' for shade, path in paths.items() if path)
    step = next((s for s in STEPS if s * scale > WIDTH / 6), STEPS[-1])
    grid = []
    for lon in np.arange(np.ceil(left / step), right / step + 0.01) * step:
        x = placed([lon, top])[0]
        grid.append(f'<path class="grid" d="M{x:.1f} 0V{height}"/>')
        grid.append(f'<text x="{x + 3:.1f}" y="{height - 5}">{_degrees(lon, "EW")}</text>')
    for lat in np.arange(np.ceil(bottom / step), top / step + 0.01) * step:
        y = placed([left, lat])[1]
        grid.append(f'<path class="grid" d="M0 {y:.1f}H{width}"/>')
        grid.append(f'<text x="3" y="{y - 3:.1f}">{_degrees(lat, "NS")}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><style>{STYLE}</style>'
        f"<g class={'edge' if outlined else 'cells'!r}>{''.join(filled)}</g>{''.join(grid)}</svg>\n"
    )


def _shade(cloud: float) -> str:
    return SHADES[-1] if np.isnan(cloud) else SHADES[min(4, int(cloud // 20))]


def _degrees(value: float, ends: str) -> str:
    return f"{abs(round(value, 2)):g}°{ends[int(value < 0)] if value else ''}"


def _cells(
    boxes: NDArray[np.float64], clouds: NDArray[np.float64], size: tuple[int, int]
) -> Iterator[tuple[int, int, float]]:
    """Row and column in pixels and mean cloud of the cells in boxes, whose rows are left, top, right and bottom."""
    total, known, seen = (np.zeros((size[0] // CELL + 1, size[1] // CELL + 1)) for _ in range(3))
    for (left, top, right, bottom), cloud in zip((boxes / CELL).astype(int), clouds, strict=True):
        here = slice(top, bottom + 1), slice(left, right + 1)
        seen[here] = 1
        if not np.isnan(cloud):
            total[here] += cloud
            known[here] += 1
    mean = np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)
    yield from ((row * CELL, col * CELL, mean[row, col]) for row, col in zip(*np.nonzero(seen), strict=True))
