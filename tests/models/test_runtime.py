"""ONNX files: equal probabilities in OpenVINO, ONNX Runtime and torch on a CPU."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import write_tif
from small import small, used

from geocloud.errors import CheckpointError, DeviceError
from geocloud.models.devices import Precision, may_have_gpu
from geocloud.models.export import to_onnx
from geocloud.models.network import by_torch
from geocloud.models.predictor import load_model
from geocloud.models.runtime import open_onnx
from geocloud.simulate import simulate_scene
from recipes.quantise import quantise

WEB_OPERATORS = {
    "Add", "And", "AveragePool", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose",
    "DepthToSpace", "DequantizeLinear", "Div", "Equal", "Expand", "Gather", "Greater", "IsNaN", "MaxPool", "Mul", "Not",
    "QuantizeLinear", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Split", "Squeeze",
    "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
"""Operators of the opset 17 that onnxruntime-web has, as far as exported files use them."""


def tiles(size=(64, 96)):
    """Tiles with an empty margin, with single empty pixels, complete, and without near-infrared."""
    images = np.random.default_rng(0).uniform(0, 1.5, (4, 4, *size)).astype("float32")
    images[0, :, :20] = np.nan
    images[1, 2, 30, 40:50] = np.nan
    images[3, 3] = np.nan
    images[3, :, -9:] = np.nan
    return images


BOTH = {"width": 4, "classes": 2, "optional_nir": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("fast", BOTH),
        ("fast", {**BOTH, "levels": 2, "widest": 6}),
        ("fast", {"width": 4, "levels": 1, "optional_nir": True}),
        ("fast", {"width": 4, "levels": 2}),
        ("unet", BOTH),
        ("attention-unet", BOTH),
    ],
)
def test_a_file_gives_the_same_probabilities_everywhere(architecture, options):
    network = used(architecture, **options)
    images = tiles() if network.metadata.optional_nir else tiles()[:3]
    expected = by_torch(network, "cpu", Precision.FLOAT32)(images)
    data = to_onnx(network)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    by_openvino = open_onnx(data, Precision.FLOAT32)
    assert by_openvino.metadata.to_json() == network.metadata.to_json()
    known = np.isfinite(images[:, :3]).all(1)[:, None]
    for probability in (session.run(None, {"reflectance": images})[0], by_openvino(images)):
        assert probability.dtype == np.float32 and np.isfinite(probability).all()
        np.testing.assert_allclose(np.where(known, probability, 0), np.where(known, expected, 0), atol=1e-3)
    nodes = onnx.load_from_string(data).graph.node
    assert {node.op_type for node in nodes} <= WEB_OPERATORS and not any(node.domain for node in nodes)


@pytest.mark.slow
def test_integers_compute_nearly_what_floating_point_does():
    network = used("fast", **BOTH)
    samples = np.random.default_rng(1).uniform(0, 1.2, (9, 4, 64, 64)).astype("float32")
    samples[0, 3] = samples[1, :, :, :20] = np.nan
    data = quantise(to_onnx(network), iter(samples))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    by_openvino = open_onnx(data)
    assert by_openvino.precision is Precision.INT8 and by_openvino.metadata.name == "small"
    expected = by_torch(network, "cpu", Precision.FLOAT32)(samples)
    for probability in (session.run(None, {"reflectance": samples})[0], by_openvino(samples)):
        known = np.isfinite(samples[:, :3]).all(1)[:, None]
        assert np.abs(probability - expected)[np.broadcast_to(known, expected.shape)].mean() < 0.01
    nodes = onnx.load_from_string(data).graph.node
    assert {node.op_type for node in nodes} <= WEB_OPERATORS and not any(node.domain for node in nodes)


@pytest.mark.slow
def test_the_default_model_computes_in_integers_and_masks_as_its_weights_do():
    image = np.concatenate([simulate_scene(seed, (448, 448)).reflectance for seed in (3, 5, 8)], 2)
    exact, quantised = (load_model(device="cpu", precision=p) for p in (Precision.FLOAT32, Precision.AUTO))
    assert (exact.precision, quantised.precision) == (Precision.FLOAT32, Precision.INT8)
    one, other = (model.predict_array(image) for model in (exact, quantised))
    assert ((one[0] > exact.threshold) == (other[0] > exact.threshold)).mean() > 0.99
    assert np.abs(one - other).mean() < 0.01


def test_precisions_that_a_file_or_a_cpu_lacks_are_refused(tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(to_onnx(small()))
    with pytest.raises(CheckpointError, match=r"m\.onnx: does not compute in int8"):
        load_model(tmp_path / "m.onnx", "cpu", "int8")
    monkeypatch.setitem(sys.modules["geocloud.models.runtime"].TYPES, Precision.BFLOAT16, ("bf16", "NONE"))
    with pytest.raises(DeviceError, match="precision bfloat16: this CPU has no instructions"):
        load_model(tmp_path / "m.onnx", "cpu", "bfloat16")
    small().save(tmp_path / "m.safetensors")
    with pytest.raises(DeviceError, match="wanted a CPU and a model file in 8-bit integers"):
        load_model(tmp_path / "m.safetensors", "cpu", "int8")


def test_a_flipped_bit_is_noticed():
    network = small()
    data = bytearray(to_onnx(network))
    data[data.index(network.body.leave[0].bias.detach().numpy().tobytes())] ^= 1
    with pytest.raises(CheckpointError, match="damaged or changed") as caught:
        open_onnx(bytes(data))
    assert "\n" not in str(caught.value)


def test_an_export_that_differs_is_not_written(monkeypatch):
    network = used("fast", **BOTH)
    monkeypatch.setattr("geocloud.models.runtime._infer", lambda idle, metadata, x: np.zeros((1, 2, *x.shape[2:])))
    with pytest.raises(CheckpointError, match="exported, it differs by"):
        to_onnx(network)


def test_flipped_views_are_taken():
    for predictor in (open_onnx(to_onnx(small())), by_torch(small(), "cpu")):
        flipped = tiles()[1:3, :, ::-1]
        np.testing.assert_array_equal(predictor(flipped), predictor(flipped.copy()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Linux and macOS")
def test_a_signal_after_models_are_freed_is_handled():
    """OpenVINO's plugin, when freed, leaves the thread with a signal stack in unmapped memory."""
    code = (
        "import os, signal\n"
        "from geocloud import load_model\n"
        "first, second = load_model(device='cpu'), load_model(device='cpu')\n"
        "del first\n"
        "del second\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n")


