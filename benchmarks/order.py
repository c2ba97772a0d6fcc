"""Accuracy of detecting red and blue in four unnamed bands: ``python benchmarks/order.py DATA``.

Applies `geocloud.readers.geotiff` to real scenes with near-infrared (`recipes/material.py`, both sides of the split),
whole and in crops. In these scenes red is the first band.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.readers.geotiff import NO_DOUBT, compare_rises
from recipes.material import SOURCES

SETS = ("biome", "taught", "chips", "clear", "weak")
CROPS = (256, 128)
"""Heights and widths of crops in pixels. Crops overlap by half."""


def parts(image: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """An image ``(4, h, w)`` and its crops, each with its kind."""
    yield "whole", image
    height, width = image.shape[1:]
    for side in CROPS:
        for row in range(0, height - side + 1, side // 2):
            for col in range(0, width - side + 1, side // 2):
                if (height, width) != (side, side):
                    yield "crops", image[:, row : row + side, col : col + side]


def main(data: Path) -> None:
    """Prints how many images are detected right, refused and detected wrong."""
    worst = 0.0
    print("| set | | right | refused | wrong |\n|---|---|---|---|---|")
    for name in SETS:
        counts: dict[str, list[int]] = {"whole": [0, 0, 0], "crops": [0, 0, 0]}
        for chip in map(SOURCES[name].read, SOURCES[name].paths(data)):
            for kind, image in parts(chip.pixels()):
                pixels = image[:, np.isfinite(image).all(0)]
                rise = compare_rises(pixels) if pixels.size else None
                outcome = 1 if rise is None or 1 / NO_DOUBT < rise < NO_DOUBT else 0 if rise > 1 else 2
                counts[kind][outcome] += 1
                worst = max(worst, 1 / rise if rise else 0)
        for kind, numbers in counts.items():
            print(f"| {name} | {kind} | " + " | ".join(map(str, numbers)) + " |")
    print(f"\nMaximum ratio of the wrong band's rise to the right one's: {worst:.2f}; accepted from {NO_DOUBT}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
