"""Snow and thin cirrus, for scenes with the bands they need."""

import json
import logging
import shutil

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from conftest import geobox, level1_numbers, ramp, read_tif, write_tif
from geocloud_cli.main import cli
from safe import L2A, numbers, write_jp2, write_safe

import geocloud
from geocloud import MaskOptions, ModelMetadata, Predictor, ReadOptions
from geocloud.errors import BandError, OptionError
from geocloud.masks.codes import snow_limit, thin_cirrus
from geocloud.readers import open_scene
from geocloud.readers.further import beside, further_band

MODEL = Predictor(lambda batch: np.nan_to_num(batch[:, 0]), ModelMetadata(threshold=0.35, pixel_size=30))
"""Red is the probability of cloud."""


def swir(seed=1):
    return np.random.default_rng(seed).uniform(0.02, 0.6, (90, 110)).astype("float32")


def stack(path, names=("red", "green", "blue", "nir", "swir1"), **how):
    return write_tif(path, np.concatenate([ramp(), swir()[None]]), descriptions=names, **how)


def expected(image, band, options):
    """Expected mask by the formula, an independent oracle."""
    green, probability = image[1].astype("float64"), np.rint(100 * image[0])
    index = np.rint(100 * (green - band) / (green + band)).clip(0, 100)
    snow = (green > 0.2) & (index > 20 + 0.5 * probability)
    mask = (image[0] > 0.35).astype("uint8")
    mask[snow] = 3 if options.snow else 0
    return mask


@pytest.mark.parametrize("options", [MaskOptions(snow=True), MaskOptions(reject_snow=True)])
def test_snow_is_told_in_files_and_arrays_alike(tmp_path, options):
    path = stack(tmp_path / "s.tif")
    result = geocloud.mask_scene(path, tmp_path / "m.tif", model=MODEL, options=options)
    mask = read_tif(tmp_path / "m.tif")[0]
    truth = expected(ramp(), swir(), options)
    assert (mask != truth).mean() < 1e-3  # indices equal to the limit
    with open_scene(path) as scene:
        raster = scene.read(further=["swir1"])
    np.testing.assert_array_equal(geocloud.mask_raster(raster, model=MODEL, options=options), mask)
    assert (result.snow_percent is not None) == options.snow
    if options.snow:
        assert result.snow_percent == pytest.approx(100 * (mask == 3).mean())
        assert {0, 1, 3} == set(np.unique(mask))
    else:
        assert {0, 1} == set(np.unique(mask))


def test_every_result_knows_snow(tmp_path):
    path = stack(tmp_path / "s.tif")
    result = geocloud.mask_scene(
        path, tmp_path / "m.tif", polygons=tmp_path / "p.gpkg", model=MODEL, options=MaskOptions(snow=True)
    )
    with rasterio.open(tmp_path / "m.tif") as dataset:
        assert dataset.tags()["GEOCLOUD_SNOW_PERCENT"] == f"{result.snow_percent:.2f}"
        assert dataset.colormap(1)[3] == (0, 114, 178, 255)
    assert 'label="snow"' in (tmp_path / "m.qml").read_text()
    assert set(geopandas.read_file(tmp_path / "p.gpkg", layer="clouds")["class"]) == {"cloud", "snow"}
    assert result.to_xarray().attrs["flag_meanings"] == "clear cloud snow no_data"
    assert json.loads(result.to_json())["snow_percent"] == result.snow_percent
    assert len(result.to_geodataframe()) == result.polygon_count


def test_thin_cirrus_lies_over_clear_ground_alone(product, tmp_path):
    cirrus = np.zeros((90, 110), "float32")
    cirrus[:, 40:] = 0.05
    (red,) = product.glob("*_B4.TIF")
    other = red.with_name(red.name.replace("_B4", "_B9"))
    shutil.copy(red, other)
    with rasterio.open(other, "r+") as dataset:
        dataset.write(level1_numbers(cirrus, 50), 1)
    result = geocloud.mask_scene(product, tmp_path / "m.tif", model=MODEL, options=MaskOptions(cirrus=True))
    mask = read_tif(tmp_path / "m.tif")[0]
    plain = geocloud.mask_scene(product, tmp_path / "p.tif", model=MODEL)
    before = read_tif(tmp_path / "p.tif")[0]
    np.testing.assert_array_equal(mask, np.where((before == 0) & (cirrus > 0), 4, before))
    assert result.cloud_percent == plain.cloud_percent and result.cirrus_percent > 1


