"""Units from names, folders, metadata and tags are checked against the pixels."""

import json
import logging

import numpy as np
import pytest
import rasterio
from conftest import geobox, ramp, write_tif
from rasterio.windows import Window

from geocloud.bands import Units
from geocloud.errors import UnitsError
from geocloud.readers import ReadOptions, open_scene

NAMES = ("red", "green", "blue", "nir")
L1 = "LC08_L1TP_190026_20240701_20240708_02_T1"
L2 = L1.replace("L1TP", "L2SP")


def scene_like():
    """Reflectance from dark land to bright cloud, with haze in blue."""
    image = ramp() * 0.9 - 0.03
    image[2] += 0.04
    return image.astype("float32")


def times(scale, dtype="uint16", offset=0.0):
    return np.rint(scene_like() * scale + offset).astype(dtype)


def bands_in(folder, pattern, values, keys=(4, 3, 2, 5)):
    folder.mkdir(parents=True, exist_ok=True)
    for key, band in zip(keys, values, strict=True):
        write_tif(folder / pattern.format(key), band[None])
    return folder


def read(source, caplog=None, **options):
    """Units, reflectance and notes of a scene."""
    with open_scene(source, ReadOptions(**options)) as scene:
        return scene.units, scene.read().data


REFLECTANCE = [("float32", 1.0, Units.REFLECTANCE), ("int16", 1e4, Units.SENTINEL2), ("uint16", 1e4, Units.SENTINEL2)]


@pytest.mark.parametrize(("dtype", "scale", "units"), REFLECTANCE)
@pytest.mark.parametrize("pattern", [f"{L2}_SR_B{{}}.TIF", f"RT_{L1}_B{{}}.TIF", f"{L1}_B{{}}.TIF"])
def test_rescaled_bands_under_a_products_names(tmp_path, caplog, pattern, dtype, scale, units):
    values = scene_like() if dtype == "float32" else times(scale, dtype)
    folder = bands_in(tmp_path / "x", pattern, values)
    with caplog.at_level(logging.WARNING, "geocloud"):
        told, found = read(folder)
    assert told is units
    np.testing.assert_allclose(found, scene_like(), atol=6e-5)
    (note,) = [record.getMessage() for record in caplog.records]
    assert "cannot be that" in note and str(folder) in note and "ReadOptions(units=…)" in note


def test_reflectance_with_the_metadata_of_level_1_beside_it(product, caplog):
    for number, band in zip((4, 3, 2, 5), scene_like(), strict=True):
        write_tif(product / f"{L1}_B{number}.TIF", band[None])
    with caplog.at_level(logging.WARNING, "geocloud"):
        told, found = read(product)
    assert told is Units.REFLECTANCE and "landsat-l1" in caplog.text
    np.testing.assert_array_equal(found, scene_like())  # not divided by the sun's sine again


def test_clouds_times_10_000_are_no_level_1(product):
    """As Level 1, all but the darkest pixels would have positive reflectance."""
    clouds = scene_like() * 0.5 + 0.35
    for number, band in zip((4, 3, 2, 5), np.rint(clouds * 1e4).astype("int16"), strict=True):
        write_tif(product / f"{L1}_B{number}.TIF", band[None])
    told, found = read(product)
    assert told is Units.SENTINEL2
    np.testing.assert_allclose(found, clouds, atol=6e-5)


def test_espas_top_of_atmosphere_bands(tmp_path, caplog):
    values = times(1e4, "int16")
    values[:, :3] = -9999
    folder = bands_in(tmp_path / "x", f"{L1}_toa_band{{}}.tif", values)
    with caplog.at_level(logging.WARNING, "geocloud"):
        told, found = read(folder)
    assert told is Units.REFLECTANCE and not caplog.text
    assert np.isnan(found[:, :3]).all()
    np.testing.assert_allclose(found[:, 3:], scene_like()[:, 3:], atol=6e-5)


def test_hls_names_in_front_of_floats(tmp_path):
    pattern = "HLS.L30.T15TWM.2021190T170344.v2.0.{}.tif"
    told, found = read(bands_in(tmp_path / "x", pattern, scene_like(), ("B04", "B03", "B02", "B05")))
    assert told is Units.REFLECTANCE
    np.testing.assert_array_equal(found, scene_like())


