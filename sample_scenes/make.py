"""Makes the sample scenes in this folder, simulated from fixed seeds, not observed.

python sample_scenes/make.py
"""

from __future__ import annotations

import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geocloud.bands import BANDS
from geocloud.grid import GeoBox
from geocloud.simulate import SimulatedScene, simulate_scene, write_level1

HERE = Path(__file__).parent
FARMLAND = "LC08_L1TP_999001_20240701_20240708_02_T1"
DESERT = "LC08_L1TP_999002_20240715_20240722_02_T1"


def grid(size: int, zone: int, left: float, top: float) -> GeoBox:
    """A square UTM grid of 30 m pixels."""
    return GeoBox(size, size, Affine(30, 0, left, 0, -30, top), CRS.from_epsg(32600 + zone))


def collar(size: int) -> NDArray[np.bool_]:
    """True in the slanted margin without data that every Landsat scene has."""
    rows, cols = np.mgrid[:size, :size]
    return (cols * 0.97 + rows * 0.22 < 0.12 * size) | (cols * 0.97 + rows * 0.22 > 1.07 * size)


def write_truth(scene: SimulatedScene, fill: NDArray[np.bool_] | None, place: GeoBox, name: str) -> None:
    """Writes the exact mask: 0 clear, 1 cloud, 255 no data."""
    truth = scene.truth.astype("uint8")
    if fill is not None:
        truth[fill] = 255
    path = HERE / "truth" / f"{name}_truth.tif"
    options = {"count": 1, "dtype": "uint8", "nodata": 255, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", **options, **place.profile) as dataset:
        dataset.write(truth, 1)


def main() -> None:
    (HERE / "truth").mkdir(exist_ok=True)

    size, place = 512, grid(512, 33, 450_015, 5_400_015)
    scene = simulate_scene(11, (size, size), ("crops", "forest", "water"), ("cumulus", "cirrus"), cover=0.3)
    write_level1(scene, HERE / FARMLAND, FARMLAND, grid=place, sun_elevation=58.2, fill=collar(size))
    write_truth(scene, collar(size), place, FARMLAND)

    size, place = 400, grid(400, 32, 600_015, 5_100_015)
    scene = simulate_scene(8, (size, size), ("snow", "forest", "soil"), ("cumulus", "stratus"), cover=0.25)
    options = {"count": 4, "dtype": "uint16", "nodata": 65_535, "compress": "deflate", "predictor": 2}
    with rasterio.open(HERE / "simulated_mountains.tif", "w", driver="GTiff", **options, **place.profile) as dataset:
        dataset.descriptions = BANDS
        dataset.scales = (1e-4,) * 4
        dataset.update_tags(TIFFTAG_IMAGEDESCRIPTION="Simulated by geocloud, not an observation")
        dataset.write(np.clip(np.rint(scene.reflectance * 10_000), 0, 65_534).astype("uint16"))
    write_truth(scene, None, place, "simulated_mountains")

    size, place = 400, grid(400, 36, 300_015, 2_700_015)
    scene = simulate_scene(5, (size, size), ("sand", "soil", "water"), ("cumulus",), cover=0.2)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(HERE / f"{DESERT}.tar", "w") as archive:
        write_level1(
            scene,
            Path(folder),
            DESERT,
            grid=place,
            sun_elevation=66.5,
            acquired=datetime(2024, 7, 15, 8, 20, tzinfo=UTC),
        )
        for path in sorted(Path(folder).iterdir()):
            info = archive.gettarinfo(path, path.name)
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            with path.open("rb") as file:
                archive.addfile(info, file)
    write_truth(scene, None, place, DESERT)


if __name__ == "__main__":
    main()
