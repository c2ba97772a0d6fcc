"""Landsat products: folders and archives, levels, collections, satellites, complete and damaged."""

import json
import logging
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import rasterio
from conftest import UTM, geobox, level1_numbers, ramp, read_tif, write_tif
from rasterio.windows import Window

from geocloud.bands import Units
from geocloud.errors import BandError, GridError, SceneReadError, UnitsError
from geocloud.grid import GeoBox
from geocloud.readers import ReadOptions, open_scene

WHOLE = Window(0, 0, 110, 90)
L1 = "LC08_L1TP_190026_20240701_20240708_02_T1"
OLI = {"red": 4, "green": 3, "blue": 2, "nir": 5}


def reflectance(source, **options):
    with open_scene(source, ReadOptions(**options)) as scene:
        return scene.read(WHOLE).data


def bare_bands(folder, pattern, values, numbers=(4, 3, 2, 5), **options):
    folder.mkdir(parents=True, exist_ok=True)
    for number, band in zip(numbers, values, strict=True):
        write_tif(folder / pattern.format(number), band[None], **options)
    return folder


def test_a_folder_with_metadata(product):
    with open_scene(product) as scene:
        assert scene.name == L1
        assert scene.grid == geobox()
        assert scene.units is Units.LANDSAT_L1
        assert scene.sun_elevation == 50
        assert scene.acquired.isoformat() == "2024-07-01T10:00:00+00:00"
        assert scene.area_or_point == "Point"
    np.testing.assert_allclose(reflectance(product), ramp(), atol=3e-5)


@pytest.mark.parametrize("ending", ["_MTL.txt", "_B4.TIF", "_B5.TIF", "_QA_PIXEL.TIF", "_ANG.txt", "_ST_B10.TIF"])
def test_any_file_of_a_product_stands_for_it(product, ending):
    if ending.startswith(("_QA", "_ST")):
        write_tif(product / f"{L1}{ending}", np.ones((1, 90, 110), "uint16"))
    elif ending == "_ANG.txt":
        (product / f"{L1}{ending}").write_text("angles")
    np.testing.assert_allclose(reflectance(product / f"{L1}{ending}"), ramp(), atol=3e-5)


def pack_tar(product, path, mode, prefix=""):
    with tarfile.open(path, mode) as archive:
        for file in sorted(product.iterdir()):
            archive.add(file, f"{prefix}{file.name}")
    return path


@pytest.mark.parametrize(
    ("name", "mode", "prefix"),
    [
        ("a.tar", "w", ""),
        ("a.tar.gz", "w:gz", ""),
        ("a.tgz", "w:gz", "inside/"),
        ("a b'c.tar", "w", "./"),
        ("a.zip", "", ""),
    ],
)
def test_archives_are_read_in_place_and_nothing_is_left_beside_them(product, tmp_path, name, mode, prefix):
    folder = tmp_path / "archives"
    folder.mkdir()
    if mode:
        path = pack_tar(product, folder / name, mode, prefix)
    else:
        path = folder / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in product.iterdir():
                archive.write(file, file.name)
    np.testing.assert_array_equal(reflectance(path), reflectance(product))
    with open_scene(path) as scene:
        assert scene.name == L1
        assert scene.sun_elevation == 50
    assert [p.name for p in folder.iterdir()] == [name]


def test_a_damaged_archive_is_named(product, tmp_path):
    whole = pack_tar(product, tmp_path / "cut.tar.gz", "w:gz")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(SceneReadError, match=r"cut\.tar\.gz"):
        open_scene(whole)
    empty = tmp_path / "empty.zip"
    empty.write_bytes(b"")
    with pytest.raises(SceneReadError, match=r"empty\.zip"):
        open_scene(empty)


def test_links_and_paths_out_of_an_archive_are_not_followed(product, tmp_path):
    path = pack_tar(product, tmp_path / "a.tar", "w")
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo(f"{L1.replace('190026', '190027')}_B4.TIF")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for file in product.glob("*.TIF"):
            archive.add(file, f"../../{file.name.replace('190026', '190028')}")
    np.testing.assert_array_equal(reflectance(path), reflectance(product))


def surface_numbers(image):
    return np.rint((image + 0.2) / 2.75e-5).astype("uint16")


def metadata(groups):
    return json.dumps({"LANDSAT_METADATA_FILE": groups})