@pytest.mark.parametrize("name", [f"{L1}.tif", f"{L2}.tif"])
def test_a_stack_named_after_its_product(tmp_path, name):
    path = write_tif(tmp_path / name, times(1e4), descriptions=NAMES)
    told, found = read(path)
    assert told is Units.SENTINEL2
    np.testing.assert_allclose(found, scene_like(), atol=6e-5)
    own = np.rint((scene_like() + (0.1 if "L1TP" in name else 0.2)) / (2e-5 if "L1TP" in name else 2.75e-5))
    told, found = read(write_tif(path, own.astype("uint16"), descriptions=NAMES))
    assert told is (Units.LANDSAT_L1 if "L1TP" in name else Units.LANDSAT_L2)
    np.testing.assert_allclose(found, scene_like(), atol=3e-5)


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, 0), (2.75e-5, -0.2), (1e-4, -0.1)])
def test_a_scale_that_was_applied_and_kept(tmp_path, caplog, scale, offset):
    path = write_tif(tmp_path / "a.tif", scene_like(), descriptions=NAMES, scales=(scale,) * 4)
    with rasterio.open(path, "r+") as dataset:
        dataset.offsets = (offset,) * 4
    with caplog.at_level(logging.WARNING, "geocloud"):
        told, found = read(path)
    assert told is Units.REFLECTANCE and "cannot be that" in caplog.text
    np.testing.assert_array_equal(found, scene_like())


def test_a_claim_that_fits_nothing_names_the_choices(tmp_path):
    folder = bands_in(tmp_path / "x", f"{L2}_SR_B{{}}.TIF", times(1e4, offset=1500))
    with pytest.raises(
        UnitsError, match=r"declared as landsat-l2 .* cannot be that.*'sentinel2'\) or .*'sentinel2-baseline4'\)"
    ):
        read(folder)


def test_real_level_2_values_stay_as_they_are(tmp_path, caplog):
    """Overcast scenes, open water and negative surface reflectance are accepted."""
    water = np.stack([ramp()[0] / 30 + level for level in (0.001, 0.006, 0.004, -0.03)])
    cloud = np.stack([ramp()[0] / 3 + level for level in (0.5, 0.5, 0.5, 0.52)])
    for name, image in (("water", water), ("cloud", cloud)):
        folder = bands_in(tmp_path / name, f"{L2}_SR_B{{}}.TIF", np.rint((image + 0.2) / 2.75e-5).astype("uint16"))
        told, found = read(folder)
        assert told is Units.LANDSAT_L2
        np.testing.assert_allclose(found, image, atol=3e-5)


def test_negative_surface_reflectance(tmp_path):
    image = scene_like()
    image[0, :9] = -0.04
    told, found = read(write_tif(tmp_path / "a.tif", np.rint(image * 1e4).astype("int16"), descriptions=NAMES))
    assert told is Units.SENTINEL2
    np.testing.assert_allclose(found, image, atol=6e-5)


def test_sixteen_bits_for_0_to_1(tmp_path, caplog):
    """Recognised by the Copernicus Browser's file names; for other files one of the choices."""
    pattern = "2023-05-01-00:00_2023-05-01-23:59_Sentinel-2_L2A_{}_(Raw).tiff"
    folder = bands_in(tmp_path / "raw", pattern, times(65535 * 0.3), ("B04", "B03", "B02", "B08"))
    told, found = read(folder)
    assert told is Units.SCALED_16BIT
    np.testing.assert_allclose(found, 0.3 * scene_like(), atol=2e-5)
    for share in (0.45, 1):
        path = write_tif(tmp_path / f"{share}.tif", times(65535 * share), descriptions=NAMES)
        with pytest.raises(UnitsError, match=r"scaled-16bit'\) \(0 to 65535 for 0 to 1\)"):
            read(path)
        assert read(path, units="scaled-16bit")[0] is Units.SCALED_16BIT
    floats = bands_in(tmp_path / "floats", pattern, scene_like(), ("B04", "B03", "B02", "B08"))
    assert read(floats)[0] is Units.REFLECTANCE


# STAC.


