"""The predictor: equal results in all modes, and errors for missing devices."""

import sys

import numpy as np
import pytest
import torch
from conftest import ramp
from scipy.ndimage import distance_transform_edt
from small import needs_bfloat16, small

from geocloud import ModelMetadata
from geocloud.errors import DependencyError, DeviceError, OptionError
from geocloud.models.devices import Precision, cores
from geocloud.models.network import by_torch, find_device, find_dtype
from geocloud.models.predictor import Predictor, load_model
from geocloud.simulate import simulate_scene
from geocloud.training import require_extras

NETWORKS = ["fast", "unet", "attention-unet"]


def tiles(n=5, size=64):
    return np.random.default_rng(0).random((n, 4, size, size), "float32")


def predictor(architecture="fast", batch=4):
    """A small network, run by the code for GPUs."""
    model = by_torch(small(architecture), "cpu", Precision.FLOAT32)
    model.batch = batch
    return model


@pytest.mark.parametrize("architecture", NETWORKS)
def test_batch_size_does_not_change_the_result(architecture):
    by_one, by_four = predictor(architecture, 1)(tiles()), predictor(architecture, 4)(tiles())
    np.testing.assert_allclose(by_one, by_four, atol=1e-5)
    assert by_one.shape == (5, 1, 64, 64)
    assert by_one.dtype == np.float32
    assert ((by_one >= 0) & (by_one <= 1)).all()


@needs_bfloat16
def test_bfloat16_is_close_to_float32():
    image = simulate_scene(3, (384, 384)).reflectance[None]
    full = load_model(device="cpu", precision=Precision.FLOAT32)(image)
    half = load_model(device="cpu", precision=Precision.BFLOAT16)(image)
    assert ((full > 0.5) == (half > 0.5)).mean() > 0.99


def test_out_of_memory_halves_the_batch_and_loses_no_tile(monkeypatch):
    model = predictor(batch=8)
    expected = model(tiles(7))
    run, sizes = model._function, []

    def short_of_memory(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(batch)

    monkeypatch.setattr(model, "_function", short_of_memory)
    np.testing.assert_allclose(model(tiles(7)), expected, atol=1e-5)
    assert sizes == [7, 4, 2, 2, 2, 1]
    assert model.batch == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), MemoryError()]
)
def test_a_cpu_that_is_out_of_memory_is_told_apart_from_one_that_fails(monkeypatch, error):
    model = predictor(batch=4)
    run = model._function

    def short_of_memory(batch):
        if len(batch) > 1:
            raise error
        return run(batch)

    monkeypatch.setattr(model, "_function", short_of_memory)
    assert model(tiles(4)).shape == (4, 1, 64, 64)


def test_out_of_memory_with_one_tile_is_an_error(monkeypatch):
    model = predictor(batch=1)

    def never(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "_function", never)
    with pytest.raises(DeviceError, match="memory"):
        model(tiles(1))


@pytest.mark.parametrize("shape", [(1, 1), (50, 30), (384, 384), (500, 390)])
def test_arrays_of_any_size(shape):
    model = predictor()
    image = ramp(*shape)
    found = model.predict_array(image)
    assert found.shape == (1, *shape)
    assert np.isfinite(found).all()
    valid = np.ones(shape, bool)
    valid[0, 0] = False
    assert np.isnan(model.predict_array(image, valid)).sum() == 1
    image[2, -1, -1] = np.nan
    assert np.isnan(model.predict_array(image)).sum() == 1


@pytest.mark.slow
def test_an_array_is_masked_as_a_file_is(tmp_path):
    from conftest import write_tif

    from geocloud.pipeline import mask_scene
    from geocloud.readers import open_scene, read_filled

    scene = simulate_scene(8, (500, 450))
    path = write_tif(tmp_path / "s.tif", scene.reflectance, descriptions=("red", "green", "blue", "nir"))
    model = load_model(device="cpu", precision=Precision.FLOAT32)
    mask_scene(path, tmp_path / "m.tif", model=model)
    import rasterio

    with rasterio.open(tmp_path / "m.tif") as dataset, open_scene(path) as opened:
        image = read_filled(opened, rasterio.windows.Window(0, 0, 450, 500))
        found = model.predict_array(image)[0] > model.threshold
        np.testing.assert_array_equal(dataset.read(1) == 1, found)


def test_arrays_of_the_wrong_shape_are_refused():
    model = predictor()
    for shape in ((5, 10, 10), (10, 10), (4, 0, 10)):
        with pytest.raises(OptionError, match="wanted"):
            model.predict_array(np.zeros(shape, "float32"))
    with pytest.raises(OptionError, match="valid"):
        model.predict_array(np.zeros((4, 9, 9), "float32"), np.ones((9, 8), bool))


