"""Writes a scene of any size and layout: ``python benchmarks/scenes.py FOLDER --rows 7600 --cols 7700 …``.

A simulated Landsat Level-1 scene is repeated and mirrored at the joints, so that clouds, ground and noise compress as
in a whole scene. It runs in its own process, because the measuring process must stay small.
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
EDGE = 70  # columns at the sample's sides that contain nodata


SENTINEL = {4: "B04", 3: "B03", 2: "B02", 5: "B08"}
"""Sentinel-2 band names by Landsat band number."""


def make(folder: Path, rows: int, cols: int, layout: str, compress: str, files: str, collar: bool) -> None:
    """Writes the bands, in ``four`` files or ``one``, and the metadata.

    With ``collar`` the scene is a tilted square, as in Landsat products: a third of the pixels are nodata. The layout
    ``jp2`` is Sentinel-2's: lossless JPEG 2000, 10 m, reflectance × 10 000.
    """
    folder.mkdir(parents=True)
    if layout == "jp2":
        make_sentinel(folder, rows, cols)
        return
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


def make_sentinel(folder: Path, rows: int, cols: int) -> None:
    profile = {"driver": "JP2OpenJPEG", "dtype": "uint16", "height": rows, "width": cols, "count": 1}
    profile |= {"QUALITY": 100, "REVERSIBLE": "YES", "RESOLUTIONS": 6, "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024}
    place = rasterio.Affine(10, 0, 399_960, 0, -10, 5_300_040)
    for number, name in SENTINEL.items():
        with rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", dtype="uint16", height=rows, width=cols, count=1) as whole:
                _fill(whole, 1, next(SAMPLE.glob(f"*_B{number}.TIF")), False)
            with memory.open() as whole:
                numbers = whole.read(1)
        reflectance = np.where(numbers > 0, numbers * np.float32(0.2) - 1000, 0)
        path = folder / f"T32UPU_20240701T101031_{name}.jp2"
        with rasterio.open(path, "w", crs="EPSG:32632", transform=place, **profile) as out:
            out.write(reflectance.clip(0).astype("uint16"), 1)


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
    parser.add_argument("--layout", choices=["tiled", "striped", "jp2"], default="tiled")
    parser.add_argument("--compress", choices=["deflate", "none"], default="deflate")
    parser.add_argument("--files", choices=["four", "one"], default="four")
    parser.add_argument("--collar", action="store_true")
    make(**vars(parser.parse_args()))
