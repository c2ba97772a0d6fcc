"""Trained networks are restored from their files; other files are refused with one line."""

import dataclasses
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from small import metadata, small

from geocloud.errors import CheckpointError, ModelNotFoundError
from geocloud.models import DEFAULT, bundled_models, find_model, find_weights, read_metadata
from geocloud.models.metadata import ModelMetadata, read_safetensors
from geocloud.models.network import Network, load_body


@pytest.mark.parametrize("architecture", ["fast", "unet", "attention-unet"])
def test_what_is_loaded_is_what_was_saved(tmp_path, architecture):
    saved = small(architecture, clip=1.1, pixel_size=30.0)
    saved.save(tmp_path / "m.safetensors")
    loaded = Network.load(tmp_path / "m.safetensors")
    for field in dataclasses.fields(ModelMetadata):
        if field.name != "sha256":
            assert getattr(loaded.metadata, field.name) == getattr(saved.metadata, field.name)
    assert read_safetensors(tmp_path / "m.safetensors").sha256 == loaded.metadata.sha256 != ""
    image = torch.rand(1, 4, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), saved(image))


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was loaded",))

    path = tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        Network.load(path)


@pytest.mark.parametrize("cut", [0, 5, 300, 20_000])
def test_a_truncated_file_is_refused(tmp_path, cut):
    path = tmp_path / "m.safetensors"
    small().save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        Network.load(path)


def test_a_changed_weight_is_noticed(tmp_path):
    path = tmp_path / "m.safetensors"
    small().save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="tampered"):
        Network.load(path)


@pytest.mark.parametrize("wrong", ["one is missing", "one too many", "of another size", "classes", "an option"])
def test_weights_that_do_not_fit_are_refused(wrong):
    weights, options = dict(small().body.state_dict()), {"width": 4}
    if wrong == "one is missing":
        del weights["up.1.4.bias"]
    elif wrong == "one too many":
        weights["up.9.0.weight"] = weights["up.1.0.weight"]
    elif wrong == "of another size":
        weights["grow.1.bias"] = weights["grow.1.bias"][:3]
    else:
        options |= {"classes": 2} if wrong == "classes" else {"depth": 3}
    with pytest.raises(CheckpointError, match=r"do not fit 'fast'|cannot be built"):
        load_body(metadata(options=options), weights)


def test_files_of_others_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not one that geocloud wrote"):
        Network.load(path)
    for entry, reason in (
        ({"format": 99}, "format"),
        ({"format": 2, "x": 1}, "no setting x"),
        ([], "format"),
        ("x", "format"),
    ):
        save_file({"a": torch.zeros(3)}, path, metadata={"geocloud": json.dumps(entry)})
        with pytest.raises(CheckpointError, match=reason):
            Network.load(path)
    with pytest.raises(ModelNotFoundError, match=r"gone\.safetensors"):
        Network.load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"bands": ("nir", "red", "green")},
        {"std": (1, 1, 0, 1)},
        {"mean": (1,)},
        {"threshold": 1.0},
        {"activation": "relu"},
        {"input": "digital numbers"},
        {"cloud": ()},
        {"pixel_size": 0},
    ],
)
def test_facts_that_make_no_sense_are_refused(changes):
    with pytest.raises(CheckpointError):
        metadata(**changes)


def test_models_are_found_by_name_or_path(tmp_path):
    assert DEFAULT in bundled_models()
    assert find_model(DEFAULT) == bundled_models()[DEFAULT]
    small().save(tmp_path / "m.safetensors")
    assert find_model(tmp_path / "m.safetensors") == tmp_path / "m.safetensors"
    with pytest.raises(ModelNotFoundError, match="bundled are"):
        find_model("nonsense")
    (tmp_path / "alone.onnx").touch()
    with pytest.raises(ModelNotFoundError, match=r"wanted alone\.safetensors"):
        find_weights(tmp_path / "alone.onnx")


@pytest.mark.parametrize("name", bundled_models())
def test_both_files_of_a_bundled_model_say_the_same(name):
    run, weights = read_metadata(name), Network.load(find_weights(name)).metadata
    assert dataclasses.asdict(run) == dataclasses.asdict(weights)
    assert run.licence == "MIT" and run.name == name and run.pixel_size == 30