def test_a_plain_function_is_a_model_with_the_metadata_that_are_given():
    def bright(batch):
        return np.stack([batch[:, 0] > 0.4, batch[:, 0] < 0.1], 1).astype("float32")

    facts = ModelMetadata(name="bright", shadow=(1,), threshold=0.7, pixel_size=30.0)
    model = Predictor(bright, facts)
    assert (model.name, model.threshold, model.classes, model.optional_nir) == ("bright", 0.7, 2, False)
    np.testing.assert_array_equal(model.predict_array(ramp())[0] > model.threshold, ramp()[0] > 0.4)
    alone = Predictor(lambda batch: batch[:, 0])
    assert (alone.name, alone.classes, alone.optional_nir) == ("custom", 1, True)
    assert alone.predict_array(ramp()).shape == (1, 90, 110)


def test_a_function_may_reuse_its_result():
    result = np.empty((1, 64, 64), "float32")

    def red(batch):
        np.copyto(result, batch[:, 0])
        return result

    np.testing.assert_array_equal(Predictor(red, batch=1)(tiles(3))[:, 0], tiles(3)[:, 0])
    with pytest.raises(OptionError, match="batch 0"):
        Predictor(red, batch=0)


def test_digital_numbers_are_not_taken_for_reflectance():
    model = predictor()
    with pytest.raises(OptionError, match="median of red values 9000: wanted reflectance"):
        model.predict_array(np.full((4, 9, 9), 9000, "float32"))
    image = np.full((4, 9, 9), 0.2, "float32")
    image[3] = np.nan
    with pytest.raises(OptionError, match="no near-infrared"):
        model.predict_array(image)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "nonsense", "cpu:3", ""])
def test_devices_that_are_not_there(name):
    with pytest.raises(DeviceError, match="device"):
        find_device(name)


def test_the_device_and_its_precision():
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type in {"cpu", "cuda", "mps"}
    assert find_dtype(torch.device("cpu"), Precision.FLOAT32) is torch.float32
    with pytest.raises(DeviceError, match="float16"):
        find_dtype(torch.device("cpu"), Precision.FLOAT16)
    with pytest.raises(OptionError, match="float8"):
        load_model(precision="float8")
    with pytest.raises(OptionError, match="batch"):
        load_model(batch=0)


def test_without_torch_a_gpu_is_told_of_and_what_needs_it_is_refused(monkeypatch, caplog):
    monkeypatch.setattr("geocloud.models.devices.find_spec", lambda name: None if name == "torch" else object())
    monkeypatch.setattr("geocloud.models.predictor.nvidia_gpus", lambda: 1)
    monkeypatch.setattr("geocloud.training.find_spec", lambda name: None if name == "torch" else object())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert load_model().device == "cpu"
    assert "for the GPU that is here, run pip install 'geocloud[gpu]'" in caplog.text
    with pytest.raises(DependencyError, match=r"on device cuda .* needs torch; run pip install 'geocloud\[gpu\]'"):
        load_model(device="cuda")
    with pytest.raises(DependencyError, match="training and evaluation need torch"):
        require_extras()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    image = simulate_scene(3, (384, 384)).reflectance[None]
    on_cpu = load_model(device="cpu", precision=Precision.FLOAT32)(image)
    on_cuda = load_model(device="cuda")(image)
    assert ((on_cpu > 0.5) == (on_cuda > 0.5)).mean() > 0.99


@pytest.mark.slow
def test_a_margin_without_data_changes_nothing_further_than_the_overlap_from_it():
    """Pixels beyond the overlap are outside the receptive field of the margin and its fill values."""
    image = simulate_scene(11, (500, 620), ("forest", "snow"), ("cumulus", "cirrus"), 0.3).reflectance
    rows, cols = np.mgrid[:500, :620]
    margin = cols < 150 - 0.2 * rows
    model = load_model(device="cpu", precision="float32")
    whole = model.predict_array(image)[0]
    cut = model.predict_array(np.where(margin, np.nan, image))[0]
    far = distance_transform_edt(~margin) > 128
    assert far.mean() > 0.4
    np.testing.assert_allclose(cut[far], whole[far], atol=1e-3)
    assert np.isnan(cut[margin]).all()


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores() == 3
    assert load_model(device="cpu", threads=2).workers == 2
    assert load_model(device="cpu").workers == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # OpenMP's list for nested regions
    assert cores() >= 1


@pytest.mark.parametrize("architecture", NETWORKS)
def test_half_precision_is_close(architecture):
    """Runs the code for GPUs on the CPU."""
    image = simulate_scene(3, (64, 96)).reflectance[None]
    full = predictor(architecture)(image)
    half = by_torch(small(architecture), "cpu", Precision.BFLOAT16)(image)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, atol=0.05)
