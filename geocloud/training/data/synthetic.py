"""A small simulated data set in 38-Cloud's exact layout: names, lists, padding, pixel values, truth masks.

For tests, and to try training and evaluation within minutes. Nothing in it is an observation: the files are tagged as
simulated, and the scenes are on WRS path 999, which does not exist. The authors' false-colour previews are left out.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocloud.bands import BANDS
from geocloud.errors import OptionError, OutputExistsError
from geocloud.io.gdal import open_quietly
from geocloud.readers.cloud38 import SIDE
from geocloud.simulate import simulate_scene
from geocloud.training.data import cloud38


def write_38cloud(
    root: Path, training: int = 4, testing: int = 2, size: tuple[int, int] = (2, 3), seed: int = 0
) -> int:
    """Writes training and test scenes of about ``size`` (rows, columns) patches. Returns the number of patches.

    Raises OptionError, OutputExistsError.
    """
    if min(training, testing) < 0 or training + testing < 1 or min(size) < 1:
        raise OptionError(
            f"{training} training and {testing} test scenes of {size} patches: wanted at least one of each"
        )
    if root.exists() and any(root.iterdir()):
        raise OutputExistsError(f"{root}: is not empty; name a new folder")
    count = 0
    for part, scenes in (("training", training), ("test", testing)):
        for number in range(scenes):
            draw = seed * 1000 + number + (500 if part == "test" else 0)
            count += _write_scene(root / f"38-Cloud_{part}", part, draw, size)
    return count


def _write_scene(folder: Path, part: str, draw: int, size: tuple[int, int]) -> int:
    rng = np.random.default_rng(draw)
    shape = (size[0] * SIDE - int(rng.integers(5, 40)), size[1] * SIDE - int(rng.integers(5, 40)))
    kinds = [["cumulus", "cirrus"], ["stratus"], ["cumulus", "haze"]][draw % 3]
    scene = simulate_scene(draw, shape, clouds=kinds, cover=rng.uniform(0.1, 0.6))
    name = f"LC08_L1TP_999{draw % 1000:03d}_{2014 + draw % 5}0701_20170708_01_T1"
    light = math.sin(math.radians(rng.uniform(30, 65)))
    known = ~_collar(shape)
    numbers = cloud38.to_numbers(scene.reflectance, known, light)
    truth = scene.truth & known
    prefix = "train" if part == "training" else "test"
    patches = cloud38.windows(name, shape)
    informative = []
    for patch, window in patches:
        top, left = int(window.row_off), int(window.col_off)
        cut = _cut(np.concatenate([numbers, truth[None] * np.uint16(255)]), top, left)
        for band, values in zip(BANDS, cut, strict=False):
            _write(cloud38.patch_path(folder, prefix, band, patch), values)
        if part == "training":
            _write(cloud38.patch_path(folder, prefix, "gt", patch), cut[4].astype("uint8"))
            if np.count_nonzero(cut[0]) > cloud38.INFORMATIVE * SIDE**2:
                informative.append(patch)
    _write(cloud38.truth_path(folder, name), truth.astype("uint8"))
    worth = informative if part == "training" else None
    for path, text in cloud38.grown_lists(folder, part, name, [patch for patch, _ in patches], worth).items():
        path.write_text(text, encoding="utf-8", newline="")
    return len(patches)


def _collar(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """``(h, w)``, True outside the slanted footprint of a Landsat scene."""
    rows, cols = (np.linspace(-1, 1, n)[s] for n, s in zip(shape, (np.s_[:, None], np.s_[None, :]), strict=True))
    return (np.abs(rows + 0.05 * cols) > 1) | (np.abs(cols - 0.05 * rows) > 1)


def _cut(values: NDArray[np.uint16], top: int, left: int) -> NDArray[np.uint16]:
    """One patch ``(bands, SIDE, SIDE)``, 0 where it extends beyond the scene."""
    patch = np.zeros((len(values), SIDE, SIDE), "uint16")
    height, width = values.shape[1:]
    rows, cols = slice(max(top, 0), min(top + SIDE, height)), slice(max(left, 0), min(left + SIDE, width))
    patch[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = values[:, rows, cols]
    return patch


def _write(path: Path, values: NDArray[np.generic]) -> None:
    """Writes a file like the authors': one band, PackBits, no georeferencing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    options = {"count": 1, "dtype": values.dtype, "height": height, "width": width, "compress": "packbits"}
    with open_quietly(path, "w", driver="GTiff", **options) as dataset:
        dataset.update_tags(TIFFTAG_IMAGEDESCRIPTION="Simulated by geocloud, not an observation")
        dataset.write(values, 1)
