"""Effect of stripes without data (Landsat 7 since 2003) on the pixels around them: ``python benchmarks/gaps.py DATA``.

Real Landsat 8 scenes (`biome` of `recipes/material.py`, both sides of the split) are masked whole and with stripes cut
out, with and without `geocloud.tiling.mosaic.fill_gaps`. Prints the percentage of the remaining pixels that keep their
class.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.models.predictor import load_model
from geocloud.tiling.mosaic import fill_gaps
from recipes.material import SOURCES

WIDTHS = (3, 8, 14)
"""Stripe widths in rows. In a scene the width grows from 0 at the centre to 14 at the edges, 33 rows apart."""


def main(data: Path) -> None:
    """Prints a Markdown table."""
    predictor = load_model()
    same, seen = np.zeros((len(WIDTHS), 2)), np.zeros((len(WIDTHS), 1))
    for chip in map(SOURCES["biome"].read, SOURCES["biome"].paths(data)):
        image = chip.pixels()
        whole = predictor.predict_array(image, pixel_size=30)[0] > predictor.threshold
        rows, cols = np.mgrid[: image.shape[1], : image.shape[2]]
        for row, width in enumerate(WIDTHS):
            gaps = (rows + 0.14 * cols) % 33 < width
            left = ~gaps & np.isfinite(image).all(0)
            seen[row] += left.sum()
            for col, fill in enumerate((lambda tiles: tiles, fill_gaps)):
                with patch("geocloud.models.predictor.fill_gaps", fill):
                    probability = predictor.predict_array(np.where(gaps, np.nan, image), pixel_size=30)[0]
                same[row, col] += ((probability > predictor.threshold) == whole)[left].sum()
    print("| stripes, rows | not filled | filled |\n|---|---|---|")
    for width, (without, filled) in zip(WIDTHS, 100 * same / seen, strict=True):
        print(f"| {width} | {without:.2f} % | {filled:.2f} % |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
