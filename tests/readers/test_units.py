"""Pixel units: from metadata, else from unambiguous values, else an error that lists the choices."""

import logging

import numpy as np
import pytest
import rasterio
from conftest import level1_numbers, ramp, write_tif
from rasterio.windows import Window

from geocloud.bands import Units
from geocloud.errors import UnitsError, on_command_line
from geocloud.readers import ReadOptions, open_scene

NAMES = ("red", "green", "blue", "nir")


def dark_to_bright(low, high):
    """Reflectance with haze: in dark pixels nir is darkest and blue brightest."""
    image = np.stack([ramp()[0]] * 4)
    image = (image - image.min()) / (image.max() - image.min()) * (high - low) + low
    image[2] += 0.06
    return image.astype("float32")


def units_of(path, **options):
    with open_scene(path, ReadOptions(**options)) as scene:
        return scene.units


def save(tmp_path, values, **options):
    return write_tif(tmp_path / "scene.tif", values, descriptions=NAMES, **options)


def test_numbers_that_leave_no_doubt(tmp_path):
    dark = dark_to_bright(0.01, 0.6)
    assert units_of(save(tmp_path, dark)) is Units.REFLECTANCE
    assert units_of(save(tmp_path, level1_numbers(dark))) is Units.LANDSAT_L1
    assert units_of(save(tmp_path, (dark * 10_000).astype("uint16"))) is Units.SENTINEL2
    assert units_of(save(tmp_path, (dark * 10_000).astype("int16"))) is Units.SENTINEL2


@pytest.mark.parametrize(
    ("values", "choices"),
    [
        (
            np.rint((dark_to_bright(0.05, 0.6) + 0.2) / 2.75e-5).astype("uint16"),
            "--units landsat-l1 or --units landsat-l2",
        ),
        (
            (dark_to_bright(0.02, 0.6) * 10_000 + 1000).astype("uint16"),
            "--units sentinel2 or --units sentinel2-baseline4",
        ),
        ((dark_to_bright(0.02, 0.9) * 250).astype("uint8"), "scaled-8bit"),
        (dark_to_bright(10, 400), "reflectance"),
    ],
)
def test_numbers_that_could_be_several_things_are_refused_with_their_range_and_the_choices(tmp_path, values, choices):
    with pytest.raises(UnitsError) as caught:
        units_of(save(tmp_path, values))
    message = str(caught.value)
    assert "scene.tif" in message
    assert choices in on_command_line(message)
    assert str(values.dtype) in message


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("top", [255, 1000, 1500, 2047, 4095])
def test_numbers_that_end_too_low_for_reflectance_are_refused(tmp_path, top, dtype):
    """11 and 12 bits, radiance, per mille: maxima far below 10 000, or at limits of such types."""
    values = np.random.default_rng(7).integers(0, top, (4, 90, 110), endpoint=True).astype(dtype)
    values[:, :9] = top  # saturated
    with pytest.raises(UnitsError, match=rf"{dtype}, \d+ to {top}.*too dark.*scale=") as caught:
        units_of(save(tmp_path, values))
    assert "units='sentinel2'" in str(caught.value)
    assert units_of(save(tmp_path, values), units="sentinel2") is Units.SENTINEL2


def test_water_alone_is_dark(tmp_path, caplog):
    red, green, blue, nir = 0.028, 0.05, 0.08, 0.012
    water = np.stack([ramp()[0] / 90 + level for level in (red, green, blue, nir)])
    with caplog.at_level(logging.WARNING, "geocloud"):
        assert units_of(save(tmp_path, (water * 10_000).astype("uint16"))) is Units.SENTINEL2
    assert "nothing of it above" not in caplog.text
    with pytest.raises(UnitsError, match="too dark"):
        units_of(save(tmp_path, (water * 2000).astype("uint16")))


def test_a_dim_scene_brings_a_note(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "geocloud"):
        dim = dark_to_bright(0.01, 0.15)
        dim[3] += 0.06
        assert units_of(save(tmp_path, (dim * 10_000).astype("uint16"))) is Units.SENTINEL2
    assert "nothing of it above 0.21" in caplog.text


def test_cloud_all_over_is_not_taken_for_level_1(tmp_path):
    cloud = np.stack([ramp()[0] / 20 + level for level in (0.44, 0.49, 0.54, 0.5)])
    with pytest.raises(UnitsError, match="units="):
        units_of(save(tmp_path, (cloud * 10_000).astype("uint16")))


def test_what_the_user_says_counts(tmp_path):
    numbers = (dark_to_bright(0.02, 0.6) * 10_000 + 1000).astype("uint16")
    path = save(tmp_path, numbers)
    with open_scene(path, ReadOptions(units=Units.SENTINEL2_BASELINE4)) as scene:
        middle = scene.conversion.scale[0] * 4000 + scene.conversion.offset[0]
    assert middle == pytest.approx(0.3)
    with open_scene(path, ReadOptions(scale=0.001, offset=-0.5)) as scene:
        assert scene.conversion.scale[3] * 4000 + scene.conversion.offset[3] == pytest.approx(3.5)


