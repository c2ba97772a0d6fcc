"""The default model on an x86-64 processor emulated by QEMU, with other instructions than this one's.

OpenVINO selects its kernels by these. The emulated processor, of 2013, has AVX2 but no AVX-512, so neither bfloat16
nor VNNI.
"""

import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import geobox, write_tif

from geocloud import ComputeOptions, mask_scene
from geocloud.io.gdal import open_quietly
from geocloud.simulate import simulate_scene

EMULATOR = "qemu-x86_64"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"needs {EMULATOR}: apt-get install qemu-user"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86-64 to compare with"),
]


def masked(path):
    with open_quietly(path) as dataset:
        return dataset.read(1)


def test_an_older_processor_gives_the_same_mask(tmp_path):
    scene = write_tif(tmp_path / "scene.tif", simulate_scene(1, (160, 192)).reflectance, geobox(160, 192))
    command = [sys.executable, "-m", "geocloud_cli", "-q", "mask", "scene.tif", "-o", "older.tif"]
    command = [EMULATOR, "-cpu", "Haswell", *command, "--device", "cpu", "--precision", "auto"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    mask_scene(scene, tmp_path / "mask.tif", compute=ComputeOptions(device="cpu"))
    here, there = masked(tmp_path / "mask.tif"), masked(tmp_path / "older.tif")
    assert 0.02 < (here == 1).mean() < 0.98
    assert np.mean(here == there) > 0.995