def test_a_missing_band_is_told_and_nothing_else_changes(product, tmp_path, caplog):
    options = MaskOptions(snow=True, cirrus=True)
    with caplog.at_level(logging.WARNING, "geocloud"):
        result = geocloud.mask_scene(product, tmp_path / "m.tif", model=MODEL, options=options)
    assert "no band at 1.6 µm" in caplog.text and "no band at 1.37 µm" in caplog.text
    assert result.snow_percent is None and set(np.unique(read_tif(tmp_path / "m.tif"))) == {0, 1}
    with open_scene(product) as scene, pytest.raises(BandError, match="no band swir1"):
        scene.read(further=["swir1"])
    with pytest.raises(OptionError, match="the image has no swir1"):
        geocloud.mask_array(ramp(), model=MODEL, snow=True)


@pytest.mark.parametrize(
    "names",
    [
        {"swir1": "B6", "red": "B4", "nir": "B5"},
        {"swir1": "SR_B6", "red": "SR_B4", "nir": "SR_B5"},
        {"swir1": "B11", "red": "B4", "nir": "B8A"},
        {"swir1": "B11", "red": "B4", "nir": "B8"},
        {"swir1": "swir16", "red": "red", "nir": "nir"},
    ],
)
def test_stacks_tell_it_by_their_band_names(tmp_path, names):
    words = names["red"] == "red"
    others = ("green", "blue") if words else tuple(names["red"].replace("4", n) for n in "32")
    path = stack(tmp_path / "s.tif", (names["red"], *others, names["nir"], names["swir1"]))
    with open_scene(path, ReadOptions(units="reflectance")) as scene, further_band(scene, "swir1") as read:
        np.testing.assert_array_equal(read(3, 50), swir()[3:50])


def test_coarser_bands_parts_and_scenes_from_south_to_north(tmp_path):
    fine, coarse = geobox(90, 110, size=10), geobox(45, 55, size=20)
    for number in (2, 3, 4, 8):
        write_tif(
            tmp_path / f"T32TQM_20200101T101031_B{number:02}.tif", np.rint(ramp()[:1] * 1e4).astype("uint16"), fine
        )
    rows, cols = np.mgrid[:45, :55]
    plane = np.rint(1e4 * (0.1 + 0.002 * rows + 0.003 * cols)).astype("uint16")
    write_tif(tmp_path / "T32TQM_20200101T101031_B11.tif", plane[None], coarse)
    with open_scene(tmp_path, ReadOptions(scale=1e-4)) as scene, further_band(scene, "swir1") as read:
        found = read(0, 90)
    exact = 0.1 + 0.002 * (np.arange(90)[:, None] / 2 - 0.25) + 0.003 * (np.arange(110) / 2 - 0.25)
    np.testing.assert_allclose(found[4:-4, 4:-4], exact[4:-4, 4:-4], atol=2e-4)
    values = np.concatenate([ramp(), swir()[None]])
    south = write_tif(
        tmp_path / "south.tif", values[:, ::-1], geobox().flip(), descriptions=("red", "green", "blue", "nir", "swir1")
    )
    t = geobox().transform
    extent = (t.c + 600, t.f - 1800, t.c + 2100, t.f - 300)
    with open_scene(south, ReadOptions(extent=extent)) as scene:
        raster = scene.read(further=["swir1"])
    np.testing.assert_array_equal(raster.further["swir1"], swir()[10:60, 20:70])


