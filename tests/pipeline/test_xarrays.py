"""Stacks like those of odc-stac, stackstac and rioxarray."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import bright, geobox, ramp
from rasterio.crs import CRS

import geocloud
from geocloud import ModelMetadata, Predictor, Raster
from geocloud.errors import BandError, OptionError

xarray = pytest.importorskip("xarray")
MODEL = Predictor(bright, ModelMetadata(optional_nir=True))


@pytest.fixture
def raster():
    return Raster(ramp(), np.ones((90, 110), bool), geobox())


def numbers(raster, names, **attributes):
    """A Dataset of reflectance × 10 000, like that of odc-stac, with nodata in a corner."""
    stack = raster.to_xarray()
    values = np.rint(stack * 10_000).astype("uint16")
    values[:, :5, :9] = 0
    layers = {name: values.isel(band=i, drop=True) for i, name in enumerate(names)}
    for layer in layers.values():
        layer.attrs = attributes
    return xarray.Dataset(layers)


def expected(raster):
    mask = bright(np.rint(raster.data * 10_000)[None] / 10_000)[0].astype("uint8")
    mask[:5, :9] = 255
    return mask


@pytest.mark.parametrize(
    "names",
    [
        ("red", "green", "blue", "nir"),
        ("red", "green", "blue", "nir08"),
        ("B04", "B03", "B02", "B08"),
        ("SR_B4", "SR_B3", "SR_B2", "SR_B5"),
        ("B4", "B3", "B2", "B8A"),
    ],
)
@pytest.mark.parametrize("keys", [("scale_factor", "_FillValue"), ("scale", "nodata")])
def test_names_and_scales_of_the_catalogues(raster, names, keys):
    data = numbers(raster, names, **{keys[0]: 0.0001, keys[1]: 0})
    mask = geocloud.mask_xarray(data, model=MODEL)
    np.testing.assert_array_equal(mask.values, expected(raster))


def test_an_offset_is_added(raster):
    data = numbers(raster, ("red", "green", "blue", "nir"), scale_factor=0.0001, add_offset=-0.1, _FillValue=0)
    layers = {n: (b + 1000 * (b > 0)).astype("uint16").assign_attrs(b.attrs) for n, b in data.items()}
    np.testing.assert_array_equal(geocloud.mask_xarray(xarray.Dataset(layers), model=MODEL).values, expected(raster))


def test_names_that_fit_two_satellites_and_missing_scales_are_refused(raster):
    with pytest.raises(BandError, match="B5"):
        geocloud.mask_xarray(numbers(raster, ("B4", "B3", "B2", "B5")).assign(B8=lambda d: d.B5), model=MODEL)
    with pytest.raises(OptionError, match="no attribute scale_factor"):
        geocloud.mask_xarray(numbers(raster, ("red", "green", "blue", "nir")), model=MODEL)


def test_a_mask_for_each_date_lazily_with_probabilities(raster):
    pytest.importorskip("dask")
    one = raster.to_xarray()
    stack = xarray.concat([one, one * 0.5], xarray.Variable("time", [1, 2])).chunk({"time": 1, "y": 40, "x": 50})
    result = geocloud.mask_xarray(stack, model=MODEL, probability=True)
    assert set(result.data_vars) == {"cloud_mask", "cloud_probability"}
    assert result.cloud_mask.dims == ("time", "y", "x") and result.cloud_mask.chunks is not None
    for date, image in enumerate((raster.data, raster.data * np.float32(0.5))):
        np.testing.assert_array_equal(result.cloud_probability[date].values, bright(image[None])[0])
        np.testing.assert_array_equal(result.cloud_mask[date].values, bright(image[None])[0])


@pytest.mark.parametrize("chunks", [None, {"y": 40, "x": 50}])
@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_an_image_that_is_south_up_is_turned_for_the_model(raster, chunks, crs):
    """The model sees the same pixels as for the image with north up."""
    if chunks:
        pytest.importorskip("dask")
    model = Predictor(lambda batch: np.tile(np.linspace(0, 1, batch.shape[2])[:, None], (1, 1, batch.shape[3])))
    north = replace(raster, geobox=geobox(crs=crs and CRS.from_user_input(crs))).to_xarray()
    for probability in (False, True):
        expected = geocloud.mask_xarray(north, model=model, probability=probability)
        south = north.isel(y=slice(None, None, -1))
        result = geocloud.mask_xarray(south.chunk(chunks) if chunks else south, model=model, probability=probability)
        xarray.testing.assert_identical(result.compute().isel(y=slice(None, None, -1)), expected)
        np.testing.assert_array_equal(result.y, south.y)


def with_further(raster, names, further):
    """A Dataset with two further bands, and the Raster of the same pixels."""
    rng = np.random.default_rng(2)
    bands = {"swir1": rng.uniform(0.02, 0.6, (90, 110)), "cirrus": rng.uniform(0, 0.02, (90, 110))}
    bands = {name: band.astype("float32") for name, band in bands.items()}
    stack = raster.to_xarray()
    layers = {name: stack.isel(band=i, drop=True) for i, name in enumerate(names)}
    layers |= {
        name: stack[0].drop_vars("band").copy(data=band) for name, band in zip(further, bands.values(), strict=True)
    }
    return xarray.Dataset(layers), Raster(raster.data, raster.valid, raster.geobox, further=bands)


@pytest.mark.parametrize(
    ("names", "further"),
    [
        (("red", "green", "blue", "nir08"), ("swir16", "cirrus")),
        (("SR_B4", "SR_B3", "SR_B2", "SR_B5"), ("SR_B6", "SR_B9")),
        (("B04", "B03", "B02", "B08"), ("B11", "B10")),
        (("B04", "B03", "B02", "B8A"), ("B11", "B10")),
        (("B04", "B03", "B02", "B05"), ("B06", "B09")),
    ],
)
def test_snow_and_cirrus_by_the_names_of_the_catalogues(raster, names, further):
    data, same = with_further(raster, names, further)
    for options in ({"snow": True}, {"reject_snow": True}, {"snow": True, "cirrus": True, "buffer": 60}):
        expected = geocloud.mask_raster(same, model=MODEL, **options)
        found = geocloud.mask_xarray(data, model=MODEL, **options)
        np.testing.assert_array_equal(found.values, expected)
    assert {0, 1, 3, 4} == set(np.unique(expected)) and found.attrs[
        "flag_meanings"
    ] == "clear cloud snow cirrus no_data"
    pytest.importorskip("dask")
    lazy = geocloud.mask_xarray(data.chunk({"y": 40, "x": 50}), model=MODEL, probability=True, **options)
    assert set(lazy.data_vars) == {"cloud_mask", "cloud_probability"}
    np.testing.assert_array_equal(lazy.cloud_mask.values, expected)


def test_snow_without_its_band_is_refused(raster):
    with pytest.raises(OptionError, match="has no swir1"):
        geocloud.mask_xarray(raster.to_xarray(), model=MODEL, snow=True)
    data, _ = with_further(raster, ("red", "green", "blue", "nir"), ("B06", "B09"))  # of which satellite?
    with pytest.raises(OptionError, match="has no cirrus"):
        geocloud.mask_xarray(data, model=MODEL, cirrus=True)
