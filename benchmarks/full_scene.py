"""Masks a scene as large as Landsat's and tells what it took.

    python benchmarks/full_scene.py [FOLDER] [--rows 7600] [--cols 7700]

FOLDER is a Landsat Level-1 folder (a sample scene, when none is named); its bands are repeated, mirrored at the joints,
to the full size: tiled, deflated GeoTIFFs in a temporary folder. Printed are wall time, CPU seconds a megapixel and
peak memory of one ``geocloud mask`` process; its options go after ``--``.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

# The command, and then the kernel's own high-water mark (Linux): getrusage would count this process's memory too.
MASK = """
from geocloud_cli.main import cli
cli(standalone_mode=False)
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""

SAMPLE = Path(__file__).parent.parent / "sample_scenes" / "LC08_L1TP_999001_20240701_20240708_02_T1"


def enlarge(source: Path, folder: Path, rows: int, cols: int) -> None:
    """Writes each of the bands 2 to 5, repeated to so many rows and columns, and the metadata without its grid."""
    for path in source.iterdir():
        if re.search(r"_B[2345]\.tiff?$", path.name, re.IGNORECASE):
            with rasterio.open(path) as dataset:
                band, profile = dataset.read(1), dataset.profile
            band = np.block([[band, band[:, ::-1]], [band[::-1], band[::-1, ::-1]]])
            band = np.tile(band, [-(-n // m) for n, m in zip((rows, cols), band.shape, strict=True)])[:rows, :cols]
            profile.update(
                driver="GTiff", height=rows, width=cols, tiled=True, blockxsize=256, blockysize=256, compress="deflate"
            )
            with rasterio.open(folder / path.name, "w", **profile) as dataset:
                dataset.write(band, 1)
        elif path.name.endswith("_MTL.txt"):
            (folder / path.name).write_bytes(path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--rows", type=int, default=7600)
    parser.add_argument("--cols", type=int, default=7700)
    parser.add_argument("mask_options", nargs="*", help="further options of geocloud mask, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder, "scene")
        scene.mkdir()
        enlarge(arguments.source, scene, arguments.rows, arguments.cols)
        command = [sys.executable, "-c", MASK, "mask", str(scene), "-o", str(Path(folder, "mask.tif"))]
        started = time.monotonic()
        done = subprocess.run([*command, *arguments.mask_options], stdout=subprocess.PIPE, text=True, check=False)
        wall = time.monotonic() - started
    if done.returncode:
        sys.exit(done.returncode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    megapixels = arguments.rows * arguments.cols / 1e6
    cpu = used.ru_utime + used.ru_stime
    *output, peak = done.stdout.splitlines()
    print("\n".join(output))
    print(
        f"{megapixels:.1f} MP, {os.cpu_count()} CPUs: {wall:.1f} s wall, {cpu:.1f} s CPU "
        f"({cpu / megapixels:.2f} s/MP), peak memory {int(peak) / 1024:.0f} MB"
    )


if __name__ == "__main__":
    main()
