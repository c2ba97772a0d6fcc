"""A small simulated data set in 38-Cloud's exact layout: names, lists, padding, pixel values, truth masks.

It serves tests and short trials of training and evaluation. The files are tagged as simulated, and the scenes are on
WRS path 999, which does not exist. The authors' false-colour previews are left out.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from geocloud.errors import OptionError, OutputExistsError
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.readers import open_scene
from geocloud.readers.cloud38 import SIDE
from geocloud.simulate import simulate_scene, write_level1
from geocloud.training.data.cut import cut_38cloud


def write_38cloud(
    root: Path, training: int = 4, testing: int = 2, size: tuple[int, int] = (2, 3), seed: int = 0
) -> int:
    """Writes training and test scenes of ``size`` (rows, columns) patches. Returns the number of patches.

    Raises OptionError, OutputExistsError.
    """
    if min(training, testing) < 0 or training + testing < 1 or min(size) < 1:
        raise OptionError(
            f"{training} training and {testing} test scenes of {size} patches: wanted at least one scene and one patch"
        )
    if root.exists() and any(root.iterdir()):
        raise OutputExistsError(f"{root}: not empty; name a new folder")
    scenes = [("training", seed * 1000 + n) for n in range(training)]
    scenes += [("test", seed * 1000 + n + 500) for n in range(testing)]
    return sum(_write_scene(root / f"38-Cloud_{part}", part, draw, size) for part, draw in scenes)


def _write_scene(folder: Path, part: str, draw: int, size: tuple[int, int]) -> int:
    rng = np.random.default_rng(draw)
    shape = (size[0] * SIDE - int(rng.integers(5, 40)), size[1] * SIDE - int(rng.integers(5, 40)))
    kinds = [["cumulus", "cirrus"], ["stratus"], ["cumulus", "haze"]][draw % 3]
    scene = simulate_scene(draw, shape, clouds=kinds, cover=rng.uniform(0.1, 0.6))
    rows, cols = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])
    known = (np.abs(rows + 0.05 * cols) <= 1) & (np.abs(cols - 0.05 * rows) <= 1)  # slanted, like Landsat scenes
    name = f"LC08_L1TP_999{draw % 1000:03d}_{2014 + draw % 5}0701_20170708_01_T1"
    grid = GeoBox(*shape, Affine(30, 0, 0, 0, -30, 0), CRS.from_epsg(32631))
    with TemporaryDirectory() as place:
        product, truth = Path(place, name), Path(place, "truth.tif")
        write_level1(scene, product, name, grid=grid, sun_elevation=rng.uniform(30, 65), fill=~known)
        with open_quietly(truth, "w", driver="GTiff", count=1, dtype="uint8", nodata=255, **grid.profile) as dataset:
            dataset.write((scene.truth & known).astype("uint8"), 1)
        with open_scene(product) as opened:
            return cut_38cloud(opened, folder, truth, part=part, simulated=True)
