"""A test archive of small simulated scenes (folders, tars and GeoTIFFs), ten of them damaged in different ways."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
from conftest import geobox, write_tif

from geocloud.grid import GeoBox
from geocloud.simulate import SimulatedScene, simulate_scene, write_level1

BROKEN = 10


def scene(seed: int, size: int) -> SimulatedScene:
    return simulate_scene(seed, (size, size), ("forest", "water"), ("cumulus",), 0.4)


def make_archive(root: Path, count: int, broken: bool = True, size: int = 64) -> Path:
    """Writes an archive of ``count`` scenes, the last ten of them damaged. A product stored twice counts once."""
    root.mkdir()
    whole = count - BROKEN * broken
    for number in range(whole):
        seen = scene(number % 7, size)
        place = geobox(size, size)
        place = GeoBox(size, size, place.transform.translation(30 * size * number, 0) @ place.transform, place.crs)
        name = f"LC08_L1TP_190{number:03}_20240701_20240708_02_T1"
        if number % 3 == 2:
            write_tif(root / f"stack_{number:03}.tif", np.rint(seen.reflectance * 1e4).astype("uint16"), place)
            continue
        write_level1(seen, root / name, name, grid=place, sun_elevation=50.0)
        if number % 3 == 1:
            with tarfile.open(root / f"{name}.tar", "w") as tar:
                tar.add(root / name, name)
            if number % 2:
                shutil.rmtree(root / name)
    if broken:
        break_ten(root / "broken", size)
    return root


def break_ten(root: Path, size: int) -> None:
    root.mkdir()
    seen = scene(3, size)
    (root / "empty.tif").write_bytes(b"")
    (root / "text.tif").write_text("not a raster at all\n" * 20)
    whole = write_tif(root / "cut.tif", np.rint(seen.reflectance * 1e4).astype("uint16")).read_bytes()
    (root / "cut.tif").write_bytes(whole[: len(whole) // 2])
    write_tif(root / "three_bands.tif", np.rint(seen.reflectance[:3] * 1e4).astype("uint16"))
    write_tif(root / "unknown_units.tif", np.rint(seen.reflectance * 1e4 + 1500).astype("uint16"))
    names = [f"LC08_L1TP_19100{i}_20240701_20240708_02_T1" for i in range(5)]
    for name in names:
        write_level1(seen, root / name, name, grid=geobox(size, size), sun_elevation=50.0)
    (root / names[0] / f"{names[0]}_B5.TIF").unlink()
    write_tif(root / names[1] / f"{names[1]}_B5.TIF", np.ones((1, 9, 9), "uint16"))
    mtl = root / names[2] / f"{names[2]}_MTL.txt"
    mtl.write_text(mtl.read_text().replace("SUN_ELEVATION = 50", "SUN_ELEVATION = -5"))
    with tarfile.open(root / f"{names[3]}.tar", "w") as tar:
        tar.add(root / names[3], names[3])
    cut = (root / f"{names[3]}.tar").read_bytes()
    (root / f"{names[3]}.tar").write_bytes(cut[:100])
    with tarfile.open(root / f"{names[4]}.tar", "w") as tar:
        tar.add(root / "text.tif", "readme.txt")
    for name in names[3:]:
        shutil.rmtree(root / name)
