"""Single rasters: bands of any names, in any order."""

import numpy as np
import pytest
import rasterio
from conftest import geobox, level1_numbers, ramp, write_tif
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geocloud.bands import Units
from geocloud.errors import BandError, SceneNotFoundError, SceneReadError, UnitsError
from geocloud.readers import ReadOptions, open_scene

R, G, B, N = range(4)
WHOLE = Window(0, 0, 110, 90)


def read(path, **options):
    with open_scene(path, ReadOptions(**options)) as scene:
        raster = scene.read(WHOLE)
    return raster.data, raster.valid


@pytest.mark.parametrize(
    ("order", "descriptions"),
    [
        ((B, G, R, N), ("blue", "green", "red", "nir")),
        ((N, R, G, B), ("NIR", "Red", "Green", "Blue")),
        ((B, G, R, N), ("Band 2 - Blue", "Band 3 - Green", "Band 4 - Red", "Band 5 - Near Infrared (NIR)")),
        ((B, G, R, N), ("B2", "B3", "B4", "B5")),
        ((B, G, R, N), ("SR_B2", "SR_B3", "SR_B4", "SR_B5")),
        ((B, G, R, N), ("B02", "B03", "B04", "B08")),
        ((R, G, B, N), ("red", "green", "blue", "nir08")),
        ((N, B, G, R), ("B8A", "B02", "B03", "B04")),
    ],
)
def test_bands_are_found_by_their_names(tmp_path, order, descriptions):
    image = ramp()
    path = write_tif(tmp_path / "scene.tif", image[list(order)], descriptions=descriptions)
    found, valid = read(path)
    np.testing.assert_array_equal(found, image)
    assert valid.all()


def test_a_stack_with_more_bands_than_needed(tmp_path):
    image = ramp()
    other = np.zeros((1, 90, 110), "float32")
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B10")
    stack = np.concatenate([other, image[[B]], image[[G]], image[[R]], image[[N]], other, other])
    np.testing.assert_array_equal(read(write_tif(tmp_path / "a.tif", stack, descriptions=names))[0], image)


def test_red_edge_is_not_red(tmp_path):
    image = ramp()
    stack = np.concatenate([image[[N]] * 0, image[[R]], image[[G]], image[[B]], image[[N]]])
    path = write_tif(tmp_path / "a.tif", stack, descriptions=("red edge", "red", "green", "blue", "nir"))
    np.testing.assert_array_equal(read(path)[0], image)


def test_a_name_counts_more_than_a_word_in_one(tmp_path):
    names = ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir")
    stack = np.resize(ramp(), (8, 90, 110))
    with open_scene(write_tif(tmp_path / "a.tif", stack, descriptions=names)) as scene:
        assert [band.index for band in scene.recipe.bands] == [6, 4, 2, 8]


def test_bands_are_found_by_colour(tmp_path):
    colours = (ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red)
    path = write_tif(
        tmp_path / "scene.tif", ramp()[[N, B, G, R]], colorinterp=colours, photometric="minisblack", descriptions=None
    )
    np.testing.assert_array_equal(read(path)[0], ramp())


def test_the_user_says_which_bands(tmp_path):
    stack = np.concatenate([ramp(), ramp() + 0.3])
    path = write_tif(tmp_path / "scene.tif", stack, descriptions=[f"layer {i}" for i in range(8)])
    with pytest.raises(BandError, match=r"ReadOptions\(bands="):
        read(path)
    np.testing.assert_array_equal(read(path, bands=(8, 3, 2, 5))[0], stack[[7, 2, 1, 4]])


@pytest.mark.parametrize(
    ("count", "bands", "words"),
    [(3, None, "3 band"), (1, None, "1 band"), (4, (1, 2, 3, 5), "no band 5"), (6, None, r"ReadOptions\(bands=")],
)
def test_bands_that_are_not_there(tmp_path, count, bands, words):
    path = write_tif(tmp_path / "few.tif", np.resize(ramp(), (count, 90, 110)))
    with pytest.raises(BandError, match=words) as caught:
        read(path, bands=bands)
    assert "few.tif" in str(caught.value)


def test_landsat_numbers_that_could_be_two_satellites_are_refused_unless_the_name_tells(tmp_path):
    stack = np.resize(level1_numbers(ramp()), (7, 90, 110))
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
    with pytest.raises(BandError, match="Landsat 4-7's or 8-9's"):
        read(write_tif(tmp_path / "stack.tif", stack, descriptions=names))
    for satellite, expected in (("LE07", [2, 1, 0, 3]), ("LC08", [3, 2, 1, 4])):
        path = write_tif(tmp_path / f"{satellite}_L1TP_190026_20200803_20200807_02_T1.tif", stack, descriptions=names)
        with open_scene(path) as scene:
            assert [band.index - 1 for band in scene.recipe.bands] == expected
            assert scene.units is Units.LANDSAT_L1
            assert scene.acquired.isoformat() == "2020-08-03T00:00:00+00:00"


