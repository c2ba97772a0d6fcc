"""Four unnamed bands: identified by file name or by unambiguous pixels, otherwise refused."""

import logging

import numpy as np
import pytest
from conftest import geobox, ramp, read_tif, write_tif
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geocloud.bands import Units
from geocloud.errors import BandError, GridError, SceneReadError, UnitsError, on_command_line
from geocloud.readers import ReadOptions, Source, find_reader, open_scene

WHOLE = Window(0, 0, 110, 90)
SWAPPED = [2, 1, 0, 3]
PLANTS, SOIL, AIR = (0.03, 0.05, 0.03, 0.4), (0.25, 0.18, 0.12, 0.32), (0.02, 0.04, 0.08, 0.0)
AQUA = (0.03, 0.05, 0.04, 0.01)


def fields(air=0.0, cloud=0.0, land=1.0):
    """Reflectance (4, 90, 110) from plants to bare soil, with water on the right, haze and some cloud."""
    rows, cols = np.mgrid[:90, :110]
    share = (7 * rows + 3 * cols + rows * cols) % 97 / 96
    image = np.stack([plants + share * (soil - plants) for plants, soil in zip(PLANTS, SOIL, strict=True)])
    image = np.where(cols >= 110 * land, np.reshape(AQUA, (4, 1, 1)) * (1 + share / 9), image)
    image += air * np.reshape(AIR, (4, 1, 1))
    image = np.where(rows < 90 * cloud, 0.6 + share / 5, image)
    return image.astype("float32")


def stored(image, dtype="uint16", scale=1e4):
    return np.rint(image * scale).astype(dtype)


def bands_of(path, **options):
    with open_scene(path, ReadOptions(**options)) as scene:
        return tuple(band.index for band in scene.recipe.bands)


@pytest.mark.parametrize("names", [None, [f"Band {i}" for i in (1, 2, 3, 4)], [f"layer_{i}" for i in (1, 2, 3, 4)]])
@pytest.mark.parametrize("air", [0, 1], ids=["surface", "top of the atmosphere"])
@pytest.mark.parametrize("cloud", [0, 0.6])
def test_land_tells_red_from_blue_in_either_order(tmp_path, caplog, names, air, cloud):
    image = fields(air, cloud, land=0.9)
    right = write_tif(tmp_path / "right.tif", stored(image), descriptions=names)
    swapped = write_tif(tmp_path / "swapped.tif", stored(image[SWAPPED]), descriptions=names)
    with caplog.at_level(logging.WARNING, "geocloud"):
        assert bands_of(right) == (1, 2, 3, 4)
    assert "read as red, green, blue, nir" in caplog.text and "--bands 3,2,1,4" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "geocloud"):
        assert bands_of(swapped) == (3, 2, 1, 4)
    assert "read as blue, green, red, nir" in caplog.text and "--bands 1,2,3,4" in caplog.text
    with open_scene(right) as one, open_scene(swapped) as other:
        np.testing.assert_array_equal(one.read().data, other.read().data)


def test_units_with_an_offset_tell_as_well(tmp_path):
    image = fields(1)
    for scale, offset in ((1.0, 0.0), (50_000.0, 5000.0), (255.0, 0.0)):
        path = write_tif(tmp_path / "a.tif", (image[SWAPPED] * scale + offset).astype("float32"), descriptions=None)
        assert bands_of(path, scale=1 / scale, offset=-offset / scale) == (3, 2, 1, 4)


@pytest.mark.parametrize(
    "image",
    [fields(1, cloud=1), fields(1, land=0), fields(1, land=0.03), np.full((4, 90, 110), 0.1, "float32"), ramp()],
    ids=["cloud", "water", "hardly any land", "all the same", "grey"],
)
def test_what_leaves_doubt_is_refused_with_both_choices(tmp_path, image):
    path = write_tif(tmp_path / "scene.tif", stored(image), descriptions=None)
    with pytest.raises(BandError) as caught:
        bands_of(path)
    for word in ("scene.tif", "--bands 1,2,3,4", "--bands 3,2,1,4"):
        assert word in str(caught.value)
    assert bands_of(path, bands=(3, 2, 1, 4), scale=1e-4) == (3, 2, 1, 4)