def test_level_2_takes_the_level_2_group_of_its_metadata(tmp_path):
    name = "LC09_L2SP_063046_20230714_20230716_02_T1"
    folder = bare_bands(tmp_path / name, name + "_SR_B{}.TIF", surface_numbers(ramp()))
    groups = {
        "IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_9", "SUN_ELEVATION": "30"},
        "LEVEL1_RADIOMETRIC_RESCALING": {
            f"REFLECTANCE_{k}_BAND_{n}": v for n in range(2, 6) for k, v in (("MULT", "2.0E-05"), ("ADD", "-0.1"))
        },
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            f"REFLECTANCE_{k}_BAND_{n}": v for n in range(2, 6) for k, v in (("MULT", "2.75e-05"), ("ADD", "-0.2"))
        },
    }
    (folder / f"{name}_MTL.json").write_text(metadata(groups))
    with open_scene(folder) as scene:
        assert scene.units is Units.LANDSAT_L2
    np.testing.assert_allclose(reflectance(folder), ramp(), atol=2e-5)  # no sun term
    (folder / f"{name}_MTL.json").unlink()
    np.testing.assert_allclose(reflectance(folder), ramp(), atol=2e-5)


def test_collection_1_surface_reflectance(tmp_path):
    name = "LC08_L1TP_190026_20180701_20180716_01_T1"
    values = np.rint(ramp() * 10_000).astype("int16")
    values[:, :4] = -9999
    folder = bare_bands(tmp_path / name, name + "_sr_band{}.tif", values)
    found = reflectance(folder)
    assert np.isnan(found[:, :4]).all()
    np.testing.assert_allclose(found[:, 4:], ramp()[:, 4:], atol=6e-5)


def test_landsat_7_has_other_numbers(tmp_path):
    name = "LE07_L1TP_190026_20030506_20200915_02_T1"
    values = np.linspace(1, 254, 4 * 90 * 110).reshape(4, 90, 110).astype("uint8")
    folder = bare_bands(tmp_path / name, name + "_B{}.TIF", values, (3, 2, 1, 4))
    for extra in (5, 7):
        write_tif(folder / f"{name}_B{extra}.TIF", values[:1])
    groups = {
        "IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_7", "SUN_ELEVATION": "90"},
        "LEVEL1_RADIOMETRIC_RESCALING": {
            f"REFLECTANCE_{k}_BAND_{n}": v for n in range(1, 5) for k, v in (("MULT", f"{n}e-3"), ("ADD", "-0.01"))
        },
    }
    (folder / f"{name}_MTL.json").write_text(metadata(groups))
    expected = values * np.array([3e-3, 2e-3, 1e-3, 4e-3])[:, None, None] - 0.01
    np.testing.assert_allclose(reflectance(folder), expected, atol=1e-6)


def test_landsat_7_level_1_means_nothing_without_its_metadata(tmp_path):
    name = "LE07_L1TP_190026_20030506_20200915_02_T1"
    values = np.linspace(1, 254, 4 * 90 * 110).reshape(4, 90, 110).astype("uint8")
    folder = bare_bands(tmp_path / name, name + "_B{}.TIF", values, (3, 2, 1, 4))
    with pytest.raises(UnitsError, match="MTL"):
        open_scene(folder)


def test_the_metadata_of_another_product_are_not_used(product):
    other = L1.replace("20240701_20240708", "20240717_20240722")
    for number in (4, 3, 2, 5):
        shutil.copy(product / f"{L1}_B{number}.TIF", product / f"{other}_B{number}.TIF")
    with open_scene(product / f"{other}_B4.TIF") as scene:
        assert scene.sun_elevation is None
        assert scene.acquired.date().isoformat() == "2024-07-17"


