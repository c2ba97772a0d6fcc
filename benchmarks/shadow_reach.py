"""Gain from dropping geometrically impossible shadow: ``python benchmarks/shadow_reach.py DATA [MODEL]``.

Scores cloud shadow on the validation scenes of SPARCS, as predicted and after `geocloud.masks.shadow.reach`. SPARCS
lacks the sun's position, which is computed from the path, row and day of each scene, at 10:12 local time.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.grid import GeoBox
from geocloud.masks import shadow as geometry
from geocloud.masks.shadow import HIGHEST, reach
from geocloud.models.predictor import load_model
from geocloud.raster import Sun
from geocloud.training.metrics import Confusion
from geocloud.training.train import probabilities
from recipes.material import SOURCES, validation_chips

THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
HEIGHTS = (HIGHEST, 12_000.0)
"""Maximum heights in metres of clouds that cast shadow: that of `geocloud mask`, and that of cirrus."""

LOCAL_TIME = 10.2
CELL = 2
"""Side of a cell in pixels of 30 m."""


def sun_of(name: str) -> Sun:
    """Position of the sun over a scene, from its ID LC8ppprrryyyyddd.

    Latitude: WRS-2 has 248 rows per orbit, row 60 at the equator, inclination 98.2°. Declination: Spencer 1971.
    """
    match = re.match(r"LC8\d{3}(\d{3})\d{4}(\d{3})", name)
    assert match
    row, day = int(match[1]), int(match[2])
    latitude = -math.asin(math.sin(math.radians((row - 60) * 360 / 248)) * math.sin(math.radians(98.2)))
    g = 2 * math.pi * (day - 1 + (LOCAL_TIME - 12) / 24) / 365
    declination = (
        0.006918 - 0.399912 * math.cos(g) + 0.070257 * math.sin(g) - 0.006758 * math.cos(2 * g)
        + 0.000907 * math.sin(2 * g)
    )  # fmt: skip
    hour = math.radians(15 * (LOCAL_TIME - 12))
    up = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(hour)
    east = -math.sin(hour) * math.cos(declination)
    north = math.sin(declination) * math.cos(latitude) - math.cos(declination) * math.sin(latitude) * math.cos(hour)
    return Sun(math.degrees(math.asin(up)), math.degrees(math.atan2(east, north)) % 360)


def possible(cloud: NDArray[np.bool_], sun: Sun, highest: float) -> NDArray[np.bool_]:
    """Mask ``(h, w)``, True where the cloud ``(h, w)`` can cast shadow."""
    height, width = cloud.shape
    whole = np.pad(cloud, ((0, -height % CELL), (0, -width % CELL)))
    cells = whole.reshape(len(whole) // CELL, CELL, -1, CELL).any((1, 3))
    grid = GeoBox(*cloud.shape, Affine(30, 0, 5e5, 0, -30, 5e6), CRS.from_epsg(32631))
    with patch.object(geometry, "HIGHEST", highest):
        within: NDArray[np.bool_] = np.kron(reach(cells, grid, sun, (CELL, CELL)), np.ones((CELL, CELL), bool))
    return within[:height, :width]


def main(data: Path, model: str = "fast") -> None:
    """Prints precision and recall at several thresholds."""
    predictor = load_model(model)
    ways = (None, *HEIGHTS)
    scores = {(threshold, way): Confusion() for threshold in THRESHOLDS for way in ways}
    for chip in validation_chips(SOURCES["sparcs"], data):
        probability = probabilities(predictor, chip)
        cloud = probability[0] > predictor.threshold
        sun = sun_of(chip.name)
        within = {way: np.ones_like(cloud) if way is None else possible(cloud, sun, way) for way in ways}
        for threshold in THRESHOLDS:
            shadow = (probability[1] > threshold) & ~cloud
            for way in ways:
                scores[threshold, way] += Confusion.of(shadow & within[way], chip.shadow, chip.shadow_known)
    print("| threshold | precision, recall | with clouds up to 5 km | up to 12 km |\n|---|---|---|---|")
    for threshold in THRESHOLDS:
        pairs = (scores[threshold, way] for way in ways)
        print(
            f"| {threshold:g} | "
            + " | ".join("{precision:.2f}, {recall:.2f}".format(**c.scores()) for c in pairs)
            + " |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
