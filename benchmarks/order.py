"""How well pixels tell red from blue in four bands without names: ``python benchmarks/order.py DATA``.

Real scenes with near-infrared (`recipes/material.py`, both sides of the split), whole and in crops, through
`geocloud.readers.geotiff`. The order in the recipe's data is known: red first.
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
"""Sides of crops, which overlap by half."""


def parts(image: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """An image ``(4, h, w)``, whole and in crops."""
    yield "whole", image
    height, width = image.shape[1:]
    for side in CROPS:
        for row in range(0, height - side + 1, side // 2):
            for col in range(0, width - side + 1, side // 2):
                if (height, width) != (side, side):
                    yield "crops", image[:, row : row + side, col : col + side]


def main(data: Path) -> None:
    """Prints how many are told right, refused and told wrong."""
    worst = 0.0
    print("| set | | right | refused | wrong |\n|---|---|---|---|---|")
    for name in SETS:
        found: dict[str, list[int]] = {"whole": [0, 0, 0], "crops": [0, 0, 0]}
        for chip in map(SOURCES[name].read, SOURCES[name].paths(data)):
            for kind, image in parts(chip.pixels()):
                pixels = image[:, np.isfinite(image).all(0)]
                rise = compare_rises(pixels) if pixels.size else None
                told = 1 if rise is None or 1 / NO_DOUBT < rise < NO_DOUBT else 0 if rise > 1 else 2
                found[kind][told] += 1
                worst = max(worst, 1 / rise if rise else 0)
        for kind, counts in found.items():
            print(f"| {name} | {kind} | " + " | ".join(map(str, counts)) + " |")
    print(f"\nThe wrong band rises at most {worst:.2f} times as much as the right one; {NO_DOUBT} is needed.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
