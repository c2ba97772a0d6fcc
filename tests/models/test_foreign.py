"""ONNX networks of other programs, and ``geocloud export``."""

import json

import numpy as np
import pytest
from conftest import geobox, ramp, read_tif, write_tif
from console import run
from foreign import foreign
from small import used

from geocloud.errors import CheckpointError, GeocloudError
from geocloud.models import model_files
from geocloud.models.network import by_torch
from geocloud.models.predictor import load_model
from geocloud.pipeline import mask_scene
from geocloud.pipeline.export import export_model

pytest.importorskip("onnx")


@pytest.mark.parametrize("nir", [True, False])
def test_an_exported_model_gives_the_same_probabilities(tmp_path, nir):
    network = used("fast", width=4, levels=3, classes=2, optional_nir=True)
    network.save(tmp_path / "small.safetensors")
    export_model(tmp_path / "small.safetensors", tmp_path / "other.onnx")
    image = ramp()
    image[:, :7, :5] = np.nan
    if not nir:
        image[3] = np.nan
    model = load_model(tmp_path / "other.onnx", "cpu")
    np.testing.assert_allclose(model.predict_array(image), by_torch(network, "cpu").predict_array(image), atol=1e-4)
    assert (model.name, model.threshold, model.classes, model.optional_nir) == ("small", 0.42, 2, True)


def test_the_command_exports_and_masks(tmp_path):
    used("fast", width=4, levels=3, classes=2, optional_nir=True).save(tmp_path / "small.safetensors")
    done = run("export", tmp_path / "small.safetensors", "-o", tmp_path / "m.onnx")
    assert done.returncode == 0 and "same probabilities" in done.stdout, done.stderr
    assert "--overwrite" in run("export", tmp_path / "small.safetensors", "-o", tmp_path / "m.onnx").stderr
    assert run("export", "fast", "-o", tmp_path / "m.pb").returncode == 1
    scene = write_tif(tmp_path / "s.tif", ramp())
    done = run("mask", scene, "--model", tmp_path / "m.onnx", "-o", tmp_path / "a.tif", "--json", "--shadows")
    assert done.returncode == 0 and json.loads(done.stdout)["model"] == "small", done.stderr
    done = run("mask", scene, "--model", tmp_path / "m.onnx", "-o", tmp_path / "b.tif", "--precision", "int8")
    assert done.returncode == 1 and "--precision int8" in done.stderr


RGB = """
bands = ["blue", "green", "red"]
mean = [0, 0, 0.35]
std = [1, 1, 0.01]
activation = "softmax"
cloud = [1, 2]
"""


def test_a_foreign_rgb_network_is_told_by_a_file_beside_it(tmp_path):
    """Three classes from red, the third channel: minus red for clear, red for both kinds of cloud."""
    path = foreign(tmp_path / "theirs.onnx", 3, [[0, 0, -1], [0, 0, 1], [0, 0, 1]], count=1)
    with pytest.raises(CheckpointError, match=r"theirs\.toml beside it"):
        load_model(path)
    path.with_suffix(".toml").write_text(RGB)
    scene = write_tif(tmp_path / "s.tif", ramp(), geobox())
    made = mask_scene(scene, tmp_path / "m.tif", model=path)
    red = (ramp()[0] - 0.35) / 0.01
    exact = 2 * np.exp(red) / (2 * np.exp(red) + np.exp(-red))
    certain = abs(exact - 0.5) > 0.01
    assert ((read_tif(made.mask)[0] == 1) == (exact > 0.5))[certain].all() and made.model == "theirs"
    np.testing.assert_allclose(load_model(path, "cpu").predict_array(ramp())[0], exact, atol=1e-4)
    assert model_files(path) == (path, path.with_suffix(".toml"))  # a batch detects changes in both


@pytest.mark.parametrize("shape", [(90, 110), (150, 40), (64, 96)])  # larger, narrower, and exactly one window
def test_a_network_of_one_size_sees_windows(tmp_path, shape):
    """A pixelwise network gives the same result in any windows: no pixel is shifted, lost or duplicated."""
    path = foreign(tmp_path / "fixed.onnx", 3, [[0, 0, -1], [0, 0, 1], [0, 0, 1]], sides=(64, 96), count=1)
    path.with_suffix(".toml").write_text(RGB + "shadow = [0]")
    image = ramp(*shape)
    red = (image[0] - 0.35) / 0.01
    exact = 2 * np.exp(red) / (2 * np.exp(red) + np.exp(-red))
    np.testing.assert_allclose(load_model(path, "cpu").predict_array(image), [exact, 1 - exact], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("mean = [0, 0]", "wanted a mean"),
        ('activation = "relu"', "activation 'relu'"),
        ("cloud = [7]", "at least 8"),
        ("cloud = []", "cloud ()"),
        ('bands = ["red", "green", "nir"]', "wanted red, green, blue once"),
        ('input = "pixels"', "input 'pixels'"),
        ('bands = ["red", "green", "blue", "nir"]', "wanted a mean"),
        ("size = 3", "no setting size"),
        ('std = ["a", 1, 1]', "wrong type"),
        ("threshold = 2", "threshold 2"),
        ("pixel_size = -1", "pixel_size -1"),
        ("mean = ", "Invalid value"),
    ],
)
def test_what_is_wrong_beside_a_file_is_one_line(tmp_path, line, reason):
    path = foreign(tmp_path / "theirs.onnx", 3, [[0, 0, -1], [0, 0, 1], [0, 0, 1]])
    kept = [old for old in RGB.strip().splitlines() if old.split()[0] != line.split()[0]]
    path.with_suffix(".toml").write_text("\n".join([*kept, line]))
    with pytest.raises(GeocloudError, match=r"theirs\.toml: ") as caught:
        load_model(path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(CheckpointError, match=r"text\.onnx: not an ONNX file"):
        load_model(tmp_path / "text.onnx")
    for sides in ((250, 256), (256, "w")):
        path = foreign(tmp_path / "fixed.onnx", 3, [[0, 0, -1], [0, 0, 1], [0, 0, 1]], sides=sides)
        path.with_suffix(".toml").write_text(RGB)
        with pytest.raises(CheckpointError, match="multiples of 32, or dynamic height and width"):
            load_model(path)
    path = foreign(tmp_path / "four.onnx", 4, [[0, 0, 1, 0]])
    path.with_suffix(".toml").write_text(RGB)
    with pytest.raises(CheckpointError, match="4 input channels, and its metadata 3 bands"):
        load_model(path)
