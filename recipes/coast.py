"""Makes the coastlines of a batch's report, ``geocloud/batch/page/coast.js``: ``python recipes/coast.py MAP OUT``.

MAP is a vector file of Natural Earth's countries or land, whose data are in the public domain
(https://www.naturalearthdata.com); the committed file is made of the layer ``countries`` that QGIS installs:
``python recipes/coast.py /usr/share/qgis/resources/data/world_map.gpkg geocloud/batch/page/coast.js``.
Rings are polylines encoded by Google's algorithm: steps from point to point in fiftieths of a degree, longitude first,
five bits a letter (https://developers.google.com/maps/documentation/utilities/polylinealgorithm).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import geopandas
import numpy as np
import shapely

TOLERANCE = 0.085
"""Degrees that a simplified coast may be off."""

SMALLEST = 0.04
"""Square degrees: smaller islands are left out."""

UNITS = 50
"""Steps to a degree."""

HEAD = "// Coastlines, simplified from Natural Earth, public domain (naturalearthdata.com), by recipes/coast.py.\n"


def coast(path: str) -> list[str]:
    """The outer rings of all land, the largest first."""
    layer = "countries" if path.endswith(".gpkg") else None
    land = shapely.union_all(shapely.make_valid(geopandas.read_file(path, layer=layer).geometry.to_numpy()))
    parts = [part for part in shapely.get_parts(land) if part.geom_type == "Polygon" and part.area >= SMALLEST]
    rings = []
    for part in sorted(parts, key=lambda part: -part.area):
        points = shapely.get_coordinates(shapely.Polygon(part.exterior).simplify(TOLERANCE))
        steps = np.diff(np.rint(points * UNITS).astype(int), axis=0, prepend=0)[:-1]  # the last point is the first
        if len(steps) > 2:
            rings.append("".join(letters(int(step)) for step in steps.ravel()))
    return rings


def letters(step: int) -> str:
    """A step: its sign in the lowest bit, then five bits a letter, with a sixth where more follow."""
    rest = ~(step << 1) if step < 0 else step << 1
    found = ""
    while rest >= 32:
        found += chr(63 + (32 | rest & 31))
        rest >>= 5
    return found + chr(63 + rest)


if __name__ == "__main__":
    rings = coast(sys.argv[1])
    Path(sys.argv[2]).write_text(f"{HEAD}report.coast({json.dumps(rings, separators=(',', ':'))});\n", encoding="utf-8")
    print(f"{len(rings)} rings, {Path(sys.argv[2]).stat().st_size} bytes")