def test_no_data_tells_nothing(tmp_path):
    image = stored(fields(1))
    image[:, 5:] = 0
    path = write_tif(tmp_path / "scene.tif", image, descriptions=None)
    assert bands_of(path) == (1, 2, 3, 4)
    image[:] = 0
    with pytest.raises(BandError, match="leave doubt"):
        bands_of(write_tif(tmp_path / "none.tif", image, descriptions=None))


def test_real_scenes_are_never_taken_in_the_wrong_order(data):
    """The scenes are stored in the order blue, green, red, nir."""
    told = 0
    for path in sorted((data / "scenes" / "sentinel2_4band").glob("*.tif")):
        try:
            assert bands_of(path) == (3, 2, 1, 4)
            told += 1
        except BandError as error:
            assert "leave doubt" in str(error)
    assert told


# Alpha.


def with_alpha(values, alpha):
    return np.concatenate([values, np.full((1, 90, 110), alpha, values.dtype)])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_transparency_is_never_a_band(tmp_path, dtype):
    values = with_alpha(stored(fields()[:3], dtype, 250), 255)
    values[3, :7] = 0
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    path = write_tif(tmp_path / "a.tif", values, descriptions=None, colorinterp=colours, alpha="yes")
    with pytest.raises(BandError, match=r"band 4 is alpha .*bands=\(1, 2, 3\)\) without"):
        bands_of(path, bands=(1, 2, 3, 4), scale=1 / 250)
    with open_scene(path, ReadOptions(bands=(1, 2, 3), scale=1 / 250)) as scene:
        assert scene.bands == 3
        assert (scene.read(WHOLE).valid.sum(1) == np.r_[np.zeros(7), np.full(83, 110)]).all()


def test_near_infrared_that_is_marked_alpha_is_asked_for_with_its_units(tmp_path):
    """GDAL marks the fourth of four 8-bit bands in this way."""
    path = write_tif(tmp_path / "aerial.tif", stored(fields(), "uint8", 255), descriptions=None)
    with pytest.raises(BandError) as caught:
        bands_of(path)
    for word in ("marked alpha", "--bands 1,2,3,4", "--bands 1,2,3 ", "--units scaled-8bit", "--scale"):
        assert word in on_command_line(str(caught.value))
    with open_scene(path, ReadOptions(bands=(1, 2, 3, 4), units=Units.SCALED_8BIT)) as scene:
        raster = scene.read(WHOLE)
        found, valid = raster.data, raster.valid
        np.testing.assert_allclose(found, fields(), atol=1 / 255)
        assert valid.all()


def test_four_bands_of_8_bits_are_asked_for_with_their_units(tmp_path):
    colours = (ColorInterp.gray, *[ColorInterp.undefined] * 3)
    values = stored(fields(), "uint8", 255)
    path = write_tif(tmp_path / "a.tif", values, descriptions=None, photometric="minisblack", colorinterp=colours)
    with pytest.raises(BandError) as caught:
        bands_of(path)
    for word in ("--bands 1,2,3,4", "--bands 3,2,1,4", "--units scaled-8bit"):
        assert word in str(caught.value)
    assert bands_of(path, bands=(1, 2, 3, 4), units="scaled-8bit") == (1, 2, 3, 4)


@pytest.mark.parametrize(("count", "order"), [(5, "3,2,1,5"), (8, "6,4,2,8"), (12, "4,3,2,8"), (13, "4,3,2,8")])
def test_of_more_bands_without_names_the_usual_order_is_suggested(tmp_path, count, order):
    path = write_tif(tmp_path / "a.tif", np.resize(stored(fields()), (count, 90, 110)), descriptions=None)
    with pytest.raises(BandError, match=f"bands=.*{order}.*check"):
        bands_of(path)


