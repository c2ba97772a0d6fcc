"""The predictor: same numbers however it is run, and no device that is not there."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import ramp
from scipy.ndimage import distance_transform_edt
from small import checkpoint

from geocloud.errors import DependencyError, DeviceError, OptionError
from geocloud.models.devices import Precision, cores, has_openvino
from geocloud.model.fuse import fuse
from geocloud.model.networks import load_network
from geocloud.model.torch_runner import TorchRunner, find_device, find_dtype
from geocloud.models.predictor import Predictor, load_model
from geocloud.simulate import simulate_scene
from geocloud.training import require_extras

NETWORKS = ["fast", "unet", "attention-unet"]


def tiles(n=5, size=64):
    return np.random.default_rng(0).random((n, 4, size, size), "float32")


@pytest.mark.parametrize("architecture", NETWORKS)
def test_a_fused_network_computes_the_same_in_fewer_steps(architecture):
    network = load_network(checkpoint(architecture))
    for module in network.modules():  # as after training, not as at birth
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.2)
    fused = fuse(network)
    assert torch.nn.BatchNorm2d not in [type(m) for m in fused.modules()]
    image = torch.from_numpy(tiles(2))
    with torch.inference_mode():
        torch.testing.assert_close(fused(image), network(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_batch_size_does_not_change_the_result(architecture):
    by_one = Predictor(checkpoint(architecture), "cpu", Precision.FLOAT32, 1)(tiles())
    by_four = Predictor(checkpoint(architecture), "cpu", Precision.FLOAT32, 4)(tiles())
    np.testing.assert_allclose(by_one, by_four, atol=1e-5)
    assert by_one.shape == (5, 1, 64, 64)
    assert by_one.dtype == np.float32
    assert ((by_one >= 0) & (by_one <= 1)).all()


def test_flipped_views_are_taken():
    predictor = Predictor(checkpoint(), "cpu", Precision.FLOAT32)
    flipped = tiles()[:, :, ::-1]
    np.testing.assert_array_equal(predictor(flipped), predictor(flipped.copy()))


def test_bfloat16_is_close_to_float32():
    image = simulate_scene(3, (384, 384)).reflectance[None]
    full = load_model(device="cpu", precision=Precision.FLOAT32)(image)
    half = load_model(device="cpu", precision=Precision.BFLOAT16)(image)
    assert ((full > 0.5) == (half > 0.5)).mean() > 0.99


def test_out_of_memory_halves_the_batch_and_loses_no_tile(monkeypatch):
    predictor = Predictor(checkpoint(), "cpu", Precision.FLOAT32, 8)
    expected = predictor(tiles(7))
    run, sizes = predictor._runner, []

    def short_of_memory(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(batch)

    monkeypatch.setattr(predictor, "_runner", short_of_memory)
    np.testing.assert_allclose(predictor(tiles(7)), expected, atol=1e-5)
    assert sizes == [7, 4, 2, 2, 2, 1]
    assert predictor.batch == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), MemoryError()]
)
def test_a_cpu_that_is_out_of_memory_is_told_apart_from_one_that_fails(monkeypatch, error):
    predictor = Predictor(checkpoint(), "cpu", "float32", 4)
    run = predictor._runner

    def short_of_memory(batch):
        if len(batch) > 1:
            raise error
        return run(batch)

    monkeypatch.setattr(predictor, "_runner", short_of_memory)
    assert predictor(tiles(4)).shape == (4, 1, 64, 64)


def test_out_of_memory_with_one_tile_is_an_error(monkeypatch):
    predictor = Predictor(checkpoint(), "cpu", Precision.FLOAT32, 1)

    def never(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(predictor, "_runner", never)
    with pytest.raises(DeviceError, match="memory"):
        predictor(tiles(1))


@pytest.mark.parametrize("shape", [(1, 1), (50, 30), (384, 384), (500, 390)])
def test_arrays_of_any_size(shape):
    predictor = Predictor(checkpoint(), "cpu", Precision.FLOAT32)
    image = ramp(*shape)
    found = predictor.predict_array(image)
    assert found.shape == (1, *shape)
    assert np.isfinite(found).all()
    valid = np.ones(shape, bool)
    valid[0, 0] = False
    assert np.isnan(predictor.predict_array(image, valid)).sum() == 1
    image[2, -1, -1] = np.nan
    assert np.isnan(predictor.predict_array(image)).sum() == 1


def test_an_array_is_masked_as_a_file_is(tmp_path):
    from conftest import write_tif

    from geocloud.pipeline import mask_scene
    from geocloud.scene import open_scene, read_filled

    scene = simulate_scene(8, (500, 450))
    path = write_tif(tmp_path / "s.tif", scene.reflectance, descriptions=("red", "green", "blue", "nir"))
    predictor = load_model(device="cpu", precision=Precision.FLOAT32)
    mask_scene(path, tmp_path / "m.tif", model=predictor)
    import rasterio

    with rasterio.open(tmp_path / "m.tif") as dataset, open_scene(path) as opened:
        image = read_filled(opened, rasterio.windows.Window(0, 0, 450, 500))
        found = predictor.predict_array(image)[0] > predictor.threshold
        np.testing.assert_array_equal(dataset.read(1) == 1, found)


def test_arrays_of_the_wrong_shape_are_refused():
    predictor = Predictor(checkpoint(), "cpu")
    for shape in ((3, 10, 10), (10, 10), (4, 0, 10)):
        with pytest.raises(OptionError, match="wanted"):
            predictor.predict_array(np.zeros(shape, "float32"))
    with pytest.raises(OptionError, match="valid"):
        predictor.predict_array(np.zeros((4, 9, 9), "float32"), np.ones((9, 8), bool))


def test_cloud_alone_is_the_same_cloud():
    for name in ("fast", "unet", "attention-unet"):
        image = simulate_scene(3, (64, 96)).reflectance
        both = load_model(name, "cpu", "float32").predict_array(image)
        alone = load_model(name, "cpu", "float32", cloud_alone=True).predict_array(image)
        assert (len(both), len(alone)) == (2, 1)
        np.testing.assert_allclose(alone[0], both[0], atol=1e-6)


def test_digital_numbers_are_not_taken_for_reflectance():
    predictor = Predictor(checkpoint(), "cpu")
    with pytest.raises(OptionError, match="median of red values 9000: wanted reflectance"):
        predictor.predict_array(np.full((4, 9, 9), 9000, "float32"))
    image = np.full((4, 9, 9), 0.2, "float32")
    image[3] = np.nan
    with pytest.raises(OptionError, match="no near-infrared"):
        predictor.predict_array(image)


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
        Predictor(checkpoint(), "cpu", "float8")
    with pytest.raises(OptionError, match="batch"):
        Predictor(checkpoint(), "cpu", batch=0)


@pytest.mark.skipif(not has_openvino(), reason="elsewhere torch is always installed")
def test_without_torch_a_gpu_is_told_of_and_what_needs_it_is_refused(monkeypatch, caplog):
    small = checkpoint()
    monkeypatch.setattr("geocloud.model.devices.find_spec", lambda name: None if name == "torch" else object())
    monkeypatch.setattr("geocloud.predict.nvidia_gpus", lambda: 1)
    monkeypatch.setattr("geocloud.training.find_spec", lambda name: None if name == "torch" else object())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert Predictor(small).device == "cpu"
    assert "for the GPU that is here, run pip install 'geocloud[gpu]'" in caplog.text
    with pytest.raises(DependencyError, match=r"device cuda needs torch; run pip install 'geocloud\[gpu\]'"):
        Predictor(small, "cuda")
    with pytest.raises(DependencyError, match="training and evaluation need torch"):
        require_extras()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    image = simulate_scene(3, (384, 384)).reflectance[None]
    on_cpu = load_model(device="cpu", precision=Precision.FLOAT32)(image)
    on_cuda = load_model(device="cuda")(image)
    assert ((on_cpu > 0.5) == (on_cuda > 0.5)).mean() > 0.99


def test_a_margin_without_data_changes_nothing_further_than_the_overlap_from_it():
    """The bundled network sees no further than that, and what stands in for the margin is only seen near it."""
    image = simulate_scene(11, (500, 620), ("forest", "snow"), ("cumulus", "cirrus"), 0.3).reflectance
    rows, cols = np.mgrid[:500, :620]
    margin = cols < 150 - 0.2 * rows
    predictor = load_model(device="cpu", precision="float32")
    whole = predictor.predict_array(image)[0]
    cut = predictor.predict_array(np.where(margin, np.nan, image))[0]
    far = distance_transform_edt(~margin) > 128
    assert far.mean() > 0.4
    np.testing.assert_allclose(cut[far], whole[far], atol=1e-3)
    assert np.isnan(cut[margin]).all()


def test_using_torch_leaves_the_number_of_threads_as_it_is():
    """Neither this thread nor those that start later may compute on one core from then on."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runner = TorchRunner(checkpoint(), torch.device("cpu"), Precision.FLOAT32)
        assert runner.workers == 2
        with ThreadPoolExecutor(1, initializer=runner.start_worker) as pool:
            assert pool.submit(torch.get_num_threads).result() == 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores() == 3
    assert Predictor(checkpoint(), "cpu", threads=2).workers == 2
    if has_openvino():
        assert Predictor(checkpoint(), "cpu").workers == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # OpenMP's list for nested regions: its affair
    assert cores() >= 1
