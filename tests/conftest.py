"""Shared fixtures: small asymmetric rasters, made in code, in which flips and shifts are detected."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import settings
from numpy.typing import NDArray
from rasterio.crs import CRS

from geocloud.bands import BANDS
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.simulate import SimulatedScene, simulate_scene, write_level1
from geocloud.training.data.chips import CLOUD, UNKNOWN, Chip
from geocloud.training.data.synthetic import write_38cloud

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several workers: torch and GDAL in each would use all cores
    os.environ |= {"OMP_NUM_THREADS": "1", "GDAL_NUM_THREADS": "1"}

# No deadlines, for busy machines, and the same cases in every run; `HYPOTHESIS_PROFILE=fuzz` draws others.
settings.register_profile("geocloud", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("fuzz", deadline=None, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "geocloud"))

UTM = CRS.from_epsg(32633)
ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_scenes"


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches start one process unless a test asks for more: starting one takes longer than the small scenes."""
    monkeypatch.setattr("geocloud.batch.run.PROCESSES", 1)


def geobox(height: int = 90, width: int = 110, crs: CRS | None = UTM, size: float = 30) -> GeoBox:
    """A grid that does not start at the origin, with a pixel size in metres."""
    return GeoBox(height, width, Affine(size, 0, 499_980, 0, -size, 5_400_040), crs)


def ramp(height: int = 90, width: int = 110) -> NDArray[np.float32]:
    """Reflectance (4, h, w) with different values in all pixels and bands."""
    rows, cols = np.mgrid[:height, :width]
    base = 0.05 + 0.6 * (rows * width + cols) / (height * width)
    return np.stack([base + 0.05 * band for band in range(4)]).astype("float32")


def write_tif(path: Path, values: NDArray[Any], grid: GeoBox | None = None, **options: Any) -> Path:
    """Writes values (band, row, col) with ``descriptions``, ``tags`` and creation options.

    By default, four bands are described as red, green, blue and nir.
    """
    grid = grid or geobox(*values.shape[1:])
    descriptions = options.pop("descriptions", BANDS if values.shape[0] == len(BANDS) else None)
    tags = options.pop("tags", None)
    scales, colours = options.pop("scales", None), options.pop("colorinterp", None)
    with open_quietly(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        dtype=values.dtype,
        **grid.profile,
        **options,
    ) as dataset:
        if colours:
            dataset.colorinterp = colours
        if descriptions:
            dataset.descriptions = descriptions
        if tags:
            dataset.update_tags(**tags)
        if scales:
            dataset.scales = scales
        dataset.write(values)
    return path


def level1_numbers(reflectance: NDArray[np.float32], sun: float = 90.0) -> NDArray[np.uint16]:
    """Landsat Level-1 DN by the handbook's formula, an independent oracle."""
    return np.rint((reflectance * np.sin(np.radians(sun)) + 0.1) / 2e-5).astype("uint16")


def read_tif(path: Path) -> NDArray[Any]:
    """All bands of a file, (band, row, col)."""
    with open_quietly(path) as dataset:
        return dataset.read()


def bright(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """A test model: pixels bright in red are cloud."""
    return (batch[:, 0] > 0.3501).astype("float32")


@pytest.fixture(autouse=True)
def logger() -> Iterator[None]:
    """The logger of geocloud, restored after commands run in this process."""
    found = logging.getLogger("geocloud")
    before = list(found.handlers), found.propagate, found.level
    yield
    found.handlers, found.propagate = before[:2]
    found.setLevel(before[2])


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A Landsat 8 Level-1 folder of `ramp`, with a sun elevation of 50 degrees."""
    name = "LC08_L1TP_190026_20240701_20240708_02_T1"
    folder = tmp_path / name
    scene = SimulatedScene(ramp(), np.zeros((90, 110), bool))
    write_level1(scene, folder, name, grid=geobox(), sun_elevation=50.0)
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real scenes. Tests that need it are skipped if GEOCLOUD_DATA is not set."""
    folder = os.environ.get("GEOCLOUD_DATA")
    if not folder or not Path(folder, "scenes").is_dir():
        pytest.skip("needs real scenes: set GEOCLOUD_DATA to their folder")
    return Path(folder)


def simulated_chip(seed: int = 0, size: int = 96) -> Chip:
    """A small chip of forest and water under cumulus."""
    scene = simulate_scene(seed, (size, size), ("forest", "water"), ("cumulus",), 0.4)
    cloud = scene.truth.astype("uint8") * CLOUD
    return Chip(f"s{seed}", scene.reflectance, np.stack([cloud, np.full_like(cloud, UNKNOWN)]))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated 38-Cloud: three training and two test scenes, each of 1×2 patches. Tests must not modify it."""
    root = tmp_path_factory.mktemp("toy") / "38-Cloud"
    write_38cloud(root, training=3, testing=2, size=(1, 2))
    return root