def item(folder, values, properties=None, name="x", **band):
    assets = {}
    for key, layer in zip(NAMES, values, strict=True):
        write_tif(folder / f"{key}.tif", layer[None])
        assets[key] = {"href": f"./{key}.tif", "eo:bands": [{"common_name": key}]}
        if band:
            assets[key]["raster:bands"] = [band]
    about = {"type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "links": [], "assets": assets}
    path = folder / "item.json"
    path.write_text(json.dumps({**about, "properties": {"datetime": "2024-07-01T10:00:00Z", **(properties or {})}}))
    return path


def test_scale_1_and_offset_0_tell_nothing(tmp_path):
    path = item(tmp_path, times(1e4), {"platform": "sentinel-2a"}, scale=1.0, offset=0.0, nodata=0.0)
    told, found = read(path)
    assert told is Units.SENTINEL2
    np.testing.assert_allclose(found, scene_like(), atol=6e-5)


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"s2:processing_baseline": "05.10"}, "x"),
        ({"sentinel:processing_baseline": "04.00", "sentinel:boa_offset_applied": False}, "S2B_52SFA_20220126_0_L2A"),
        ({"processing:version": "05.09"}, "x"),
        ({}, "S2B_MSIL2A_20230101T101031_N0509_R022_T32TQM_20230101T120000"),
    ],
)
def test_where_the_baseline_stands_in_an_item(tmp_path, properties, name):
    path = item(tmp_path, times(1e4, offset=1000), {"platform": "sentinel-2b", **properties}, name)
    told, found = read(path)
    assert told is Units.SENTINEL2_BASELINE4
    np.testing.assert_allclose(found, scene_like(), atol=6e-5)


@pytest.mark.parametrize("key", ["earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"])
def test_an_offset_that_was_applied_already(tmp_path, key):
    properties = {"platform": "sentinel-2b", "s2:processing_baseline": "05.10", key: True}
    told, found = read(item(tmp_path, times(1e4), properties))
    assert told is Units.SENTINEL2
    np.testing.assert_allclose(found, scene_like(), atol=6e-5)


@pytest.mark.parametrize("share", [0.2, 1])
def test_an_offset_that_the_values_contradict(tmp_path, caplog, share):
    dark = scene_like() * share
    path = item(tmp_path, np.rint(dark * 1e4).astype("uint16"), {"platform": "sentinel-2b"}, scale=1e-4, offset=-0.1)
    with caplog.at_level(logging.WARNING, "geocloud"):
        _, found = read(path)
    assert "cannot be that" in caplog.text
    np.testing.assert_allclose(found, dark, atol=6e-5)


def test_no_data_as_a_float(tmp_path):
    values = times(1e4, "int16")
    values[:, :5] = -9999
    told, found = read(item(tmp_path, values, scale=1e-4, offset=0, nodata=-9999.0))
    assert told is Units.REFLECTANCE
    assert np.isnan(found[:, :5]).all() and np.isfinite(found[:, 5:]).all()


def test_the_crs_of_an_item_places_rasters_without_one(tmp_path):
    box = geobox(size=10)
    path = item(tmp_path, times(1e4, offset=1000), {"platform": "sentinel-2b", "s2:processing_baseline": "05.10"})
    document = json.loads(path.read_text())
    document["properties"]["proj:code"] = "EPSG:32633"
    for key in NAMES:
        with rasterio.open(tmp_path / f"{key}.tif") as dataset:
            values = dataset.read()
        write_tif(tmp_path / f"{key}.tif", values, geobox(crs=None, size=10))
    path.write_text(json.dumps(document))
    with open_scene(path) as scene:
        assert scene.grid == box
        scene.read(Window(0, 0, 5, 5))
    for key in NAMES:
        document["assets"][key] |= {"proj:shape": [90, 110], "proj:transform": list(box.transform)[:6]}
        write_tif(tmp_path / f"{key}.tif", values, geobox(crs=None).resize(90, 110).crop(Window(0, 0, 110, 90)))
    path.write_text(json.dumps(document))
    with open_scene(path) as scene:
        assert scene.grid.crs == box.crs


@pytest.mark.parametrize("units", [Units.SENTINEL2, Units.LANDSAT_L1])
def test_whole_numbers_saved_as_floats(tmp_path, units):
    values = times(1e4, "uint16") if units is Units.SENTINEL2 else times(1 / 2e-5, "uint16", 5000)
    paths = [write_tif(tmp_path / f"{dtype}.tif", values.astype(dtype)) for dtype in ("uint16", "float32")]
    (whole, expected), (told, found) = map(read, paths)
    assert told is whole is units
    np.testing.assert_array_equal(found, expected)
