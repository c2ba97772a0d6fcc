"""Number of source files used to mask one GeoTIFF."""

import subprocess
import sys

import pytest
from conftest import ROOT

FILES = 37
"""Maximum number of files whose functions run; the goal is 34."""

TRACE = """
import sys, threading
from inspect import CO_OPTIMIZED  # code of a function, not of a module or class body

files = set()

def profile(frame, event, _):
    code = frame.f_code
    ours = frame.f_globals.get("__name__", "").startswith(("geocloud.", "geocloud_cli."))
    if event == "call" and ours and code.co_flags & CO_OPTIMIZED:
        files.add(code.co_filename)

threading.setprofile(profile)
sys.setprofile(profile)
from geocloud_cli.main import cli
cli(sys.argv[1:], standalone_mode=False)
sys.setprofile(None)
print(*sorted(files), sep="\\n")
"""


@pytest.mark.slow
def test_masking_a_geotiff_runs_code_of_few_files(tmp_path):
    scene = ROOT / "sample_scenes" / "simulated_mountains.tif"
    command = [sys.executable, "-c", TRACE, "--quiet", "mask", str(scene), "-o", str(tmp_path / "mask.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    files = [line for line in done.stdout.splitlines() if line.endswith(".py")]
    assert (tmp_path / "mask.tif").exists()
    assert 20 < len(files) <= FILES, "\n".join(files)