def test_scales_in_the_file_count(tmp_path):
    values = (ramp() * 20_000).astype("uint16")
    with pytest.raises(UnitsError, match=r"reflectance = 50000 · value.*cannot be that.*scale="):
        open_scene(save(tmp_path, values, scales=(5e4,) * 4))  # divisors, as in MODIS files
    path = save(tmp_path, values, scales=(5e-5,) * 4)
    with open_scene(path) as scene:
        assert scene.units is Units.REFLECTANCE
        assert scene.conversion.scale == pytest.approx((5e-5,) * 4)
    with pytest.raises(UnitsError, match=r"\.tif: scale .*no zero scale"):
        open_scene(save(tmp_path, values, scales=(0,) * 4))


def test_a_sun_elevation_brightens_level1_only(tmp_path, caplog):
    path = save(tmp_path, level1_numbers(dark_to_bright(0.01, 0.6), 30))
    with caplog.at_level(logging.WARNING, "geocloud"), open_scene(path) as scene:
        without = scene.conversion
    assert "ReadOptions(sun_elevation=…)" in caplog.text
    with open_scene(path, ReadOptions(sun_elevation=30)) as scene:
        assert scene.conversion.scale[0] == pytest.approx(2 * without.scale[0])
        assert scene.sun_elevation == 30
    with pytest.raises(UnitsError, match="landsat-l1"):
        open_scene(save(tmp_path, ramp()), ReadOptions(sun_elevation=30))
    with pytest.raises(UnitsError, match="sun elevation"):
        open_scene(path, ReadOptions(sun_elevation=-5, units=Units.LANDSAT_L1))


def test_units_that_make_no_sense_bring_a_warning(tmp_path, caplog):
    path = save(tmp_path, level1_numbers(dark_to_bright(0.01, 0.9)))
    with caplog.at_level(logging.WARNING, "geocloud"):
        units_of(path, units=Units.SENTINEL2)
    assert "are the units right?" in caplog.text
    with pytest.raises(UnitsError, match="reflectance above"):
        units_of(path, units=Units.REFLECTANCE)


def test_contradictory_words_are_refused():
    with pytest.raises(UnitsError, match="not both"):
        ReadOptions(units=Units.SENTINEL2, scale=1e-4)
    with pytest.raises(UnitsError, match="needs a scale"):
        ReadOptions(offset=0.1)


def test_a_scene_without_any_data_needs_no_units(tmp_path):
    path = save(tmp_path, np.zeros((4, 90, 110), "uint16"), nodata=0)
    assert units_of(path) is Units.REFLECTANCE


def test_a_little_data_in_a_large_scene_is_found(tmp_path):
    values = np.zeros((4, 600, 700), "uint16")
    values[:, 210:240, 300:330] = (dark_to_bright(0.01, 0.6)[:, :30, :30] * 10_000).astype("uint16")
    assert units_of(save(tmp_path, values, nodata=0)) is Units.SENTINEL2


def test_units_as_plain_words(tmp_path):
    path = save(tmp_path, level1_numbers(dark_to_bright(0.01, 0.6), 30))
    with open_scene(path, ReadOptions(units="landsat-l1", sun_elevation=30)) as scene:
        assert scene.units is Units.LANDSAT_L1
        assert scene.conversion.scale[0] == pytest.approx(4e-5)
    with pytest.raises(UnitsError, match="furlongs"):
        ReadOptions(units="furlongs")


def test_level_1_fill_is_zero_in_any_band_of_a_stack_too(tmp_path):
    values = level1_numbers(dark_to_bright(0.01, 0.6))
    values[1, 5, 6] = 0
    with open_scene(save(tmp_path, values), ReadOptions(units="landsat-l1")) as scene:
        valid = scene.read(Window(0, 0, 110, 90)).valid
    assert np.argwhere(~valid).tolist() == [[5, 6]]


@pytest.mark.parametrize("bare", [False, True])
def test_a_scale_leaves_landsats_fill_alone(tmp_path, product, bare):
    band = next(product.glob("*_B4.TIF"))
    with rasterio.open(band, "r+") as dataset:
        values = dataset.read(1)
        values[5, 6] = 0
        dataset.write(values, 1)
    if bare:
        for path in list(product.iterdir()):
            path.rename(product / path.name.rpartition("_")[2])
        (product / "MTL.txt").unlink()
        product = product.rename(tmp_path / "bands")
    with open_scene(product, ReadOptions(scale=3e-5, offset=-0.1)) as scene:
        assert np.argwhere(~scene.read().valid).tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("name", "shift", "expected", "note"),
    [
        ("S2B_MSIL2A_20230101T101031_N0509_R022_T32TQM_20230101T120000", 1000, Units.SENTINEL2_BASELINE4, "its name"),
        ("S2B_MSIL2A_20230101T101031_N0509_R022_T32TQM_20230101T120000", 0, Units.SENTINEL2, ""),
        ("S2B_MSIL2A_20200101T101031_N0213_R022_T32TQM_20200101T120000", 0, Units.SENTINEL2, ""),
        ("scene", 950, Units.SENTINEL2, "if the baseline is 4"),
        ("scene", 0, Units.SENTINEL2, ""),
    ],
)
def test_the_zero_of_sentinel_2s_baselines(tmp_path, caplog, name, shift, expected, note):
    """Dark water: zero reflectance is 0, and 1000 from baseline 4 on."""
    values = (dark_to_bright(0.001, 0.6) * 10_000 + shift).astype("uint16")
    path = write_tif(tmp_path / f"{name}.tif", values, descriptions=NAMES)
    with caplog.at_level(logging.WARNING, "geocloud"):
        assert units_of(path) is expected
    assert note in caplog.text and bool(caplog.text) == bool(note)
