"""Mutated files, kills, full disks, little memory, concurrent runs, no network, and reproducible bytes."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import console
import numpy as np
import pytest
import torch
from conftest import ROOT, SAMPLES, read_tif
from fuzz import fuzz
from kills import kill_again_and_again, well

import geocloud
from geocloud.errors import CheckpointError, SceneReadError
from geocloud.models import bundled_models, find_weights
from geocloud.models.network import Network
from geocloud.models.predictor import load_model
from geocloud.pipeline import MaskOptions, mask_scene
from geocloud.tiling import mosaic
from geocloud.writers.staging import STAGING_PREFIX, Staging, sweep

SCENE = SAMPLES / "LC08_L1TP_999001_20240701_20240708_02_T1"
PACKAGE = Path(geocloud.__file__).parent


def command(*words):
    return [sys.executable, "-m", "geocloud_cli", *map(str, words)]


@pytest.mark.slow
def test_mutated_files(tmp_path, monkeypatch):
    """For 20 000 files, run: python tests/reliability/fuzz.py."""
    monkeypatch.chdir(tmp_path)
    found = fuzz(tmp_path, 480, seed=int.from_bytes(os.urandom(3), "big"))
    assert not found["defects"], found


@pytest.mark.slow
def test_killed_while_masking(tmp_path):
    """For fifty kills, run: python tests/reliability/kills.py."""
    assert well(found := kill_again_and_again(tmp_path, 4)), found


@pytest.mark.slow
def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from geocloud.writers.staging import Staging\n"
        "s = Staging([Path(sys.argv[1])]); s.place(Path(sys.argv[1])).write_text('half'); print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "m.tif")], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        sweep(tmp_path)
        assert len(list(tmp_path.glob(f"{STAGING_PREFIX}*"))) == 1
        process.kill()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    """A process can be killed, or another can sweep, before a new staging folder is locked."""
    make, made = tempfile.mkdtemp, []

    def make_and_sweep(**options):
        made.append(make(**options))
        if len(made) == 1:
            sweep(tmp_path)
            assert not list(tmp_path.iterdir())
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_sweep)
    with Staging([tmp_path / "m.txt"]) as staging:
        staging.write(tmp_path / "m.txt", "whole")
        sweep(tmp_path)
        staging.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["m.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 40])
def test_a_disk_that_is_full(tmp_path, kilobytes):
    line = (
        f"ulimit -f {kilobytes}; exec {' '.join(command('mask', SCENE, '-o', tmp_path / 'm.tif'))} --probability p.tif"
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("_tiff")]  # libtiff's own, from C
    assert len(lines) == 1 and "cannot be written" in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("gigabytes", [1, 2])
def test_little_memory_is_one_line(tmp_path, gigabytes):
    """Limits the address space, most of which torch only reserves. The run succeeds or fails with one line."""
    line = f"ulimit -v {gigabytes * 2**20}; exec {' '.join(command('mask', SCENE, '-o', tmp_path / 'm.tif'))}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    if done.returncode:
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert done.stderr.count("geocloud: error: ") == 1
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_batches_and_threads_do_not_change_the_mask(tmp_path):
    def masked(name, threads, **options):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            model = load_model(batch=options.pop("batch", None))
            mask_scene(SCENE, tmp_path / name, model=model, options=MaskOptions(tile_size=256, **options))
        finally:
            torch.set_num_threads(before)
        return read_tif(tmp_path / name)

    plain = masked("a.tif", 2)
    for name, threads, batch in (("b.tif", 1, None), ("c.tif", 2, 3), ("d.tif", 1, 5)):
        assert (masked(name, threads, batch=batch) == plain).mean() >= 0.9999


@pytest.mark.slow
def test_the_order_of_tiles_does_not_change_the_mask(tmp_path, monkeypatch):
    model = load_model()
    options = MaskOptions(tile_size=256)
    mask_scene(SCENE, tmp_path / "a.tif", model=model, options=options)
    parts = mosaic._parts_with_data
    monkeypatch.setattr(mosaic, "_parts_with_data", lambda *given: list(parts(*given))[::-1])
    mask_scene(SCENE, tmp_path / "b.tif", model=model, options=options)
    assert (read_tif(tmp_path / "a.tif") == read_tif(tmp_path / "b.tif")).mean() >= 0.9999


@pytest.mark.slow
def test_four_at_once_in_one_folder_and_two_on_one_file_give_the_same_bytes(tmp_path):
    lines = [
        command("-q", "mask", SCENE, "-o", tmp_path / f"m{i}.tif", "--probability", tmp_path / f"p{i}.tif")
        for i in range(2)
    ]
    same = command("-q", "mask", SCENE, "-o", tmp_path / "same.tif", "--overwrite")
    processes = [subprocess.Popen(line, stdout=subprocess.DEVNULL) for line in (*lines, same, same)]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    whole = (tmp_path / "m0.tif").read_bytes()
    assert (tmp_path / "m1.tif").read_bytes() == whole == (tmp_path / "same.tif").read_bytes()
    assert (tmp_path / "p0.tif").read_bytes() == (tmp_path / "p1.tif").read_bytes()
    assert not list(tmp_path.glob(f"{STAGING_PREFIX}*"))


@pytest.mark.slow
def test_no_network_is_touched(tmp_path):
    """Works with all sockets blocked."""
    code = (
        "import socket, sys\n"
        "def blocked(*_, **__): raise AssertionError('the network was touched')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = blocked\n"
        "socket.getaddrinfo = socket.create_connection = blocked\n"
        "from geocloud_cli.main import cli\n"
        "for line in sys.argv[1:]: cli(line.split('|'), standalone_mode=False)"
    )
    words = (
        ["mask", SCENE, "-o", tmp_path / "m.tif", "--polygons", tmp_path / "p.gpkg"],
        ["models"],
        ["info", SCENE],
        ["preview", SCENE, "-o", tmp_path / "p.png"],
    )
    lines = ["|".join(map(str, line)) for line in words]
    strace = shutil.which("strace")
    trace = [strace, "-f", "-e", "trace=connect", "-o", str(tmp_path / "calls")] if strace else []
    done = subprocess.run([*trace, sys.executable, "-c", code, *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not strace or "AF_INET" not in (tmp_path / "calls").read_text()


def test_nothing_in_the_code_runs_other_peoples_code():
    """No eval, pickle, shell or unsafe unpacking in the package."""
    forbidden = {"eval", "exec", "compile", "os.system", "os.popen", "torch.load", "extractall", "input"}
    modules = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in forbidden and name.rpartition(".")[2] != "extractall", f"{path}: {name}"
                shell = [k for k in node.keywords if k.arg == "shell"]
                assert not shell, f"{path}: a shell"
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not modules & {name.partition(".")[0] for name in names}, path


def test_every_dependency_has_a_bound_and_a_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    lines = [line.strip() for line in block.splitlines() if line.strip().startswith('"')]
    assert len(lines) > 15
    for line in lines:
        assert line.startswith('"geocloud[') or (("=" in line.split('"')[1]) and "#" in line), line


@pytest.mark.slow
def test_doctor_is_well():
    done = console.run("doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert {"self-test", "rasters", "device", *(f"model {name}" for name in bundled_models())} <= set(found)
    assert all(finding["well"] for finding in found.values())
    assert "ok  self-test" in console.run("doctor").stdout


def test_doctor_finds_what_is_ill(monkeypatch, tmp_path):
    from geocloud import doctor

    for name, path in bundled_models().items():
        (tmp_path / f"{name}.onnx").write_bytes(path.read_bytes()[:-2000])
    monkeypatch.setattr("geocloud.models.FILES", tmp_path)
    found = {finding.what: finding for finding in doctor.examine()}
    assert not found["self-test"].well and not found["model fast"].well
    assert "not an ONNX file that OpenVINO reads" in found["model fast"].text


def test_weights_are_checked_against_their_hash(tmp_path):
    for path in map(find_weights, bundled_models()):
        Network.load(path).save(tmp_path / "same.safetensors")
        assert (tmp_path / "same.safetensors").read_bytes() == path.read_bytes()
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        (tmp_path / "m.safetensors").write_bytes(data)
        with pytest.raises(CheckpointError, match="damaged or tampered"):
            Network.load(tmp_path / "m.safetensors")


def test_errors_are_one_line_whatever_is_in_them():
    assert str(SceneReadError("a\n- b\r\n  c")) == "a - b c"
    assert str(SceneReadError("two  spaces")) == "two  spaces"


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "kept.tif").write_text("kept")
    (tmp_path / "link.tif").symlink_to(tmp_path / "kept.tif")
    assert console.run("mask", SCENE, "-o", tmp_path / "link.tif", "--overwrite").returncode == 0
    assert (tmp_path / "link.tif").is_symlink()
    assert np.unique(read_tif(tmp_path / "kept.tif")).tolist() == [0, 1, 255]
