"""Networks computed by OpenVINO: those of torch, in floating point up to rounding, in 8-bit integers nearly."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import write_tif
from small import checkpoint

from geocloud.errors import CheckpointError, DeviceError
from geocloud.model.checkpoint import Checkpoint
from geocloud.models.devices import Precision, has_openvino, may_have_gpu
from geocloud.model.networks import build_network, load_network, to_arrays
from geocloud.model.quantise import MOST_WEIGHT, Coding, quantise
from geocloud.model.torch_runner import TorchRunner
from geocloud.models.predictor import Predictor, load_model
from geocloud.simulate import simulate_scene
from geocloud.training.observe import observe, observed

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="needs OpenVINO on x86-64")
CPU = torch.device("cpu")


def used(architecture, **options):
    """A small checkpoint with batch norms as after training, not as at birth."""
    torch.manual_seed(1)
    network = build_network(architecture, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.2)
    return checkpoint(architecture, options=options, weights=to_arrays(network.state_dict()), clip=1.1)


def tiles(size=(64, 96)):
    """With a margin, stripes, single pixels without data, nothing missing, and no near-infrared."""
    found = np.random.default_rng(0).uniform(0, 1.5, (4, 4, *size)).astype("float32")
    found[0, :, :20] = np.nan
    found[0, :, 40:44, 10:] = np.nan
    found[1, 2, 30, 40:50] = np.nan
    found[3, 3] = np.nan
    found[3, :, -9:] = np.nan
    return found


@needs_openvino
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("fast", {"width": 4, "optional_nir": True, "classes": 2}),
        ("fast", {"width": 4, "levels": 2, "widest": 6, "classes": 2, "optional_nir": True}),
        ("fast", {"width": 4, "levels": 1, "optional_nir": True}),
        ("unet", {"width": 4, "classes": 2, "optional_nir": True}),
        ("attention-unet", {"width": 4, "classes": 2, "optional_nir": True}),
    ],
)
def test_it_computes_what_torch_computes(architecture, options):
    model, image = used(architecture, **options), tiles()
    wanted = TorchRunner(model, CPU, Precision.FLOAT32)(image)
    predictor = Predictor(model, "cpu", "float32", batch=4)
    for found in (predictor(image), np.concatenate([predictor(tile[None]) for tile in image])):
        data = np.isfinite(image[:, :3]).all(1)[:, None]
        np.testing.assert_allclose(np.where(data, found, 0), np.where(data, wanted, 0), atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("architecture", ["fast", "unet"])
def test_models_for_four_bands_too(architecture):
    model, image = used(architecture, width=4), tiles()[1:3]
    wanted = TorchRunner(model, CPU, Precision.FLOAT32)(image)
    np.testing.assert_allclose(Predictor(model, "cpu", "float32")(image), wanted, atol=1e-4)


@needs_openvino
def test_integers_mask_as_floating_point_does():
    image = np.concatenate([simulate_scene(seed, (448, 448)).reflectance for seed in (3, 5, 8)], 2)
    exact, whole = (load_model(device="cpu", precision=p) for p in (Precision.FLOAT32, Precision.INT8))
    one, other = (model.predict_array(image) for model in (exact, whole))
    assert ((one[0] > exact.threshold) == (other[0] > exact.threshold)).mean() > 0.99
    assert np.abs(one - other).mean() < 0.01


@needs_openvino
def test_integers_are_what_auto_takes_where_a_model_can():
    assert load_model(device="cpu").precision is Precision.INT8
    assert load_model("unet", device="cpu").precision in (Precision.FLOAT32, Precision.BFLOAT16)


@needs_openvino
@pytest.mark.parametrize("model", ["unet", "fast"])
def test_models_that_cannot_compute_in_integers_are_refused(model):
    with pytest.raises(CheckpointError, match="model 'small': cannot compute in int8"):
        Predictor(checkpoint(model), "cpu", "int8")


def test_integers_without_openvino_are_refused(monkeypatch):
    monkeypatch.setattr("geocloud.predict.has_openvino", lambda: False)
    assert load_model(device="cpu").precision is not Precision.INT8
    with pytest.raises(DeviceError, match="precision int8: wanted an x86-64 CPU with OpenVINO"):
        load_model(device="cpu", precision="int8")


class Noise(torch.utils.data.Dataset):
    """Samples without structure."""

    def __getitem__(self, index):
        return torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(index)), torch.zeros(2, 32, 32)


@needs_openvino
@pytest.mark.parametrize(
    "options", [{"width": 4}, {"width": 3, "levels": 2}, {"width": 8, "classes": 2, "levels": 3, "optional_nir": True}]
)
def test_what_is_seen_is_kept_in_the_file(tmp_path, options):
    seen = observed(used("fast", **options), Noise())
    convolutions = sum(isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for m in load_network(seen).modules())
    assert len(seen.seen) == convolutions
    assert all((values[0] <= values[2]).all() and (values[2] <= values[1]).all() for values in seen.seen.values())
    seen.save(tmp_path / "m.safetensors")
    loaded = Checkpoint.load(tmp_path / "m.safetensors")
    assert loaded.weights.keys() == seen.weights.keys()
    image = np.random.default_rng(0).random((2, 4, 32, 48), "float32")
    if "optional_nir" in options:
        image[1, 3] = np.nan
    for one, other in ((seen, loaded), (seen.cloud_alone(), loaded.cloud_alone())):
        expected = Predictor(one, "cpu", "int8")(image)
        np.testing.assert_array_equal(Predictor(other, "cpu", "int8")(image), expected)
        np.testing.assert_allclose(expected, Predictor(other, "cpu", "float32")(image), atol=0.08)
    bytes_ = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "n.safetensors").write_bytes(bytes_[:-1] + bytes([bytes_[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="tampered"):
        Checkpoint.load(tmp_path / "n.safetensors")


@needs_openvino
@pytest.mark.parametrize("wrong", ["missing", "of another size", "not a number"])
def test_what_is_seen_and_does_not_fit_is_refused(wrong):
    small = observed(checkpoint(), Noise())
    seen = dict(small.seen)
    if wrong == "missing":
        del seen["up.0.0"]
    else:
        seen["up.0.0"] = seen["up.0.0"][:, :3] if wrong == "of another size" else seen["up.0.0"] * np.nan
    with pytest.raises(CheckpointError, match=r"model 'small': what it needs for int8 is damaged.* train it anew"):
        Predictor(replace(small, seen=seen), "cpu", "int8")


@pytest.mark.parametrize("changes", [{"architecture": "unet"}, {"options": {"width": 4, "levels": 1}}])
def test_what_cannot_be_quantised_sees_nothing(changes):
    architecture, options = changes.get("architecture", "fast"), changes.get("options", {"width": 4})
    model = used(architecture, **options)
    assert observe(load_network(model), [torch.rand(1, 4, 32, 32)]) == {}
    assert observed(replace(model, seen={"down.0.3": np.zeros((3, 4))}), Noise()).seen == {}


@needs_openvino
@pytest.mark.parametrize("wrong", ["one is missing", "one too many", "of another size", "classes", "an option"])
def test_weights_that_do_not_fit_are_refused(wrong):
    """By OpenVINO's graphs as by torch's networks, which check them all."""
    small = checkpoint()
    weights, options = dict(small.weights), {"width": 4}
    if wrong == "one is missing":
        del weights["up.1.4.bias"]
    elif wrong == "one too many":
        weights["up.9.0.weight"] = weights["up.1.0.weight"]
    elif wrong == "of another size":
        weights["grow.1.bias"] = weights["grow.1.bias"][:3]
    else:
        options |= {"classes": 2} if wrong == "classes" else {"depth": 3}
    with pytest.raises(CheckpointError, match=r"do not fit 'fast'|cannot be built"):
        Predictor(replace(small, weights=weights, options=options), "cpu", "float32")


@pytest.mark.parametrize("transposed", [False, True])
def test_rounded_weights_stand_for_the_real_ones(transposed):
    draw = np.random.default_rng(3)
    weight, bias, mean = draw.normal(size=(20, 12, 3, 3)), draw.normal(size=20), draw.random(12)
    steps, out = draw.uniform(0.002, 0.01, 12), draw.uniform(0.02, 0.04, 20)
    found = quantise(weight, bias, mean, steps, out, transposed)
    assert found.weight.dtype == np.int8 and np.abs(found.weight.astype(int)).max() == MOST_WEIGHT
    exact = weight * steps[:, None, None] / out[:, None, None, None] / found.scale[:, None, None, None]
    assert np.abs(found.weight - exact).max() < (0.51 if transposed else 1.01)
    if not transposed:
        assert np.abs((found.weight - exact).sum((2, 3))).max() <= 0.51, "each kernel's sum is as good as rounded"
    # Over an input that is its mean everywhere, the rounded convolution gives what the exact one gives.
    summed = (lambda w: w.mean((2, 3))) if transposed else (lambda w: w.sum((2, 3)))
    whole = summed(found.weight * found.scale[:, None, None, None]) @ (mean / steps) + found.bias
    np.testing.assert_allclose(whole, (summed(weight) @ mean + bias) / out)


def test_two_products_fit_into_16_bits():
    """As CPUs without VNNI add up pairs of them there, and cut off what does not fit."""
    assert 2 * 255 * MOST_WEIGHT < 2**15


def test_narrow_channels_get_some_of_the_range_of_wide_ones():
    coding = Coding.of(np.array([[0.0, 0, 0], [1, 4, 0], [0.1, 0.1, 0]]))
    np.testing.assert_allclose(coding.steps * 255, [2, 4, np.sqrt(4 * 4e-3)])
    below = Coding.of(np.array([[-4.0], [1], [0]]), zero=64)
    assert (below.steps * 64).tolist() == [4]


@needs_openvino
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Linux and macOS")
def test_a_signal_after_models_are_freed_is_handled():
    """OpenVINO's plugin, once freed, leaves the thread a stack for signals that is no memory any more."""
    code = (
        "import os, signal\n"
        "from geocloud.models.predictor import load_model\n"
        "first, second = load_model(device='cpu'), load_model(device='cpu')\n"
        "del first\n"
        "del second\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n")


@needs_openvino
@pytest.mark.skipif(may_have_gpu(), reason="torch computes where there is a GPU")
def test_a_scene_is_masked_without_torch(tmp_path):
    """Its import takes longer than a small scene does."""
    scene = simulate_scene(3, (96, 128))
    write_tif(tmp_path / "s.tif", scene.reflectance, descriptions=("red", "green", "blue", "nir"))
    code = (
        "import sys\n"
        "from geocloud_cli.main import cli\n"
        f"cli(['-q', 'mask', {str(tmp_path / 's.tif')!r}, '-o', {str(tmp_path / 'm.tif')!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "m.tif").is_file()


def test_a_torch_for_cpus_needs_no_look_for_a_gpu(monkeypatch):
    monkeypatch.setattr("geocloud.model.devices.version", lambda _: "2.13.0+cpu")
    monkeypatch.setattr("ctypes.CDLL", None)
    assert not may_have_gpu()
