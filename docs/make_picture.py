"""Makes the README's picture: a sample scene beside its mask.

python docs/make_picture.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

import geocloud
from geocloud.io import gdal
from geocloud.readers import read_filled
from geocloud.writers.styles import CLOUD_RGB

ROOT = Path(__file__).parent.parent
SCENE = ROOT / "sample_scenes" / "LC08_L1TP_999001_20240701_20240708_02_T1"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.tif"
        geocloud.mask_scene(SCENE, path)
        with rasterio.open(path) as dataset:
            mask = dataset.read(1)
    with geocloud.open_scene(SCENE) as scene:
        image = read_filled(scene, Window(0, 0, scene.grid.width, scene.grid.height))[:3]
    low, high = np.nanpercentile(image, (1, 99))
    left = np.clip((np.nan_to_num(image) - low) / (high - low), 0, 1) ** 0.7
    right = left.copy()
    right[:, mask == 1] = 0.45 * right[:, mask == 1] + 0.55 * np.array(CLOUD_RGB)[:, None] / 255
    right[:, mask == 255] = np.array([[0.08], [0.1], [0.3]])
    gap = np.ones((3, mask.shape[0], 12))
    picture = (np.concatenate([left, gap, right], 2) * 255).astype("uint8")
    out = ROOT / "docs" / "images" / "sample.png"
    with gdal.open_quietly(
        out, "w", driver="PNG", count=3, dtype="uint8", height=picture.shape[1], width=picture.shape[2]
    ) as dataset:
        dataset.write(picture)
    out.with_name(out.name + ".aux.xml").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