def test_what_is_not_valid(tmp_path):
    """Nodata in one band, NaN, infinity, and zero in all bands each invalidate only their pixel."""
    image = ramp()
    image[1, 3, 4] = -9999
    image[0, 10, 11] = np.nan
    image[3, 20, 21] = np.inf
    image[:, 30, 31] = 0
    image[2, 40, 41] = 0
    found, valid = read(
        write_tif(tmp_path / "scene.tif", image, nodata=-9999, descriptions=("red", "green", "blue", "nir"))
    )
    lost = {(3, 4), (10, 11), (20, 21), (30, 31)}
    assert {tuple(p) for p in np.argwhere(~valid).tolist()} == lost
    assert (np.isnan(found).all(0) == ~valid).all()
    assert np.isfinite(found[:, valid]).all()


def test_an_alpha_band_hides_pixels(tmp_path):
    image = np.concatenate([(ramp() * 10_000), np.full((1, 90, 110), 255)]).astype("uint16")
    image[4, :7, :] = 0
    colours = (*[ColorInterp.undefined] * 4, ColorInterp.alpha)
    path = write_tif(
        tmp_path / "a.tif",
        image,
        colorinterp=colours,
        descriptions=("red", "green", "blue", "nir", "alpha"),
        alpha="yes",
    )
    _, valid = read(path)
    assert (valid.sum(1) == np.r_[np.zeros(7), np.full(83, 110)]).all()


@pytest.mark.parametrize("extra", [0, 1])
def test_nodata_counts_beside_alpha(tmp_path, extra):
    image = (ramp() * 10_000).astype("uint16")
    image[:, 60:] = 65_535
    stack = np.concatenate([image, np.full((extra, 90, 110), 255, "uint16")])
    names = ("red", "green", "blue", "nir", "alpha")[: 4 + extra]
    colours = (*[ColorInterp.undefined] * (3 + extra), ColorInterp.alpha)
    path = write_tif(tmp_path / "a.tif", stack, descriptions=names, nodata=65_535, colorinterp=colours, alpha="yes")
    _, valid = read(path, scale=1e-4)
    assert valid[:60].all()
    assert not valid[60:].any()


def test_a_mask_band_hides_pixels(tmp_path):
    import rasterio

    path = write_tif(tmp_path / "a.tif", ramp(), descriptions=("red", "green", "blue", "nir"))
    mask = np.full((90, 110), 255, "uint8")
    mask[5:9, 100:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    _, valid = read(path)
    assert (valid == (mask > 0)).all()


def test_windows_of_a_scene_are_parts_of_the_whole(tmp_path):
    path = write_tif(tmp_path / "scene.tif", ramp(), descriptions=("red", "green", "blue", "nir"))
    with open_scene(path) as scene:
        assert scene.grid == geobox()
        found = scene.read(Window(13, 7, 20, 30)).data
    np.testing.assert_array_equal(found, ramp()[:, 7:37, 13:33])


def test_nothing_there_or_no_raster(tmp_path):
    with pytest.raises(SceneNotFoundError, match=r"gone\.tif"):
        open_scene(tmp_path / "gone.tif")
    text = tmp_path / "text.tif"
    text.write_text("not a raster")
    with pytest.raises(SceneReadError, match=r"text\.tif"):
        open_scene(text)


def test_a_truncated_file_is_named(tmp_path):
    path = write_tif(tmp_path / "cut.tif", ramp(), descriptions=("red", "green", "blue", "nir"))
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(SceneReadError, match=r"cut\.tif"):
        read(path)


def test_complex_values_are_refused(tmp_path):
    with pytest.raises(BandError, match="complex"):
        read(write_tif(tmp_path / "c.tif", ramp().astype("complex64")))


def test_a_scene_says_what_rasterio_says(tmp_path):
    path = write_tif(tmp_path / "s.tif", ramp())
    with rasterio.open(path) as dataset, open_scene(path) as scene:
        assert (scene.crs, scene.transform, scene.shape) == (dataset.crs, dataset.transform, dataset.shape)
        assert scene.bounds == dataset.bounds and scene.name == "s"
        raster = scene.read()
        reflectance, valid = raster.data, raster.valid
        np.testing.assert_allclose(reflectance, dataset.read(), rtol=1e-6)
        assert valid.all()


@pytest.mark.parametrize(
    ("dtype", "scale", "fill", "units"),
    [("float32", 1, -9999, "reflectance"), ("int16", 1e-4, -9999, "sentinel2"), ("int16", 1e-4, -32768, "sentinel2")],
)
def test_undeclared_nodata_is_no_data(tmp_path, dtype, scale, fill, units):
    """Slightly negative reflectance, from atmospheric correction, is data."""
    image = ramp()
    image[1, 3, 4] = -0.2
    stored = np.rint(image / scale).astype(dtype) if scale < 1 else image
    stored[:, 20:40, 7] = fill
    stored[2, 50, 60] = fill
    path = write_tif(tmp_path / "scene.tif", stored, descriptions=("red", "green", "blue", "nir"))
    with pytest.raises(UnitsError, match=f"if {fill} is no data: gdal_edit.py -a_nodata {fill}"):
        read(path)
    expected = np.ones((90, 110), bool)
    expected[20:40, 7] = expected[50, 60] = False
    found, valid = read(path, units=units)
    np.testing.assert_array_equal(valid, expected)
    assert (np.isnan(found).all(0) == ~valid).all()
