"""Networks in 8-bit integers: close to float32, refused where they cannot be, kept in checkpoints."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from small import checkpoint

from geocloud.errors import CheckpointError, DeviceError
from geocloud.model import int8
from geocloud.model.checkpoint import Checkpoint, build_network
from geocloud.model.int8 import Convolution, observe
from geocloud.predict import Precision, Predictor, find_dtype, load_model
from geocloud.simulate import simulate_scene
from geocloud.training.observe import observed

needs_vnni = pytest.mark.skipif(not int8.able(), reason="needs a CPU with VNNI or AMX")
CPU = torch.device("cpu")


@needs_vnni
@pytest.mark.parametrize(("zeros", "relu"), list(product([(0, 0), (0, 64), (64, 0)], [True, False])))
@pytest.mark.parametrize("side", [1, 3])
def test_a_convolution_of_integers_is_that_of_the_values_they_stand_for(zeros, relu, side):
    torch.manual_seed(side)
    steps = torch.rand(12) * 0.01 + 0.002, torch.rand(20) * 0.02 + 0.02
    weight, bias = torch.randn(20, 12, side, side) / side, torch.randn(20) * 0.3
    x = torch.randint(0, 256, (1, 12, 30, 50), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    values = (x.float() - zeros[0]) * steps[0][:, None, None]
    whole = Convolution(weight, bias, values.mean((0, 2, 3)), steps, zeros, relu)(x)
    found = (whole.float() - zeros[1]) * steps[1][:, None, None]
    truth = torch.nn.functional.conv2d(values, weight, bias, padding=side // 2)
    lowest = torch.zeros(20) if relu else -zeros[1] * steps[1]
    truth = torch.clamp(truth, lowest[:, None, None], ((255 - zeros[1]) * steps[1])[:, None, None])
    error = (found - truth).abs() / steps[1][:, None, None]
    assert whole.dtype == torch.uint8 and whole.shape == (1, 20, 30, 50)
    assert error.mean() < 0.6 and error.max() < 4


@needs_vnni
def test_a_trained_network_masks_as_in_float32():
    image = np.concatenate([simulate_scene(seed, (448, 448)).reflectance for seed in (3, 5, 8)], 2)
    exact, whole = (load_model(device="cpu", precision=p) for p in (Precision.FLOAT32, Precision.INT8))
    one, other = (model.predict_array(image) for model in (exact, whole))
    assert ((one[0] > exact.threshold) == (other[0] > exact.threshold)).mean() > 0.99
    assert np.abs(one - other).mean() < 0.01


@needs_vnni
def test_it_is_what_auto_takes_where_a_model_can():
    assert load_model(device="cpu").dtype is torch.int8
    assert load_model("unet", device="cpu").dtype is not torch.int8
    assert find_dtype(CPU, Precision.AUTO) in (torch.float32, torch.bfloat16)


def test_without_vnni_it_is_refused_and_auto_takes_another(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert load_model(device="cpu").dtype is torch.float32
    with pytest.raises(DeviceError, match="precision int8: wanted a CPU with VNNI or AMX"):
        load_model(device="cpu", precision="int8")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    assert load_model(device="cpu").dtype is torch.int8


@needs_vnni
@pytest.mark.parametrize("model", ["unet", "fast"])
def test_models_that_cannot_are_refused(model):
    with pytest.raises(CheckpointError, match="model 'small': cannot compute in int8"):
        Predictor(checkpoint(model), "cpu", "int8")


class Noise(torch.utils.data.Dataset):
    """Samples without structure."""

    def __getitem__(self, index):
        return torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(index)), torch.zeros(2, 32, 32)


@needs_vnni
@pytest.mark.parametrize("options", [{"width": 4}, {"width": 3, "levels": 2}, {"width": 8, "classes": 2, "levels": 3}])
def test_what_is_seen_is_kept_in_the_file(tmp_path, options):
    torch.manual_seed(1)
    small = checkpoint(options=options, weights=build_network("fast", **options).state_dict())
    seen = observed(small, Noise())
    convolutions = sum(isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for m in small.network().modules())
    assert len(seen.seen) == convolutions
    assert all((values[0] <= values[2]).all() and (values[2] <= values[1]).all() for values in seen.seen.values())
    seen.save(tmp_path / "m.safetensors")
    loaded = Checkpoint.load(tmp_path / "m.safetensors")
    assert loaded.weights.keys() == small.weights.keys()
    image = np.random.default_rng(0).random((2, 4, 32, 48), "float32")
    for one, other in ((seen, loaded), (seen.cloud_alone(), loaded.cloud_alone())):
        expected = Predictor(one, "cpu", "int8")(image)
        np.testing.assert_array_equal(Predictor(other, "cpu", "int8")(image), expected)
        np.testing.assert_allclose(expected, Predictor(other, "cpu", "float32")(image), atol=0.05)
    bytes_ = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "n.safetensors").write_bytes(bytes_[:-1] + bytes([bytes_[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="tampered"):
        Checkpoint.load(tmp_path / "n.safetensors")


@needs_vnni
@pytest.mark.parametrize("wrong", ["missing", "of another size", "not a number"])
def test_what_is_seen_and_does_not_fit_is_refused(wrong):
    small = observed(checkpoint(), Noise())
    seen = dict(small.seen)
    if wrong == "missing":
        del seen["up.0.0"]
    else:
        seen["up.0.0"] = seen["up.0.0"][:, :3] if wrong == "of another size" else seen["up.0.0"] * torch.nan
    with pytest.raises(CheckpointError, match=r"model 'small': what it needs for int8 is damaged.* train it anew"):
        Predictor(replace(small, seen=seen), "cpu", "int8")


@pytest.mark.parametrize("changes", [{"architecture": "unet"}, {"options": {"width": 4, "levels": 1}}])
def test_what_cannot_be_quantised_sees_nothing(changes):
    architecture, options = changes.get("architecture", "fast"), changes.get("options", {"width": 4})
    weights = build_network(architecture, **options).state_dict()
    model = checkpoint(architecture, options=options, weights=weights)
    assert observe(model.network(), [torch.rand(1, 4, 32, 32)]) == {}
    assert observed(replace(model, seen={"down.0.3": torch.zeros(3, 4)}), Noise()).seen == {}