# PlanetScope.

XML = """<?xml version="1.0" encoding="UTF-8"?>
<ps:EarthObservation xmlns:ps="http://schemas.planet.com/ps/v1/planet_product_metadata_geocorrected_level"><ps:all>
{bands}</ps:all></ps:EarthObservation>
"""
BAND = (
    "<ps:bandSpecificMetadata><ps:bandNumber>{}</ps:bandNumber><ps:radiometricScaleFactor>0.01</"
    "ps:radiometricScaleFactor><ps:reflectanceCoefficient>{}</ps:reflectanceCoefficient></ps:bandSpecificMetadata>\n"
)
SCENE = "20240701_103015_12_2465_3B"
EIGHT = [0, 2, 0, 1, 0, 0, 0, 3]  # coastal blue, blue, green I, green, yellow, red, red edge, nir: of red, green, …


def coefficients(*values):
    return XML.format(bands="".join(BAND.format(i, value) for i, value in enumerate(values, 1)))


@pytest.mark.parametrize(
    ("name", "order"),
    [
        (f"{SCENE}_AnalyticMS_SR.tif", SWAPPED),
        (f"{SCENE}_AnalyticMS_SR_clip.tif", SWAPPED),
        (f"{SCENE}_AnalyticMS_SR_harmonized_clip.tif", SWAPPED),
        ("20240701_103015_12_2465_ortho_analytic_4b_sr.tif", SWAPPED),
        (f"{SCENE}_AnalyticMS_SR_8b_clip.tif", EIGHT),
        ("20240701_103015_12_2465_ortho_analytic_8b_sr.tif", EIGHT),
    ],
)
def test_the_name_of_a_planetscope_scene_tells_bands_and_units(tmp_path, caplog, name, order):
    """Even for water, whose pixels are ambiguous."""
    image = fields(land=0)
    values = stored(image[order])
    values[1, 3, 4] = 0
    path = write_tif(tmp_path / name, values, descriptions=None)
    with caplog.at_level(logging.WARNING, "geocloud"), open_scene(path) as scene:
        raster = scene.read(WHOLE)
        found, valid = raster.data, raster.valid
        assert scene.acquired.isoformat() == "2024-07-01T10:30:15+00:00"
    assert not caplog.text
    if len(order) == 4:
        assert np.argwhere(~valid).tolist() == [[3, 4]]
    np.testing.assert_allclose(found[:, valid], image[:, valid], atol=6e-5)


def test_radiance_needs_the_coefficients_beside_it(tmp_path):
    image = fields(1)
    factors = np.array([2.1e-5, 2.2e-5, 2.4e-5, 3.4e-5])
    values = np.rint(image[SWAPPED] / factors[:, None, None]).astype("uint16")
    path = write_tif(tmp_path / f"{SCENE}_AnalyticMS_clip.tif", values, descriptions=None)
    with pytest.raises(UnitsError, match=rf"radiance, and no {SCENE}_…_metadata.xml"):
        open_scene(path)
    assert bands_of(path, scale=2e-5) == (3, 2, 1, 4)
    (tmp_path / f"{SCENE}_AnalyticMS_8b_metadata_clip.xml").write_text(coefficients(*[9] * 8))
    with pytest.raises(UnitsError, match="radiance"):
        open_scene(path)
    (tmp_path / f"{SCENE}_AnalyticMS_metadata_clip.xml").write_text(coefficients(*factors))
    with open_scene(path) as scene:
        assert scene.units is Units.REFLECTANCE
        np.testing.assert_allclose(scene.read(WHOLE).data, image, atol=3e-5)