def test_without_data_nothing_is_told():
    nan = np.float32(np.nan)
    green, swir1 = np.array([[0.8, nan, 0.8, 0.1]], "float32"), np.array([[0.1, 0.1, nan, 0.0]], "float32")
    assert snow_limit(np.stack([green] * 4), swir1).tolist() == [[2 * (78 - 20), 0, 0, 0]]
    assert thin_cirrus(np.stack([green] * 4), np.array([[0.0, 0.02, nan, 0]], "float32")).tolist() == [[0, 1, 0, 0]]


def test_the_command_line_has_them(tmp_path):
    path = stack(tmp_path / "s.tif")
    result = CliRunner().invoke(cli, ["mask", str(path), "-o", str(tmp_path / "m.tif"), "--snow"])
    assert result.exit_code == 0 and ", snow " in result.stdout, result.output


@pytest.mark.parametrize(
    ("red", "nir", "expected"),
    [
        ("LC08_X_T1_B4.TIF", "LC08_X_T1_B5.TIF", "LC08_X_T1_B6.TIF"),
        ("LE07_X_SR_B3.TIF", "LE07_X_SR_B4.TIF", "LE07_X_SR_B5.TIF"),
        ("/vsizip/a.SAFE.zip/IMG_DATA/T33UXP_2023_B04.jp2", "/vsizip/a.SAFE.zip/IMG_DATA/T33UXP_2023_B08.jp2", None),
        ("HLS.L30.T15TWM.2021191T170851.v2.0.B04.tif", "HLS.L30.T15TWM.2021191T170851.v2.0.B05.tif", None),
        ("sentinel_band4.tif", "sentinel_band8.tif", "sentinel_band11.tif"),
        ("red.tif", "nir.tif", ""),
    ],
)
def test_the_file_of_another_band_has_the_name_of_red_but_for_the_number(red, nir, expected):
    if expected is None:
        expected = red.replace("B04", "B11" if "B08" in nir else "B06")
    assert (beside(red, nir, "swir1") or [""])[0] == expected


def test_sentinel_2_level_2a_holds_it_at_20_m(tmp_path):
    root = write_safe(tmp_path, numbers(ramp()), name=L2A)
    (red,) = root.rglob("*_B04_20m.jp2")
    swir1 = red.with_name(red.name.replace("_B04_", "_B11_"))
    plane = np.full((45, 55), 3000, "uint16")
    write_jp2(swir1, plane, 20)
    with open_scene(root) as scene:
        found = scene.read(further=["swir1"]).further["swir1"]
    np.testing.assert_allclose(found, 0.2, atol=1e-4)  # × 10 000, offset −1000


def test_landsat_7_level_1_has_a_scale_for_each_band(tmp_path):
    folder = tmp_path / "LE07_L1TP_041027_20070505_20200913_02_T1"
    folder.mkdir()
    lines = ["GROUP = LANDSAT_METADATA_FILE", "GROUP = IMAGE_ATTRIBUTES", "SPACECRAFT_ID = LANDSAT_7"]
    lines += ["SUN_ELEVATION = 30.0", "END_GROUP = IMAGE_ATTRIBUTES", "GROUP = LEVEL1_RADIOMETRIC_RESCALING"]
    for band in (1, 2, 3, 4, 5):
        values = np.full((1, 20, 30), 100 + band, "uint8")
        write_tif(folder / f"{folder.name}_B{band}.TIF", values, geobox(20, 30))
        lines += [f"REFLECTANCE_MULT_BAND_{band} = 0.00{band}", f"REFLECTANCE_ADD_BAND_{band} = -0.0{band}"]
    lines += ["END_GROUP = LEVEL1_RADIOMETRIC_RESCALING", "END_GROUP = LANDSAT_METADATA_FILE", "END"]
    (folder / f"{folder.name}_MTL.txt").write_text("\n".join(lines))
    with open_scene(folder) as scene:
        raster = scene.read(further=["swir1"])
    np.testing.assert_allclose(raster.data[0], (0.003 * 103 - 0.03) / 0.5, rtol=1e-5)
    np.testing.assert_allclose(raster.further["swir1"], (0.005 * 105 - 0.05) / 0.5, rtol=1e-5)
