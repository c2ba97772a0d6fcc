"""Makes the coastlines of a batch's report, ``geocloud/batch/page/coast.js``: ``python recipes/coast.py MAP OUT``.

MAP is a vector file of Natural Earth's countries or land, whose data are in the public domain
(https://www.naturalearthdata.com); the committed file is made of the layer ``countries`` that QGIS installs:
``python recipes/coast.py /usr/share/qgis/resources/data/world_map.gpkg geocloud/batch/page/coast.js``.
Rings are in twentieths of a degree: the first point, then the step from each point to the next.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import geopandas
import numpy as np
import shapely

TOLERANCE = 0.17
"""Degrees that a simplified coast may be off: a pixel or two of a map of a whole country."""

SMALLEST = 0.15
"""Square degrees: smaller islands are left out."""

HEAD = "// Coastlines, simplified from Natural Earth, public domain (naturalearthdata.com), by recipes/coast.py.\n"


def coast(path: str) -> list[list[int]]:
    """The outer rings of all land."""
    layer = "countries" if path.endswith(".gpkg") else None
    land = shapely.union_all(shapely.make_valid(geopandas.read_file(path, layer=layer).geometry.to_numpy()))
    parts = [part for part in shapely.get_parts(land) if part.geom_type == "Polygon" and part.area >= SMALLEST]
    rings = []
    for part in sorted(parts, key=lambda part: -part.area):
        points = shapely.get_coordinates(shapely.Polygon(part.exterior).simplify(TOLERANCE))
        steps = np.diff(np.rint(points * 20).astype(int), axis=0, prepend=0)[:-1]  # the last point is the first
        if len(steps) > 2:
            rings.append(steps.ravel().tolist())
    return rings


if __name__ == "__main__":
    rings = coast(sys.argv[1])
    Path(sys.argv[2]).write_text(f"{HEAD}report.coast({json.dumps(rings, separators=(',', ':'))});\n", encoding="utf-8")
    print(f"{len(rings)} rings, {sum(map(len, rings)) // 2} points, {Path(sys.argv[2]).stat().st_size} bytes")
