"""Checks of an installation: versions, drivers, devices, models, and a scene with known clouds."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from affine import Affine
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geocloud._checks import Finding
from geocloud._proj import VARIABLES
from geocloud.errors import GeocloudError, ModelError

OPTIONAL = ("torch", "onnx", "onnxruntime", "distributed", "pyarrow", "xarray", "matplotlib")
DRIVERS = ("GTiff", "COG", "VRT", "JP2OpenJPEG")
SEED, SIDE = 7, 256
"""Seed, and side in pixels, of the simulated scene that is masked."""
EPSG = 32633
"""EPSG code of a CRS that every PROJ database has."""
LIMIT = 0.9
"""Minimum share of the scene's pixels that a working model classifies correctly."""


def examine() -> Iterator[Finding]:
    """Runs the checks and yields their results."""
    required = [re.split(r"[^\w-]", line)[0] for line in requires("geocloud") or [] if "extra ==" not in line]
    yield Finding("geocloud", True, f"{version('geocloud')}, Python {platform.python_version()}, {platform.platform()}")
    yield Finding("packages", True, ", ".join(f"{name} {_version(name)}" for name in required))
    yield Finding("optional packages", True, ", ".join(f"{name} {_version(name)}" for name in OPTIONAL))
    yield _drivers()
    yield _projections()
    yield from _devices()
    yield from _models()
    yield _mask()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _drivers() -> Finding:
    with rasterio.Env() as environment:
        drivers = environment.drivers()
    missing = [name for name in DRIVERS if name not in drivers]
    remedy = f", but not {', '.join(missing)}; install rasterio from PyPI or conda-forge" if missing else ""
    text = f"GDAL {rasterio.__gdal_version__}, {len(drivers)} drivers{remedy}"
    return Finding("rasters", not set(missing) & set(DRIVERS[:3]), text)


def _projections() -> Finding:
    """Looks a CRS up in the PROJ databases of both rasterio and pyproj."""
    try:
        names = {pyproj.CRS.from_epsg(EPSG).name, pyproj.CRS.from_user_input(CRS.from_epsg(EPSG)).name}
    except (CRSError, ProjError) as error:
        folders = [name for name in VARIABLES if name in os.environ]
        advice = f"unset {' and '.join(folders)}" if folders else "install rasterio and pyproj again"
        return Finding("projections", False, f"EPSG:{EPSG} is unknown ({error}); {advice}")
    text = f"PROJ {pyproj.proj_version_str}, EPSG:{EPSG} is {' or '.join(names)}"
    return Finding("projections", len(names) == 1, text)


def _devices() -> Iterator[Finding]:
    from geocloud.models.devices import cores, has_torch, may_have_gpu, nvidia_gpus
    from geocloud.models.predictor import load_model

    names = []
    if may_have_gpu():
        import torch

        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        names += ["Apple's GPU (mps)"] if torch.backends.mps.is_available() else []
    elif not has_torch() and (count := nvidia_gpus()):
        names = [f"{count} of NVIDIA's, not used: run pip install 'geocloud[gpu]'"]
    yield Finding("GPUs", True, ", ".join(names) or "none, the CPU is used")
    try:
        model = load_model()
    except GeocloudError as error:
        yield Finding("device", False, f"the default model cannot be used: {error}")
    else:
        text = f"{model.device}, the default model computes in {model.precision}, {cores()} threads"
        yield Finding("device", True, text)


def _models() -> Iterator[Finding]:
    from geocloud.models import bundled_models
    from geocloud.models.predictor import load_model

    for name in bundled_models():
        try:
            sha256 = load_model(name, "cpu").metadata.sha256
            yield Finding(f"model {name}", True, f"made from weights with the SHA-256 {sha256[:16]}…")
        except ModelError as error:
            yield Finding(f"model {name}", False, f"{error}; install geocloud again")


def _mask() -> Finding:
    """Masks a small simulated scene, from file to file."""
    from geocloud.masks.codes import CLOUD
    from geocloud.pipeline import mask_scene
    from geocloud.simulate import simulate_scene

    scene = simulate_scene(SEED, (SIDE, SIDE), ("forest", "water"), ("cumulus",), 0.4)
    profile = {"driver": "GTiff", "count": 4, "dtype": "float32", "height": SIDE, "width": SIDE}
    profile |= {"crs": CRS.from_epsg(EPSG), "transform": Affine(30, 0, 5e5, 0, -30, 5e6)}
    try:
        with tempfile.TemporaryDirectory(prefix="geocloud-doctor-") as folder:
            path = Path(folder) / "scene.tif"
            with rasterio.open(path, "w", **profile) as dataset:
                dataset.write(scene.reflectance)
                dataset.descriptions = ("red", "green", "blue", "nir")
            result = mask_scene(path, Path(folder) / "mask.tif")
            with rasterio.open(result.mask) as dataset:
                right = float(np.mean((dataset.read(1) == CLOUD) == scene.truth))
    except (GeocloudError, RuntimeError, OSError) as error:
        return Finding("self-test", False, f"a simulated scene could not be masked ({error})")
    text = f"{100 * right:.1f} % of a simulated scene's pixels are right, in {result.seconds:.1f} s"
    return Finding("self-test", right >= LIMIT, text if right >= LIMIT else f"only {text}; install geocloud again")
