"""A small map of a batch's scenes, as SVG: where they are, and how cloudy."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geocloud.batch.state import DONE, STATE, Entries

SHADES = ("#2b6ca8", "#6fa3cc", "#b9b6b0", "#e39a5f", "#d55e00", "#8a929b")
"""Colours of 0-20 %, 20-40 % … cloud; the last one: not known."""
WIDTH, HEIGHT, MARGIN = 880, 500, 24
"""Largest size of the picture, and its margin, in pixels."""
OUTLINES = 2000
"""Scenes that are shown by their outlines; more of them by the mean of cells."""
ROWS = 10_000
"""Footprints that are parsed at a time."""
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
"""Degrees between the lines of the graticule."""
STYLE = (
    "text{font:11px sans-serif;fill:#54616e}.edge{stroke:#0007;stroke-width:.7;fill-opacity:.8}.grid{stroke:#8a929b66}"
    "@media(prefers-color-scheme:dark){text{fill:#a5b2bf}}"
)


def overview(entries: Entries) -> str | None:
    """The finished scenes in longitude and latitude, coloured by cloud percentage; None if no footprint is known."""
    rows = entries.rows((*STATE, "footprint", "cloud_percent"), "footprint IS NOT NULL")
    done = ((row["footprint"], row["cloud_percent"]) for row in rows if row["state"] == DONE)
    is_outlined, boxes, covers = entries.counts()[DONE] <= OUTLINES, [np.empty((0, 4))], [np.empty(0)]
    outlines: list[tuple[Any, float]] = []
    while some := list(islice(done, ROWS)):
        shapes, clouds = shapely.from_geojson([text for text, _ in some]), np.array([c for _, c in some], float)
        boxes.append(shapely.bounds(shapes))
        covers.append(clouds)
        parts, of = shapely.get_parts(shapes, return_index=True)
        outlines += zip(parts, clouds[of], strict=True) if is_outlined else []
    bounds, cover = np.concatenate(boxes), np.concatenate(covers)
    if not len(bounds):
        return None
    (left, bottom), (right, top) = bounds[:, :2].min(0), bounds[:, 2:].max(0)
    squeeze = max(0.2, np.cos(np.deg2rad((bottom + top) / 2)))
    spread = max((right - left) * squeeze, 1e-6), max(top - bottom, 1e-6)
    scale = min((WIDTH - 2 * MARGIN) / spread[0], (HEIGHT - 2 * MARGIN) / spread[1])  # pixels in a degree of latitude
    width, height = (int(scale * side) + 2 * MARGIN for side in spread)

    def placed(lonlat: Any) -> NDArray[np.float64]:
        return (np.asarray(lonlat) - [left, top]) * [scale * squeeze, -scale] + MARGIN

    paths = dict.fromkeys(SHADES, "")
    for part, cloud in outlines:
        points = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed(shapely.get_coordinates(part)))
        paths[_shade(cloud)] += f"M{points}z"
    if not is_outlined:  # cells as large as scenes, with their mean cloud
        low, high = placed(bounds[:, :2]), placed(bounds[:, 2:])
        size = int(np.clip(np.median(np.abs(high - low)), 3, 40))
        cells, of = np.unique((low + high) / 2 // size, axis=0, return_inverse=True)
        known = ~np.isnan(cover)
        with np.errstate(invalid="ignore"):
            means = np.bincount(of[known], cover[known], len(cells)) / np.bincount(of[known], minlength=len(cells))
        for (col, row), mean in zip(cells * size, means, strict=True):
            paths[_shade(mean)] += f"M{col:.0f} {row:.0f}h{size}v{size}h-{size}z"
    filled = "".join(f'<path fill="{shade}" d="{path}"/>' for shade, path in paths.items() if path)
    step, grid = next((s for s in STEPS if s * scale > WIDTH / 6), STEPS[-1]), ""
    for lon in np.arange(np.ceil(left / step), right / step + 0.01) * step:
        x = placed([lon, top])[0]
        grid += f'<path class="grid" d="M{x:.1f} 0V{height}"/>'
        grid += f'<text x="{x + 3:.1f}" y="{height - 5}">{_degrees(lon, "EW")}</text>'
    for lat in np.arange(np.ceil(bottom / step), top / step + 0.01) * step:
        y = placed([left, lat])[1]
        grid += f'<path class="grid" d="M0 {y:.1f}H{width}"/><text x="3" y="{y - 3:.1f}">{_degrees(lat, "NS")}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><style>{STYLE}</style>'
        f"<g class={'edge' if is_outlined else 'cells'!r}>{filled}</g>{grid}</svg>\n"
    )


def _shade(cloud: float) -> str:
    return SHADES[-1] if np.isnan(cloud) else SHADES[min(4, int(cloud // 20))]


def _degrees(value: float, ends: str) -> str:
    return f"{abs(round(value, 2)):g}°{ends[int(value < 0)] if value else ''}"
