"""Makes a scene of any size and layout: ``python benchmarks/scenes.py FOLDER --rows 7600 --cols 7700 …``.

A simulated Landsat Level-1 scene is repeated, mirrored at the joints, so that clouds, ground and noise compress as in a
whole scene. It runs in its own process, as the measuring process must stay small.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

SAMPLE = Path(__file__).parent.parent / "sample_scenes" / "LC08_L1TP_999001_20240701_20240708_02_T1"
BANDS = (4, 3, 2, 5)
EDGE = 70  # columns at the sample's sides that are partly without data


def make(folder: Path, rows: int, cols: int, layout: str, compress: str, files: str, collar: bool) -> None:
    """Writes the bands, as ``four`` files or as ``one``, and the metadata.

    With a ``collar`` the scene is a tilted square, as in Landsat products: a third of the pixels hold no data.
    """
    folder.mkdir(parents=True)
    profile = {"driver": "GTiff", "dtype": "uint16", "height": rows, "width": cols, "compress": compress}
    if layout == "tiled":
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    bands = {int(re.findall(r"_B(\d)\.", path.name)[0]): path for path in SAMPLE.glob("*_B[2345].TIF")}
    for path in bands.values():
        with rasterio.open(path) as dataset:
            profile |= {"crs": dataset.crs, "transform": dataset.transform}
    if files == "one":
        with rasterio.open(folder / "scene.tif", "w", count=4, interleave="band", **profile) as out:
            for index, number in enumerate(BANDS, 1):
                _fill(out, index, bands[number], collar)
            out.descriptions = ("red", "green", "blue", "nir")
        return
    for path in bands.values():
        with rasterio.open(folder / path.name, "w", count=1, **profile) as out:
            _fill(out, 1, path, collar)
    for path in SAMPLE.glob("*_MTL.txt"):
        (folder / path.name).write_bytes(path.read_bytes())


def _fill(out: rasterio.io.DatasetWriter, index: int, source: Path, collar: bool) -> None:
    with rasterio.open(source) as dataset:
        band = dataset.read(1)[:, EDGE:-EDGE]
    band = np.block([[band, band[:, ::-1]], [band[::-1], band[::-1, ::-1]]])
    height, width = out.shape
    x = np.arange(width) / width - 0.5
    for first in range(0, height, 256):
        count = min(256, height - first)
        rows = np.arange(first, first + count)
        strip = band[np.ix_(rows % band.shape[0], np.arange(width) % band.shape[1])]
        if collar:
            y = rows[:, None] / height - 0.5
            strip[np.maximum(abs(0.97 * x + 0.24 * y), abs(0.97 * y - 0.24 * x)) > 0.41] = 0
        out.write(strip, index, window=Window(0, first, width, count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=7600)
    parser.add_argument("--cols", type=int, default=7700)
    parser.add_argument("--layout", choices=["tiled", "striped"], default="tiled")
    parser.add_argument("--compress", choices=["deflate", "none"], default="deflate")
    parser.add_argument("--files", choices=["four", "one"], default="four")
    parser.add_argument("--collar", action="store_true")
    make(**vars(parser.parse_args()))