@pytest.mark.slow
def test_threads_that_begin_at_once_do_not_wait_for_each_other(tmp_path):
    """OpenVINO's Python API can deadlock if two threads use it first at the same time."""
    (tmp_path / "m.onnx").write_bytes(to_onnx(small()))
    code = (
        "import sys, threading\n"
        "import numpy as np\n"
        "from geocloud import load_model\n"
        f"model = load_model({str(tmp_path / 'm.onnx')!r}, 'cpu', threads=4)\n"
        "sys.setswitchinterval(1e-6)\n"
        "begin = threading.Barrier(4)\n"
        "def call():\n"
        "    tile = np.zeros((1, 4, 64, 64), 'float32')\n"
        "    begin.wait()\n"
        "    model(tile)\n"
        "threads = [threading.Thread(target=call) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.slow
@pytest.mark.skipif(may_have_gpu(), reason="torch computes where there is a GPU")
def test_a_scene_is_masked_without_torch(tmp_path):
    """Importing torch takes longer than masking a small scene."""
    scene = simulate_scene(3, (96, 128))
    write_tif(tmp_path / "s.tif", scene.reflectance, descriptions=("red", "green", "blue", "nir"))
    code = (
        "import sys\n"
        "from geocloud_cli.main import cli\n"
        f"cli(['-q', 'mask', {str(tmp_path / 's.tif')!r}, '-o', {str(tmp_path / 'm.tif')!r}], standalone_mode=False)\n"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "m.tif").is_file()


def test_a_torch_for_cpus_needs_no_look_for_a_gpu(monkeypatch):
    monkeypatch.setattr("geocloud.models.devices.version", lambda _: "2.13.0+cpu")
    monkeypatch.setattr("ctypes.CDLL", None)
    assert not may_have_gpu()
