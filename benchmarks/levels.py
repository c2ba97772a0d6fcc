"""Effect of decoding JPEG 2000 at half its resolution on masks: ``python benchmarks/levels.py DATA``.

Real labelled Sentinel-2 chips of 10 m (`weak` of `recipes/material.py`, not used in training) are written as lossless
JPEG 2000, and masked at full and at half resolution. Prints the Jaccard index of both over all pixels, and the
percentage of pixels with the same class.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.models.predictor import load_model
from geocloud.training.data.chips import CLOUD, UNKNOWN
from recipes.material import SOURCES, validation_chips

LOSSLESS = {"QUALITY": 100, "REVERSIBLE": "YES", "YCBCR420": "NO", "RESOLUTIONS": 6}


def main(data: Path) -> None:
    model, hits, either, same, pixels = load_model(), np.zeros(2), np.zeros(2), 0, 0
    for chip in validation_chips(SOURCES["weak"], data):
        height, width = (n // 2 * 2 for n in chip.reflectance.shape[1:])
        numbers = np.rint(np.nan_to_num(chip.reflectance[:, :height, :width]).clip(0, 6) * 1e4).astype("uint16")
        with rasterio.MemoryFile(ext=".jp2") as memory:
            about = {"driver": "JP2OpenJPEG", "dtype": "uint16", "count": 4, "height": height, "width": width}
            with memory.open(**about, **LOSSLESS) as dataset:
                dataset.write(numbers)
            with memory.open() as dataset:
                half = dataset.read(out_shape=(4, height // 2, width // 2)).repeat(2, 1).repeat(2, 2)
        masks = [
            model.predict_array(seen * np.float32(1e-4), pixel_size=10)[0] > model.threshold for seen in (numbers, half)
        ]
        truth = chip.target[0, :height, :width]
        known, cloud = truth != UNKNOWN, truth == CLOUD
        hits += [(mask & cloud & known).sum() for mask in masks]
        either += [((mask | cloud) & known).sum() for mask in masks]
        same, pixels = same + (masks[0] == masks[1]).sum(), pixels + truth.size
    whole, at_half = hits / either
    print(f"Jaccard {whole:.3f} from all pixels, {at_half:.3f} at half resolution; {same / pixels:.2%} alike")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
