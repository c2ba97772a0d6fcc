"""Masks of images in memory: numpy and xarray."""

import logging

import numpy as np
import pytest
from affine import Affine
from conftest import bright, geobox, ramp, read_tif, write_tif
from rasterio.crs import CRS
from small import small

import geocloud
from geocloud.errors import BandError, OptionError
from geocloud.grid import GeoBox
from geocloud.models.metadata import ModelMetadata
from geocloud.models.network import by_torch
from geocloud.models.predictor import Predictor
from geocloud.simulate import simulate_scene

xarray = pytest.importorskip("xarray")


@pytest.fixture(scope="module")
def image():
    return simulate_scene(3, (300, 260), ("forest", "water"), ("cumulus",), 0.4).reflectance


def stack(image, grid, names=("red", "green", "blue", "nir")):
    x = [grid.transform @ (col + 0.5, 0.5) for col in range(grid.width)]
    y = [grid.transform @ (0.5, row + 0.5) for row in range(grid.height)]
    coords = {"band": list(names), "y": [p[1] for p in y], "x": [p[0] for p in x]}
    return xarray.DataArray(image, dims=("band", "y", "x"), coords=coords).assign_coords(epsg=grid.crs.to_epsg())


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 30])
def test_an_array_an_xarray_and_a_file_give_the_same_mask(image, tmp_path, size):
    image = image.copy()
    image[:, :20, :30] = np.nan
    grid = geobox(300, 260, size=size)
    path = write_tif(tmp_path / "s.tif", image, grid)
    geocloud.mask_scene(path, tmp_path / "m.tif")
    expected = read_tif(tmp_path / "m.tif")[0]
    assert set(np.unique(expected)) == {0, 1, 255}
    np.testing.assert_array_equal(geocloud.mask_array(image, pixel_size=size), expected)
    mask = geocloud.mask_xarray(stack(image, grid))
    np.testing.assert_array_equal(mask.values, expected)
    assert mask.dims == ("y", "x") and mask.dtype == "uint8" and mask.name == "cloud_mask"


def test_blocks_of_dask_leave_no_seam_and_are_computed_only_when_asked(image):
    whole = stack(image, geobox(300, 260))
    eager = geocloud.mask_xarray(whole)
    times = xarray.concat([whole, whole / 2, whole], "time").assign_coords(time=[1, 2, 3])
    lazy = geocloud.mask_xarray(times.chunk({"time": 1, "band": 1, "y": 128, "x": 130}))
    assert lazy.chunks is not None and lazy.dims == ("time", "y", "x")
    found = lazy.compute()
    assert (found[0].values == eager.values).mean() > 0.998
    np.testing.assert_array_equal(found[0].values, found[2].values)
    assert lazy.x.equals(whole.x) and lazy.y.equals(whole.y) and list(lazy.time.values) == [1, 2, 3]


def test_a_dataset_of_bands_under_their_other_names_and_without_near_infrared(image, caplog):
    array = stack(image, geobox(300, 260), ("red", "green", "blue", "nir08"))
    expected = geocloud.mask_xarray(array)
    dataset = xarray.Dataset({str(name): array.sel(band=name, drop=True) for name in reversed(array.band.values)})
    np.testing.assert_array_equal(geocloud.mask_xarray(dataset).values, expected.values)
    with caplog.at_level(logging.WARNING, "geocloud"):
        three = geocloud.mask_xarray(dataset.drop_vars("nir08"))
    assert "without near-infrared" in caplog.text and (three.values != 255).all()


def test_what_cannot_be_masked_is_said_in_a_line(image):
    with pytest.raises(OptionError, match="wanted reflectance"):
        geocloud.mask_array(image * 10_000)
    with pytest.raises(OptionError, match="wanted \\(4, height, width"):
        geocloud.mask_array(image[0])
    with pytest.raises(OptionError, match="wanted more than 0"):
        geocloud.mask_array(image, threshold=2)
    good = stack(image, geobox(300, 260))
    with pytest.raises(OptionError, match="uint16, and no attribute scale_factor"):
        geocloud.mask_xarray((good.fillna(0) * 10_000).astype("uint16"))
    with pytest.raises(BandError, match="bands red, verde, blue, nir: wanted red, green"):
        geocloud.mask_xarray(good.assign_coords(band=["red", "verde", "blue", "nir"]))
    with pytest.raises(BandError, match="wanted one named band"):
        geocloud.mask_xarray(good.rename(band="b"))
    with pytest.raises(OptionError, match="wanted y and x"):
        geocloud.mask_xarray(good.rename(x="u"))
    with pytest.raises(OptionError, match="wanted reflectance"):
        geocloud.mask_xarray(good.chunk() * 10_000).compute()


def test_any_model_masks_an_array():
    image = ramp()
    valid = np.ones(image.shape[1:], bool)
    valid[:5] = False
    own = by_torch(small(), "cpu")
    assert set(np.unique(geocloud.mask_array(image, valid=valid, model=own)[:5])) == {255}
    mask = geocloud.mask_array(image, model=bright, threshold=0.25)
    np.testing.assert_array_equal(mask == 1, bright(image[None])[0] > 0.25)


def test_degrees_are_measured_in_metres(image, monkeypatch):
    seen = []

    def predict(model, raster, *_):
        seen.append(raster.geobox.pixel_size[0])
        return raster.data[:1]

    monkeypatch.setattr("geocloud.pipeline.xarrays.predict_raster", predict)
    near = GeoBox(300, 260, Affine(1e-4, 0, 10, 0, -1e-4, 0), CRS.from_epsg(4326))
    geocloud.mask_xarray(stack(image, near).rename(x="longitude", y="latitude"))
    assert 11 < seen[0] < 11.2


@pytest.mark.parametrize("kind", ["nan", "zero", "code", "masked"])
def test_no_data_in_an_array_is_no_data_in_its_mask(image, kind):
    gone = np.zeros(image.shape[1:], bool)
    gone[:40, :60] = True
    values = {"nan": np.nan, "zero": 0, "code": -9999, "masked": 0.2}
    array = np.where(gone, np.float32(values[kind]), np.maximum(image, 1e-3))
    if kind == "masked":
        array = np.ma.masked_array(array, np.broadcast_to(gone, image.shape))
    np.testing.assert_array_equal(geocloud.mask_array(array, pixel_size=30, model=bright) == 255, gone)


def test_lazy_images_of_any_size_are_masked_like_those_in_memory():
    dask = pytest.importorskip("dask.array")
    rng, model = np.random.default_rng(5), Predictor(bright, ModelMetadata(pixel_size=30, optional_nir=True))
    for height, width, size in ((1, 1, 30), (30, 200, 10), (130, 97, 20), (300, 260, 10), (420, 300, 15)):
        image = rng.random((4, height, width), "float32")
        whole = stack(image, geobox(height, width, size=size))
        lazy = whole.copy(data=dask.from_array(image, chunks=(1, 100, 90)))
        found = geocloud.mask_xarray(lazy, pixel_size=size, model=model)
        np.testing.assert_array_equal(found.values, geocloud.mask_xarray(whole, pixel_size=size, model=model).values)