def test_a_zip_made_on_a_mac(product, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in product.iterdir():
            archive.write(file, file.name)
            archive.writestr(f"__MACOSX/._{file.name}", b"junk")
    np.testing.assert_array_equal(reflectance(path), reflectance(product))


def test_metadata_that_cannot_be_unpacked(product, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in product.iterdir():
            archive.write(file, file.name)
        place = archive.getinfo(f"{L1}_MTL.txt").header_offset
    data = bytearray(path.read_bytes())
    data[place + 100 : place + 200] = b"\xff" * 100
    path.write_bytes(data)
    with pytest.raises(SceneReadError, match=r"_MTL\.txt"):
        open_scene(path)


@pytest.mark.parametrize(
    "pattern", ["LC08_L1TP_190026_20240701_B{}.TIF", "l8_B{}.tif", "L8-B{}-Elkton.tiff", "B{}.TIF"]
)
def test_short_and_missing_product_ids(tmp_path, pattern, caplog):
    folder = bare_bands(tmp_path / "somewhere", pattern, level1_numbers(hazy()))
    with caplog.at_level(logging.WARNING, "geocloud"):
        found = reflectance(folder)
    np.testing.assert_allclose(found, hazy(), atol=2e-5)
    assert "sun elevation unknown" in caplog.text
    np.testing.assert_allclose(reflectance(folder, sun_elevation=30), 2 * hazy(), atol=4e-5)


def hazy():
    image = np.stack([ramp()[0] - 0.04] * 4)
    image[2] += 0.06
    return image


def test_bands_already_in_reflectance(tmp_path):
    folder = bare_bands(tmp_path / "toa", "LC80130312015295LGN00_B{}_toa.tif", ramp())
    with open_scene(folder) as scene:
        assert scene.units is Units.REFLECTANCE
        assert scene.acquired.isoformat() == "2015-10-22T00:00:00+00:00"
    np.testing.assert_array_equal(reflectance(folder), ramp())


def test_bare_numbers_of_an_unknown_satellite_are_refused_until_the_user_says_which(tmp_path):
    values = np.resize(level1_numbers(hazy()), (6, 90, 110))
    folder = bare_bands(tmp_path / "tm", "scene_B{}.tif", values, (1, 2, 3, 4, 5, 7))
    with pytest.raises(BandError, match="Landsat 4-7's or 8-9's"):
        open_scene(folder)
    found = reflectance(folder, bands=(3, 2, 1, 4))
    np.testing.assert_allclose(found[0], 2e-5 * values[2].astype(float) - 0.1, atol=1e-6)


def test_fill_is_zero_in_any_band(product):
    path = product / f"{L1}_B3.TIF"
    with rasterio.open(path, "r+") as dataset:
        band = dataset.read(1)
        band[12, 34] = 0
        dataset.write(band, 1)
    found = reflectance(product)
    assert np.isnan(found[:, 12, 34]).all()
    assert np.isnan(found).any(0).sum() == 1


@pytest.mark.parametrize(("gone", "words"), [((5,), ["nir (B5)"]), ((3, 2), ["green (B3)", "blue (B2)"])])
def test_missing_bands_are_named(product, gone, words):
    for number in gone:
        (product / f"{L1}_B{number}.TIF").unlink()
    with pytest.raises(BandError) as caught:
        open_scene(product)
    for word in [*words, str(product)]:
        assert word in str(caught.value)


def test_levels_are_never_mixed(product, caplog):
    for number in (4, 3, 2):
        write_tif(product / f"{L1.replace('L1TP', 'L2SP')}_SR_B{number}.TIF", surface_numbers(ramp())[:1])
    np.testing.assert_allclose(reflectance(product), ramp(), atol=3e-5)  # Level 1 is complete, so it is used
    (product / f"{L1}_B4.TIF").unlink()
    with pytest.raises(BandError, match="mixed"):
        open_scene(product)


def test_both_levels_whole_in_one_folder(product, caplog):
    for number, band in zip((4, 3, 2, 5), surface_numbers(ramp() * 0.9), strict=True):
        write_tif(product / f"{L1}_SR_B{number}.TIF", band[None])
    with caplog.at_level(logging.WARNING, "geocloud"):
        np.testing.assert_allclose(reflectance(product), ramp(), atol=3e-5)
    assert "Level-1 is used" in caplog.text
    np.testing.assert_allclose(reflectance(product, units=Units.LANDSAT_L2), ramp() * 0.9, atol=2e-5)
    np.testing.assert_allclose(reflectance(product / f"{L1}_SR_B4.TIF"), ramp() * 0.9, atol=2e-5)


def test_several_products_in_one_folder(product, tmp_path):
    other = "LC08_L1TP_190026_20240717_20240722_02_T1"
    for file in list(product.iterdir()):
        shutil.copy(file, product / file.name.replace(L1, other))
    with pytest.raises(BandError, match="2 products"):
        open_scene(product)
    with open_scene(product / f"{other}_MTL.txt") as scene:
        assert scene.name == other


@pytest.mark.parametrize("change", ["size", "crs", "place"])
def test_bands_on_different_grids_are_refused(product, change):
    grid = {
        "size": geobox(90, 111),
        "crs": GeoBox(90, 110, geobox().transform, rasterio.crs.CRS.from_epsg(32634)),
        "place": GeoBox(90, 110, geobox().transform @ geobox().transform.translation(3, 0), UTM),
    }[change]
    write_tif(product / f"{L1}_B5.TIF", np.ones((1, *grid.shape), "uint16"), grid)
    with pytest.raises(GridError, match=r"_B5\.TIF"):
        open_scene(product)


def test_a_night_scene_is_refused(product):
    path = product / f"{L1}_MTL.txt"
    path.write_text(path.read_text().replace("SUN_ELEVATION = 50.00000000", "SUN_ELEVATION = -12.5"))
    with pytest.raises(UnitsError, match=r"-12\.5"):
        open_scene(product)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_georeferencing_from_metadata_where_the_rasters_have_none(product):
    for path in product.glob("*.TIF"):
        values = read_tif(path)
        path.unlink()
        write_tif(path, values, GeoBox(90, 110, geobox().transform.identity(), None))
    with open_scene(product) as scene:
        assert scene.grid == geobox()


@pytest.mark.parametrize("kind", ["empty", "only folders", "no bands"])
def test_folders_that_hold_no_product(tmp_path, kind):
    folder = tmp_path / "place"
    folder.mkdir()
    if kind == "only folders":
        (folder / "below").mkdir()
    if kind == "no bands":
        (folder / "readme.txt").write_text("hello")
    with pytest.raises(BandError, match="place"):
        open_scene(folder)
