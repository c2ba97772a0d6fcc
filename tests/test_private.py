"""Private names of dependencies that geocloud uses; these tests fail first if they are removed.

`openvino_telemetry` (geocloud/models/runtime.py): is hidden, so that importing OpenVINO sends nothing.
`rasterio._err.CPLE_BaseError` (geocloud/io/gdal.py): without it a damaged file may end in a traceback.
"""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from geocloud.io import gdal

PRIVATE = {
    r"openvino_telemetry": "geocloud/models/runtime.py",
    r"rasterio\._err": "geocloud/io/gdal.py",
}


@pytest.mark.parametrize(("pattern", "home"), PRIVATE.items())
def test_private_names_have_one_home(pattern, home):
    sources = [path for folder in ("geocloud", "cli") for path in (ROOT / folder).rglob("*.py")]
    users = {path.relative_to(ROOT).as_posix() for path in sources if re.search(pattern, path.read_text("utf-8"))}
    assert users == {home}


@pytest.mark.slow
def test_importing_openvino_sends_and_leaves_nothing(tmp_path):
    """Its telemetry would, without permission, write a user ID to the home folder and contact Google."""
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('a connection')\n"
        "socket.create_connection = socket.socket.connect = refuse\n"
        "from geocloud.models.predictor import load_model\n"
        "load_model(device='cpu')\n"
        "import openvino\n"
        "assert not any(name.startswith('openvino_telemetry') for name in sys.modules)\n"
    )
    home = {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    without_ci = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    subprocess.run([sys.executable, "-c", code], check=True, env=without_ci | home)
    assert not list(tmp_path.iterdir())


def test_errors_of_gdal_that_rasterio_lets_through_are_caught():
    from rasterio import _err

    assert all(issubclass(error, gdal.TROUBLE) for error in (_err.CPLE_AppDefinedError, _err.CPLE_OpenFailedError))
