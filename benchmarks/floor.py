"""Minimum work of a masking program: ``python benchmarks/floor.py SCENE MASK.tif`` reads four bands, two at a time, and
writes a mask of their size as Cloud Optimized GeoTIFF on all cores.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile
from rasterio.windows import Window


def read(path: Path, index: int) -> np.ndarray:
    """Reads a band block by block; returns its bright pixels as a mask."""
    with rasterio.open(path) as dataset:
        rows = max(dataset.block_shapes[0][0], 256)
        bright = np.zeros(dataset.shape, "uint8")
        for first in range(0, dataset.height, rows):
            window = Window(0, first, dataset.width, min(rows, dataset.height - first))
            bright[first : first + rows] = dataset.read(index, window=window) > 20_000
        return bright


def main(scene: Path, output: Path) -> None:
    single = scene / "scene.tif"
    several = sorted((*scene.glob("*.TIF"), *scene.glob("*.jp2")))
    bands = [(single, i) for i in range(1, 5)] if single.exists() else [(path, 1) for path in several]
    with rasterio.Env(GDAL_CACHEMAX=64 * 2**20), ThreadPoolExecutor(2) as pool:
        mask = next(pool.map(read, *zip(*bands, strict=True)))
        with rasterio.open(bands[0][0]) as dataset:
            place = {"crs": dataset.crs, "transform": dataset.transform}
        height, width = mask.shape
        with MemoryFile() as memory:
            with memory.open(driver="GTiff", height=height, width=width, count=1, dtype="uint8", **place) as dataset:
                dataset.write(mask, 1)
            options = {"COMPRESS": "DEFLATE", "LEVEL": 5, "RESAMPLING": "NEAREST", "NUM_THREADS": "ALL_CPUS"}
            rasterio.shutil.copy(memory.name, output, driver="COG", **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
