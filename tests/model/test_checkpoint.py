"""Checkpoints rebuild themselves, and what is no checkpoint is refused in one line."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small import checkpoint

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError, ModelNotFoundError
from geocloud.models import DEFAULT, bundled_models, find_model
from geocloud.model.checkpoint import Checkpoint
from geocloud.model.networks import build_network, load_network, to_arrays
from geocloud.model.normalise import normalise
from geocloud.models.predictor import Predictor


@pytest.mark.parametrize("architecture", ["fast", "unet", "attention-unet"])
def test_what_is_loaded_is_what_was_saved(tmp_path, architecture):
    saved = checkpoint(architecture)
    saved.save(tmp_path / "m.safetensors")
    loaded = Checkpoint.load(tmp_path / "m.safetensors")
    for field in dataclasses.fields(Checkpoint):
        if field.name != "weights":
            assert getattr(loaded, field.name) == getattr(saved, field.name)
    image = torch.rand(1, 4, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(load_network(loaded)(image), load_network(saved)(image))


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was loaded",))

    path = tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        Checkpoint.load(path)


@pytest.mark.parametrize("cut", [0, 5, 300, 20_000])
def test_a_truncated_file_is_refused(tmp_path, cut):
    path = tmp_path / "m.safetensors"
    checkpoint().save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        Checkpoint.load(path)


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError, match="do not fit"):
        load_network(dataclasses.replace(checkpoint(), architecture="unet"))


def test_files_of_others_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not one that geocloud wrote"):
        Checkpoint.load(path)
    save_file({"a": torch.zeros(3)}, path, metadata={"geocloud": json.dumps({"format": 99})})
    with pytest.raises(CheckpointError, match="format"):
        Checkpoint.load(path)
    save_file({"a": torch.zeros(3)}, path, metadata={"geocloud": json.dumps({"format": 1})})
    with pytest.raises(CheckpointError, match="incomplete"):
        Checkpoint.load(path)
    with pytest.raises(ModelNotFoundError, match=r"gone\.safetensors"):
        Checkpoint.load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"bands": ("nir", "red", "green", "blue")},
        {"std": (1, 1, 0, 1)},
        {"mean": (1,)},
        {"threshold": 1.0},
    ],
)
def test_facts_that_make_no_sense_are_refused(changes):
    with pytest.raises(CheckpointError):
        checkpoint(**changes)


def test_models_are_found_by_name_or_path(tmp_path):
    assert DEFAULT in bundled_models()
    assert find_model(DEFAULT) == bundled_models()[DEFAULT]
    checkpoint().save(tmp_path / "m.safetensors")
    assert find_model(tmp_path / "m.safetensors") == tmp_path / "m.safetensors"
    with pytest.raises(ModelNotFoundError, match="bundled are"):
        find_model("nonsense")


def test_normalising_by_hand():
    image = np.full((1, 4, 2, 2), 0.5, "float32")
    image[0, 0, 0] = 0.1
    image[0, :, 1, 1] = np.nan
    mean, std = (torch.full((1, 4, 1, 1), v) for v in (0.25, 0.5))
    found = normalise(torch.from_numpy(image), mean, std)
    assert found[0, 0, 0].tolist() == pytest.approx([-0.3, -0.3])
    assert found[0, 0, 1, 0] == pytest.approx(0.5)
    assert found[0, 0, 1, 1] == pytest.approx((-0.3 - 0.3 + 0.5) / 3)  # no data: the mean of the rest
    assert found[0, 2, 1, 1] == pytest.approx(0.5)
    assert not torch.isnan(normalise(torch.full((1, 4, 2, 2), torch.nan), mean, std)).any()


def test_a_file_of_before_shadow_and_pixel_sizes_still_loads(tmp_path):
    """One output, ratios as inputs, neither clip nor pixel size in its description."""
    options = {"width": 4, "levels": 2, "ratios": True}
    network = build_network("fast", **options)
    about = {
        "format": 1, "name": "old", "architecture": "fast", "options": options, "bands": list(BANDS),
        "mean": [0.25] * 4, "std": [0.25] * 4, "threshold": 0.35, "training": {},
    }  # fmt: skip
    path = tmp_path / "old.safetensors"
    save_file(network.state_dict(), path, metadata={"geocloud": json.dumps(about)})
    loaded = Checkpoint.load(path)
    assert (loaded.clip, loaded.pixel_size, loaded.classes) == (None, None, 1)
    assert not loaded.optional_nir
    found = Predictor(loaded, "cpu", "float32").predict_array(np.full((4, 20, 30), 0.3, "float32"))
    assert found.shape == (1, 20, 30)


def test_what_a_model_was_trained_on_comes_back(tmp_path):
    options = {"width": 4, "levels": 2, "classes": 2, "optional_nir": True}
    network = build_network("fast", **options)
    means = (0.25,) * 4
    made = Checkpoint("m", "fast", to_arrays(network.state_dict()), means, means, 0.4, options, clip=1.1, pixel_size=30)
    made.save(tmp_path / "m.safetensors")
    loaded = Checkpoint.load(tmp_path / "m.safetensors")
    assert (loaded.clip, loaded.pixel_size, loaded.classes, loaded.optional_nir) == (1.1, 30.0, 2, True)
    image = np.full((4, 20, 30), 0.3, "float32")
    image[3] = np.nan
    found = Predictor(loaded, "cpu", "float32").predict_array(image)
    assert found.shape == (2, 20, 30)
    assert np.isfinite(found).all(), "near-infrared may be missing"
