"""A file, an array and an xarray object with the same pixels give the same mask, with all options."""

import pydoc
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import geobox, read_tif, write_tif
from geocloud_cli.main import cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window
from scipy import ndimage

import geocloud
from geocloud import MaskOptions, ModelMetadata, Predictor, Raster, ReadOptions, Sun
from geocloud.errors import GeocloudError, OptionError, on_command_line

xarray = pytest.importorskip("xarray")


def local(batch):
    """A test model: cloud where the mean of 3×3 pixels is bright, shadow where it is dark."""
    red = ndimage.uniform_filter(np.nan_to_num(batch[:, 0]), (0, 3, 3), mode="nearest")
    return np.stack([red, 0.6 - red], 1).clip(0, 1).astype("float32")


MODEL = Predictor(
    local, ModelMetadata(shadow=(1,), threshold=0.45, shadow_threshold=0.3, pixel_size=30, optional_nir=True)
)


@st.composite
def scenes(draw):
    """An image of blobs with gaps, and its pixel size in metres."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 110))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), draw(st.floats(0.6, 4)))
    noise = (noise - noise.mean()) / (noise.std() + 1e-6)
    image = np.stack([np.clip(0.4 + 0.12 * noise + 0.01 * band, 0.02, 1.2) for band in range(4)]).astype("float32")
    image[:, rng.random((height, width)) < draw(st.sampled_from([0, 0, 0.05]))] = np.nan
    if draw(st.booleans()):
        image[:, : height // 4] = np.nan
    return image, draw(st.sampled_from([10, 15, 20, 30, 60]))


@st.composite
def choices(draw):
    shadows = draw(st.booleans())
    return MaskOptions(
        threshold=draw(st.sampled_from([None, 0.3, 0.6])),
        shadows=shadows,
        min_area=draw(st.sampled_from([0, 0, 5_000, 40_000])),
        buffer=draw(st.sampled_from([0, 0, 45, 200])),
        shadow_buffer=draw(st.sampled_from([0, 90])) if shadows else 0,
        tile_size=draw(st.sampled_from([None, 256])),
        working_resolution=draw(st.sampled_from([None, None, "native", 60])),
    )


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(scenes(), choices(), st.tuples(st.integers(1, 120), st.integers(1, 120)))
def test_all_entries_agree(tmp_path_factory, scene, options, chunks):
    image, size = scene
    folder, grid, sun = tmp_path_factory.mktemp("e"), geobox(*image.shape[1:], size=size), Sun(40, 150)
    path = write_tif(folder / "s.tif", image, grid, nodata=np.nan)
    read = ReadOptions(units="reflectance")
    with geocloud.open_scene(path, read) as opened:
        raster = opened.read()
    expected = geocloud.mask_raster(replace(raster, sun=sun), model=MODEL, options=options)
    array = geocloud.mask_array(image, pixel_size=size, sun=sun, model=MODEL, options=options)
    np.testing.assert_array_equal(array, expected)
    stack = raster.to_xarray()
    found = geocloud.mask_xarray(stack, sun=sun, model=MODEL, options=options)
    np.testing.assert_array_equal(found.values, expected)
    pytest.importorskip("dask")
    lazy = stack.chunk({"band": 1, "y": chunks[0], "x": chunks[1]})
    found = geocloud.mask_xarray(lazy, sun=sun, model=MODEL, options=options)
    assert found.chunks is not None
    np.testing.assert_array_equal(found.values, expected)
    geocloud.mask_scene(path, folder / "m.tif", model=MODEL, read=read, options=options)
    without_sun = geocloud.mask_raster(raster, model=MODEL, options=options)  # without the sun's position in the file
    np.testing.assert_array_equal(read_tif(folder / "m.tif")[0], without_sun)


def test_a_product_and_its_pixels_give_the_same_mask_with_the_sun(product, tmp_path):
    options = MaskOptions(shadows=True, buffer=60)
    geocloud.mask_scene(product, tmp_path / "m.tif", model=MODEL, options=options)
    with geocloud.open_scene(product) as scene:
        raster = scene.read()
    assert raster.sun and raster.acquired
    np.testing.assert_array_equal(
        geocloud.mask_raster(raster, model=MODEL, options=options), read_tif(tmp_path / "m.tif")[0]
    )


def test_cropping_a_raster_crops_everything():
    image = np.random.default_rng(0).random((4, 30, 40), "float32")
    grid = geobox(30, 40)
    raster = Raster(image, np.ones((30, 40), bool), grid)
    part = raster.crop(Window(5, 7, 11, 13))
    np.testing.assert_array_equal(part.data, image[:, 7:20, 5:16])
    assert part.valid.shape == part.geobox.shape == (13, 11)
    assert part.geobox.transform @ (0, 0) == grid.transform @ (5, 7)
    with pytest.raises(OptionError, match="wanted \\(4, 30, 40\\)"):
        Raster(image[:3], raster.valid, grid)
    with pytest.raises(OptionError, match="wanted \\(30, 40\\)"):
        Raster(image, raster.valid[1:], grid)


def test_an_xarray_of_a_raster_has_its_place(product):
    rioxarray = pytest.importorskip("rioxarray")
    with geocloud.open_scene(product) as scene:
        array, grid = scene.read().to_xarray(), scene.grid
    assert rioxarray and array.rio.crs == grid.crs
    assert array.rio.transform().almost_equals(grid.transform)
    assert array.band.values.tolist() == ["red", "green", "blue", "nir"]


def test_options_of_files_and_unknown_ones_are_refused():
    image = np.full((4, 9, 9), 0.2, "float32")
    with pytest.raises(OptionError, match="for masks written to files"):
        geocloud.mask_array(image, model=MODEL, polygon_min_area=100)
    with pytest.raises(OptionError, match="wanted fields of MaskOptions"):
        geocloud.mask_array(image, model=MODEL, tresh=0.2)
    with pytest.raises(OptionError, match="pixel size is known"):
        geocloud.mask_array(image, model=MODEL, buffer=60)


def test_errors_name_options_as_their_caller_does(tmp_path):
    """In Python as arguments, on the command line as options."""
    path = write_tif(tmp_path / "s.tif", np.full((5, 9, 9), 2000, "uint16"), descriptions=["?"] * 5)
    ramps = write_tif(tmp_path / "r.tif", np.full((4, 9, 9), 0.2, "float32"), geobox(9, 9, crs=None))
    image = np.full((4, 9, 9), 0.2, "float32")
    stack = xarray.DataArray(image, dims=("band", "y", "x"), coords={"band": ["red", "green", "blue", "nir"]})
    (tmp_path / "m.tif").touch()
    known, size = geocloud.MaskOptions(buffer=60), "pixel_size=METRES"
    for call, expected in (
        (lambda: geocloud.mask_scene(ramps, tmp_path / "m.tif", model=MODEL), "give overwrite=True"),
        (lambda: geocloud.mask_scene(path, tmp_path / "n.tif", model=MODEL), "ReadOptions(bands=…)"),
        (lambda: geocloud.mask_scene(ramps, tmp_path / "n.tif", model=MODEL, options=known), size),
        (lambda: geocloud.mask_scene(ramps, model=MODEL, working_resolution=60), size),
        (lambda: geocloud.mask_array(image, model=MODEL, buffer=60), size),
        (lambda: geocloud.mask_xarray(stack, model=MODEL, buffer=60), size),
        (lambda: geocloud.mask_array(image, model=MODEL, shadow_buffer=60), "MaskOptions(shadows=True)"),
    ):
        with pytest.raises(GeocloudError) as caught:
            call()
        assert expected in str(caught.value) and "--" not in str(caught.value), str(caught.value)
        assert "=" not in on_command_line(str(caught.value)).replace(str(tmp_path), "")
    result = CliRunner().invoke(cli, ["mask", str(ramps), "-o", str(tmp_path / "m.tif")])
    assert "give --overwrite to replace it" in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("say ReadOptions(bands=(1, 2, 3)) or ReadOptions(bands='bgrn')", "say --bands 1,2,3 or --bands bgrn"),
        (
            "ReadOptions(units='landsat-l1') (of one), or ReadOptions(scale=…, offset=…)",
            "--units landsat-l1 (of one), or --scale and --offset",
        ),
        (
            "MaskOptions(working_resolution='native'); MaskOptions(tile_size=256).",
            "--working-resolution native; --tile-size 256.",
        ),
        ("pixel_size=METRES, overwrite=True", "--pixel-size METRES, --overwrite"),
        ("/tiles/pixel_size=30/a.tif: GPU=1, f(x=1)", "/tiles/pixel_size=30/a.tif: GPU=1, f(x=1)"),
    ],
)
def test_arguments_in_messages_are_options_on_the_command_line(text, expected):
    assert on_command_line(text) == expected


def test_messages_name_fields_of_the_options():
    for path in Path(geocloud.__file__).parent.rglob("*.py"):
        for name, field in re.findall(r"say ((?:Mask|Read|Compute)Options)\((\w+)=", path.read_text("utf-8")):
            assert field in {known.name for known in fields(getattr(geocloud, name))}, path


def test_a_scene_is_masked_without_a_file(product, tmp_path):
    geocloud.mask_scene(product, tmp_path / "m.tif", model=MODEL, shadows=True)
    expected = read_tif(tmp_path / "m.tif")[0]
    before = sorted(tmp_path.rglob("*"))
    np.testing.assert_array_equal(geocloud.mask_scene(product, model=MODEL, shadows=True), expected)
    with geocloud.open_scene(product) as scene:
        np.testing.assert_array_equal(geocloud.mask_scene(scene, model=MODEL, shadows=True), expected)
        assert "90 × 110 pixels" in repr(scene) and product.name in repr(scene)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(OptionError, match="name an output"):
        geocloud.mask_scene(product, probability=tmp_path / "p.tif", model=MODEL)
    with pytest.raises(OptionError, match="wanted fields of MaskOptions"):
        geocloud.mask_scene(product, model=MODEL, shadow=True)


def test_arrays_may_lack_near_infrared():
    image = np.random.default_rng(0).uniform(0.1, 0.9, (4, 40, 50)).astype("float32")
    np.testing.assert_array_equal(geocloud.mask_array(image[:3], model=MODEL), geocloud.mask_array(image, model=MODEL))


def test_help_explains_every_field_of_the_options():
    for public in (geocloud.MaskOptions, geocloud.ReadOptions, geocloud.ComputeOptions, geocloud.ModelMetadata):
        text = pydoc.plain(pydoc.render_doc(public))
        assert all(re.search(rf"\| +{field.name}: \w", text) for field in fields(public)), public
    assert "buffer: Distance in metres by which cloud and shadow are grown" in pydoc.plain(
        pydoc.render_doc(MaskOptions)
    )