def test_eight_bands_of_radiance_have_eight_coefficients(tmp_path):
    path = write_tif(tmp_path / f"{SCENE}_AnalyticMS_8b.tif", stored(fields()[EIGHT]), descriptions=None)
    (tmp_path / f"{SCENE}_AnalyticMS_8b_metadata.xml").write_text(coefficients(*(i * 1e-5 for i in range(1, 9))))
    with open_scene(path) as scene:
        assert scene.conversion.scale == pytest.approx((6e-5, 4e-5, 2e-5, 8e-5))
    with open_scene(path, ReadOptions(bands=(6, 3, 1))) as scene:
        assert scene.conversion.scale[:3] == pytest.approx((6e-5, 3e-5, 1e-5))


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "9">]><x>&a;</x>', SceneReadError, "DOCTYPE"),
        (coefficients(1, 2)[:200], SceneReadError, "no valid XML"),
        (coefficients("high", 2, 3, 4), SceneReadError, "cannot be read as PlanetScope metadata"),
        (coefficients(1, 2), UnitsError, "no reflectanceCoefficient of band 3"),
        (coefficients(0, 2, 3, 4), UnitsError, "no zero scale"),
        ('<?xml version="1.0" encoding="WTF-8"?><a/>', UnitsError, "no reflectanceCoefficient"),
        ("<a>" + " " * 5_000_000 + "</a>", SceneReadError, "bytes long"),
    ],
)
def test_coefficients_that_cannot_be_used(tmp_path, text, kind, words):
    path = write_tif(tmp_path / f"{SCENE}_AnalyticMS.tif", stored(fields()), descriptions=None)
    (tmp_path / f"{SCENE}_AnalyticMS_metadata.xml").write_text(text)
    with pytest.raises(kind, match=words):
        open_scene(path)


def usable(path, grid=None, count=8):
    """A usable data mask: no image in the first rows; elsewhere low confidence, which is ignored."""
    values = np.zeros((count, 90, 110), "uint8")
    values[0] = 1
    values[-1, :7] = 1
    values[-1, 40:50] = 0b0110
    return write_tif(path, values, grid, descriptions=None)


def test_the_usable_data_mask_hides_what_has_no_image(tmp_path):
    path = write_tif(tmp_path / f"{SCENE}_AnalyticMS_SR_clip.tif", stored(fields()), descriptions=None)
    usable(tmp_path / f"{SCENE}_udm2.tif", geobox(80, 80))  # not clipped: of another scene
    mask = usable(tmp_path / f"{SCENE}_udm2_clip.tif")
    with open_scene(path) as scene:
        assert (scene.read(WHOLE).valid.sum(1) == np.r_[np.zeros(7), np.full(83, 110)]).all()
        assert scene.sample.valid_share < 1
    assert set(find_reader(Source(str(path))).files(Source(str(path)))) == {str(path), str(mask)}


@pytest.mark.parametrize(("grid", "count", "kind"), [(geobox(90, 110, size=3), 8, GridError), (None, 1, BandError)])
def test_a_usable_data_mask_that_does_not_fit(tmp_path, grid, count, kind):
    path = write_tif(tmp_path / f"{SCENE}_AnalyticMS_SR.tif", stored(fields()), descriptions=None)
    usable(tmp_path / f"{SCENE}_udm2.tif", grid, count)
    with pytest.raises(kind, match=r"udm2\.tif.*move it away"):
        open_scene(path)


def test_a_name_alone_does_not_make_a_planetscope_scene(tmp_path):
    """Derived files with other values or bands are read like any raster."""
    path = write_tif(tmp_path / f"{SCENE}_AnalyticMS_SR.tif", fields()[SWAPPED], descriptions=None)
    with open_scene(path) as scene:
        np.testing.assert_array_equal(scene.read(WHOLE).data, read_tif(path)[SWAPPED])
    with pytest.raises(BandError, match="6 band"):
        bands_of(write_tif(tmp_path / f"{SCENE}_AnalyticMS.tif", np.resize(ramp(), (6, 90, 110))))
