"""Sentinel-2 products of both levels and namings, HLS granules, bare bands; Landsat MSS is refused."""

import logging
import os
import shutil
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import bright, geobox, ramp, read_tif, write_tif
from safe import BANDS, IDS, L1C, L2A, OLD, numbers, pack, product_text, write_jp2, write_safe

from geocloud.bands import Units
from geocloud.batch import find_scenes
from geocloud.batch.find import fingerprint
from geocloud.errors import BandError, GridError, SceneReadError
from geocloud.io.gdal import open_quietly
from geocloud.pipeline import mask_scene
from geocloud.readers import ReadOptions, Source, find_reader, find_recipe, open_scene
from geocloud.readers.archive import MAX_TEXT
from geocloud.readers.sentinel2 import parse_mtd

NAMES = ("red", "green", "blue", "nir")


def read(source, **options):
    with open_scene(source, ReadOptions(**options)) as scene:
        return scene.read().data


def files(source):
    return find_reader(Source(str(source))).files(Source(str(source)))


def kind(source):
    """Class of the reader of a source."""
    return type(find_reader(Source(str(source)))).__name__


def refused(source, error, *words, **options):
    with pytest.raises(error) as caught:
        read(source, **options)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def safe(tmp_path):
    return write_safe(tmp_path / "in", numbers(ramp()))


def product_file(root):
    return next(path for path in root.glob("*.xml"))


@pytest.mark.slow
def test_the_same_pixels_as_l1c_l2a_and_stack_are_the_same_scene(tmp_path):
    image = ramp()
    sources = {
        "l1c": write_safe(tmp_path, numbers(image)),
        "l2a": write_safe(tmp_path, numbers(image, 20000, -3000), L2A, product_text("2A", -3000, 20000)),
        "old": write_safe(tmp_path, numbers(image, offset=0), OLD, product_text("1C", None, baseline="02.02")),
        "zip": pack(tmp_path / f"{L1C}.SAFE", tmp_path / f"{L1C}.zip"),
        "stack": write_tif(tmp_path / "s.tif", numbers(image, offset=0), geobox(size=10), descriptions=NAMES),
    }
    masks = {}
    for name, source in sources.items():
        np.testing.assert_allclose(read(source), image, atol=6e-5)
        mask_scene(source, tmp_path / f"{name}.mask.tif", model=bright)
        with rasterio.open(tmp_path / f"{name}.mask.tif") as mask:
            assert mask.transform == geobox(size=10).transform and mask.crs == geobox().crs
            masks[name] = mask.read(1)
    expected = (image[0] > 0.3501).astype("uint8")
    assert (expected != masks["l1c"]).mean() < 0.01  # a pixel is averaged to 30 m for the model, and back
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, masks["l1c"], err_msg=name)


def test_what_a_product_says_of_itself(safe):
    with open_scene(safe) as scene:
        assert scene.name == L1C
        assert scene.acquired.isoformat() == "2023-08-23T09:55:59.024000+00:00"
        assert scene.sun_elevation == 90 - 39.5
        assert scene.units is Units.SENTINEL2_BASELINE4
        assert scene.grid == geobox(size=10)
        assert scene.recipe.kind == "Sentinel-2 L1C, tile T33UXP"
        assert scene.recipe.source == str(safe)
    np.testing.assert_allclose(read(safe), ramp(), atol=6e-5)  # not divided by the sun's sine


@pytest.mark.parametrize("name", [L1C, L2A])
def test_any_part_of_a_product_stands_for_it(tmp_path, name, monkeypatch):
    root = write_safe(tmp_path, numbers(ramp()), name)
    whole = find_recipe(root)
    granule = next((root / "GRANULE").iterdir())
    parts = [
        product_file(root),
        root / "manifest.safe",
        root / "GRANULE",
        granule,
        granule / "IMG_DATA",
        granule / "MTD_TL.xml",
        *granule.rglob("IMG_DATA/**/*.jp2"),
    ]
    assert len(parts) > 9
    for part in parts:
        assert kind(part) == "Sentinel2"
        found = find_recipe(part)
        assert (found.name, found.conversion, found.source) == (whole.name, whole.conversion, str(part))
        assert [Path(band.path).name for band in found.bands] == [Path(band.path).name for band in whole.bands]
    monkeypatch.chdir(granule / "IMG_DATA")
    assert find_recipe(".").name == whole.name
    np.testing.assert_allclose(read(next(Path().rglob("*_B08*.jp2"))), ramp(), atol=6e-5)


def test_the_true_colour_image_of_a_product_is_a_raster_of_its_own(safe):
    image = next(safe.rglob("IMG_DATA")) / "T33UXP_20230823T095559_TCI.jp2"
    with open_quietly(image, "w", driver="JP2OpenJPEG", count=3, dtype="uint8", height=90, width=110) as dataset:
        dataset.write(np.full((3, 90, 110), 7, "uint8"))
    assert kind(image) == "Raster"
    assert find_recipe(safe).name == L1C


@pytest.mark.parametrize(
    ("file", "inside"), [(f"{L1C}.zip", None), (f"{L1C}.SAFE.zip", None), ("x.zip", None), (f"{L1C}.SAFE.zip", "")]
)
def test_a_zip_and_its_folder_agree(safe, tmp_path, file, inside):
    packed = pack(safe, tmp_path / file, inside)
    with open_scene(packed) as scene, open_scene(safe) as folder:
        np.testing.assert_array_equal(scene.read().data, folder.read().data)
        for what in ("name", "acquired", "sun_elevation", "units", "conversion", "grid"):
            assert getattr(scene, what) == getattr(folder, what)


@pytest.mark.parametrize(("file", "mode"), [("a.tar", "w"), ("a b,c.tar.gz", "w:gz")])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_is_read_too(safe, tmp_path, file, mode, form):
    packed = tmp_path / "packed" / file
    packed.parent.mkdir()
    with tarfile.open(packed, mode, format=form) as archive:
        archive.add(safe, safe.name)
    np.testing.assert_array_equal(read(packed), read(safe))
    assert [path.name for path in packed.parent.iterdir()] == [file]


def test_archives_that_leave_open_what_is_meant(safe, tmp_path):
    write_safe(safe.parent, numbers(ramp()), L2A)
    packed = pack(safe.parent, tmp_path / "both.zip")
    refused(packed, BandError, "both.zip", "2 Sentinel-2 products in one archive", L1C)


def test_a_folder_by_another_name_and_one_without_folders(safe, tmp_path):
    other = safe.rename(tmp_path / "mine")
    assert find_recipe(other).name == "mine"
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in [product_file(other), *other.rglob("*.jp2")]:
        shutil.copy(file, flat)
    np.testing.assert_allclose(read(flat), ramp(), atol=6e-5)
    np.testing.assert_allclose(read(next(flat.glob("T*_B03.jp2"))), ramp(), atol=6e-5)


def test_every_band_has_its_own_offset(tmp_path):
    offsets = {IDS["B04"]: -1000, IDS["B03"]: -500, IDS["B02"]: 0, IDS["B08"]: 200}
    image = np.full((4, 90, 110), 0.3, "float32")
    values = np.stack([numbers(image[0], offset=offset) for offset in offsets.values()])
    for name, level in ((L1C, "1C"), (L2A, "2A")):
        root = write_safe(tmp_path, values, name, product_text(level, offsets))
        np.testing.assert_allclose(read(root), image, atol=1e-6)
    text = product_file(root).read_text().replace('band_id="7"', 'band_id="12"')
    product_file(root).write_text(text)
    refused(root, SceneReadError, "MTD_MSIL2A.xml", "no BOA_ADD_OFFSET of B08 (band_id 7)")


def test_products_from_before_baseline_4_have_no_offset(tmp_path):
    root = write_safe(tmp_path, numbers(ramp(), offset=0), L1C, product_text("1C", None, baseline="02.09"))
    with open_scene(root) as scene:
        assert scene.units is Units.SENTINEL2
    np.testing.assert_allclose(read(root), ramp(), atol=6e-5)
    old = write_safe(tmp_path, numbers(ramp(), offset=0), L2A, product_text("old 2A", None, baseline="02.05"))
    np.testing.assert_allclose(read(old), ramp(), atol=6e-5)


def test_a_late_baseline_without_offsets_is_left_to_the_values(tmp_path, caplog):
    root = write_safe(tmp_path, numbers(ramp(), offset=0), L1C, product_text("1C", None))
    with caplog.at_level(logging.WARNING, "geocloud"):
        np.testing.assert_allclose(read(root), ramp(), atol=6e-5)
    assert "baseline 05.09" in caplog.text


def test_what_the_user_says_of_units_counts(safe):
    np.testing.assert_allclose(read(safe, units="sentinel2"), ramp() + 0.1, atol=6e-5)
    np.testing.assert_allclose(read(safe, scale=2e-4), 2 * (ramp() + 0.1), atol=2e-4)


def test_zero_in_any_band_is_no_data(tmp_path):
    values = numbers(ramp())
    values[1, 12, 34] = 0
    found = read(write_safe(tmp_path, values))
    assert np.isnan(found[:, 12, 34]).all() and np.isnan(found).any(0).sum() == 1


def test_several_granules_are_refused_until_one_is_named(tmp_path):
    text = product_text("1C", None, baseline="02.02")
    root = write_safe(tmp_path, numbers(ramp(), offset=0), OLD, text, ("T33UXP", "T33UYP"))
    for place in (root, root / "GRANULE", product_file(root), pack(root, tmp_path / "a.zip")):
        refused(place, BandError, "2 granules in one product (tiles T33UXP, T33UYP)", "name the folder of one")
    one, other = sorted((root / "GRANULE").iterdir())
    assert find_recipe(one).name == f"{OLD}_T33UXP"
    assert find_recipe(next(other.rglob("*_B02.jp2"))).name == f"{OLD}_T33UYP"
    np.testing.assert_allclose(read(other), ramp(), atol=6e-5)
    assert {other} == {Path(file).parents[1] if file.endswith("jp2") else other for file in files(other)[1:]}
    assert [found.name for found in find_scenes([str(tmp_path / root.name)])] == [OLD]


def test_a_product_that_is_not_whole(safe):
    band = next(safe.rglob("IMG_DATA/*_B08.jp2"))
    band.rename(safe / "away")
    refused(safe, BandError, str(safe), "no nir (B08) at 10 m; found B02, B03, B04")
    assert np.isnan(read(safe, bands=(4, 3, 2))[3]).all()
    (safe / "away").rename(band)
    assert read(safe).shape == (4, 90, 110)
    product_file(safe).rename(safe / "away")
    refused(safe, SceneReadError, str(safe), "no product metadata (MTD_MSIL1C.xml or MTD_MSIL2A.xml)")
    np.testing.assert_allclose(read(safe, units="sentinel2-baseline4"), ramp(), atol=6e-5)
    shutil.rmtree(safe / "GRANULE")
    refused(safe, BandError, str(safe), "no band files")


def test_bands_of_another_size_and_damaged_ones(safe):
    band = next(safe.rglob("IMG_DATA/*_B08.jp2"))
    whole = band.read_bytes()
    write_jp2(band, np.ones((80, 110), "uint16"))
    refused(safe, GridError, "_B08.jp2")
    band.write_bytes(whole[: len(whole) // 3])
    refused(safe, SceneReadError, "_B08.jp2")
    band.write_bytes(b"no image")
    refused(safe, SceneReadError, "_B08.jp2")


LETTERS = "abcdefghijklmnopqrstuvwxyz"
DOUBLED = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise(LETTERS))
START, END = "<Level-1C_User_Product>", "</Level-1C_User_Product>"

HOSTILE = {
    "an entity bomb": (f'<!DOCTYPE x [<!ENTITY a "ha">{DOUBLED}]>{START}&z;{END}', "has a DOCTYPE"),
    "an external entity": (
        f'<!DOCTYPE x [<!ENTITY z SYSTEM "file:///etc/passwd">]>{START}&z;{END}',
        "has a DOCTYPE",
    ),
    "an external DTD": (f'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">{START}{END}', "has a DOCTYPE"),
    "an unknown entity": (f"{START}&z;{END}", "undefined entity"),
    "cut off": (product_text()[:900], "damaged or cut off"),
    "empty": ("", "damaged or cut off"),
    "no text": ("\0\x01\x02", "damaged or cut off"),
    "a web page": ("<html><body>Please log in</body></html>", "holds html"),
    "deep": (START + "<a>" * 200, "damaged or cut off"),
    "huge": (START + " " * MAX_TEXT + END, "too large for a metadata file"),
    "not a number": (product_text(quantification="NaN"), "no QUANTIFICATION_VALUE"),
    "zero": (product_text(quantification="0"), "QUANTIFICATION_VALUE is 0"),
    "a word": (product_text(quantification="ten"), "QUANTIFICATION_VALUE is 'ten'"),
    "infinite": (product_text(offsets=dict.fromkeys(range(13), "inf")), "is 'inf', wanted a number"),
    "nothing in it": (START + END, "no QUANTIFICATION_VALUE"),
    "of a tile": ("<Level-1C_Tile_ID></Level-1C_Tile_ID>", "holds Level-1C_Tile_ID"),
}


@pytest.mark.parametrize(("text", "says"), HOSTILE.values(), ids=HOSTILE)
def test_metadata_that_are_hostile_or_damaged_are_one_line(safe, tmp_path, text, says):
    product_file(safe).write_text(text, encoding="utf-8")
    refused(safe, SceneReadError, "MTD_MSIL1C.xml", says)
    refused(pack(safe, tmp_path / "a.zip"), SceneReadError, "MTD_MSIL1C.xml", says)


def test_metadata_of_a_tile_that_are_damaged_or_missing(safe):
    tile = next(safe.rglob("MTD_TL.xml"))
    tile.write_text(tile.read_text()[:700])
    refused(safe, SceneReadError, "MTD_TL.xml", "damaged or cut off")
    tile.unlink()
    with open_scene(safe) as scene:
        assert scene.sun_elevation is None and scene.recipe.kind.endswith("T33UXP")


def test_names_without_prefix_and_other_encodings():
    text = product_text().replace("n1:", "").replace("UTF-8", "ISO-8859-1")
    found = parse_mtd("\ufeff" + text, "MTD")
    assert found.level == "L1C" and found.conversion(BANDS).offset == (-0.1,) * 4
    assert found.number("PROCESSING_BASELINE") == 5.09


def test_fingerprints_follow_bands_and_metadata(safe):
    granule = next((safe / "GRANULE").iterdir())
    prints = [fingerprint(str(safe))]
    assert fingerprint(str(granule)) == prints[0]
    for path in (product_file(safe), granule / "MTD_TL.xml", next(granule.rglob("IMG_DATA/*_B02.jp2"))):
        os.utime(path, (1, 1))
        prints.append(fingerprint(str(safe)))
    os.utime(safe / "manifest.safe", (1, 1))
    assert len(set(prints)) == 4 and fingerprint(str(safe)) == prints[-1]


HLS = {
    "L30": ("HLS.L30.T15TWM.2021190T170344.v2.0", ("B04", "B03", "B02", "B05")),
    "S30": ("HLS.S30.T15TWM.2021191T170851.v2.0", ("B04", "B03", "B02", "B8A")),
}


def write_hls(folder, kind):
    """Writes a granule, with red edge, shortwave infrared and broad near-infrared as decoys."""
    name, bands = HLS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    values = np.rint(ramp() * 1e4).astype("int16")
    values[:, :3] = -9999
    for band, image in zip(bands, values, strict=True):
        write_tif(folder / f"{name}.{band}.tif", image[None], scales=[1e-4], nodata=-9999)
    for band in {"B01", "B05", "B06", "B07", "B08", "B11", "B12"} - set(bands):
        write_tif(folder / f"{name}.{band}.tif", values[:1] * 0 + 77, scales=[1e-4], nodata=-9999)
    for layer in ("Fmask", "SZA", "SAA", "VZA", "VAA"):
        write_tif(folder / f"{name}.{layer}.tif", np.ones((1, 90, 110), "uint8"))
    return folder, name


@pytest.mark.parametrize("kind", ["L30", "S30"])
def test_hls_granules(tmp_path, kind):
    folder, name = write_hls(tmp_path / "x", kind)
    for source in (folder, folder / f"{name}.B02.tif", folder / f"{name}.Fmask.tif", pack(folder, tmp_path / "a.zip")):
        with open_scene(source) as scene:
            assert scene.name == name and scene.units is Units.REFLECTANCE
            assert scene.acquired.date().isoformat() == ("2021-07-09" if kind == "L30" else "2021-07-10")
            assert scene.acquired.hour == 17
            found = scene.read().data
        assert np.isnan(found[:, :3]).all()
        np.testing.assert_allclose(found[:, 3:], ramp()[:, 3:], atol=6e-5)


def test_several_hls_granules_in_one_folder(tmp_path):
    for kind in HLS:
        folder, _ = write_hls(tmp_path / "x", kind)
    refused(folder, BandError, "2 products in one place", "name a file of")
    for name, bands in HLS.values():
        member = folder / f"{name}.B04.tif"
        assert [Path(band.path).name.split(".")[-2] for band in find_recipe(member).bands] == list(bands)
        assert {Path(file).name[: len(name)] for file in files(member)} == {name}
        assert f"{name}.B8A.tif" in {Path(file).name for file in files(member)} or "L30" in name
    (folder / f"{HLS['S30'][0]}.B8A.tif").unlink()
    refused(folder / f"{HLS['S30'][0]}.B04.tif", BandError, "no nir (B8A)", HLS["S30"][0])


SENTINEL2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def bare(folder, pattern="{}.tif", bands=SENTINEL2, nir="B08"):
    """Writes bare bands; bands that must not be read have other values."""
    folder.mkdir(parents=True)
    values = dict(zip(("B04", "B03", "B02", nir), numbers(ramp(), offset=0), strict=True))
    for band in bands:
        write_tif(folder / pattern.format(band), values.get(band, np.full((90, 110), 77, "uint16"))[None])
    return folder


@pytest.mark.parametrize(
    ("folder", "pattern", "bands", "nir"),
    [
        ("x", "{}.tif", SENTINEL2, "B08"),
        ("x", "{}.tif", tuple(b for b in SENTINEL2 if b != "B08"), "B8A"),
        ("x", "scene_{}.tif", tuple(b for b in SENTINEL2 if b != "B8A"), "B08"),
        ("x", "T32TQM_20200101T101031_{}.tif", ("B02", "B03", "B04", "B05", "B08"), "B08"),
        ("x", "S2A_{}.tif", ("B02", "B03", "B04", "B05", "B08"), "B08"),
        ("x", "{}.tif", ("B02", "B03", "B04", "B08"), "B08"),
        ("S2A_MSIL2A_20200101T101031", "{}.tif", ("B02", "B03", "B04", "B05", "B08"), "B08"),
    ],
)
def test_bare_bands_of_sentinel_2_are_not_landsats(tmp_path, folder, pattern, bands, nir, caplog):
    place = bare(tmp_path / folder, pattern, bands, nir)
    with caplog.at_level(logging.WARNING, "geocloud"):
        np.testing.assert_allclose(read(place), ramp(), atol=6e-5)
    assert f"near-infrared is {nir}" in caplog.text and "no metadata" in caplog.text
    for band in bands:
        assert kind(place / pattern.format(band)) == "Sentinel2Bands"
        assert find_recipe(place / pattern.format(band)).bands[3].path.endswith(f"{nir}.tif")
    assert len(files(place / pattern.format("B04"))) == len(bands)


def test_bare_bands_of_several_sizes_and_what_lies_beside_them(tmp_path):
    stem = "T32TQM_20200101T101031"
    folder = bare(tmp_path / "x", f"{stem}_{{}}_20m.tif")
    for band, values in zip(BANDS, numbers(ramp() * 0.9, offset=0), strict=True):
        write_jp2(folder / f"{stem}_{band}_10m.jp2", values)
    write_tif(folder / f"{stem}_SCL_20m.tif", np.ones((1, 90, 110), "uint8"))
    for source in (folder, folder / f"{stem}_B12_20m.tif", folder / f"{stem}_SCL_20m.tif"):
        with open_scene(source) as scene:
            assert scene.grid.pixel_size == pytest.approx((10, 10)) and scene.name == stem
            assert scene.acquired.isoformat() == "2020-01-01T10:10:31+00:00"
    assert [found.name for found in find_scenes([str(folder)])] == ["x"]


def test_bare_bands_that_leave_something_open(tmp_path):
    both = bare(tmp_path / "both", "T32TQM_20200101T101031_{}.tif")
    for file in list(both.iterdir()):
        shutil.copy(file, both / file.name.replace("T32TQM", "T32TPM"))
    refused(both, BandError, "2 products in one place", "T32TPM_20200101T101031")
    np.testing.assert_allclose(read(both / "T32TPM_20200101T101031_B11.tif"), ramp(), atol=6e-5)
    short = bare(tmp_path / "short", "S2A_{}.tif", ("B02", "B03", "B05"))
    refused(short, BandError, "no red (B04) and no nir (B08 or B8A); found B02, B03, B05")
    np.testing.assert_allclose(read(bare(tmp_path / "c", "S2A_{}.tif"), bands=(4, 3, 2, 8)), ramp(), atol=6e-5)
    mixed = bare(tmp_path / "mixed", "S2A_{}.tif")
    for number in (2, 3, 4, 5):
        shutil.copy(mixed / "S2A_B04.tif", mixed / f"LC08_L1TP_190026_20240701_20240708_02_T1_B{number}.TIF")
    refused(mixed, BandError, "bands of Landsat, Sentinel-2 and HLS in one place")


def test_landsats_own_signs_count(product, tmp_path):
    """Landsat 8 without B5 is not taken for Sentinel-2, nor is a product with an MTL file."""
    assert find_recipe(product).kind == "Landsat L1"
    name = "LC08_L1TP_190026_20240701_20240708_02_T1"
    shutil.copy(product / f"{name}_B4.TIF", product / f"{name}_B12.TIF")
    assert find_recipe(product).kind == "Landsat L1"
    folder = bare(tmp_path / "landsat8", "B{0[2]}.tif", ("B02", "B03", "B04", "B08"))
    refused(folder, BandError, "no nir (B5)")


MSS = "LM05_L1TP_033033_19840503_20200902_02_T2"


@pytest.mark.parametrize("name", [MSS, "LM50330331984124AAA03", "scene"])
def test_landsats_mss_is_refused(tmp_path, name):
    folder = tmp_path / "x"
    folder.mkdir()
    for number in (1, 2, 3, 4):
        write_tif(folder / f"{name}_B{number}.TIF", np.full((1, 90, 110), 30 + number, "uint8"))
    if name == "scene":
        text = 'GROUP = L1_METADATA_FILE\nGROUP = PRODUCT_METADATA\nSPACECRAFT_ID = "LANDSAT_5"\nSENSOR_ID = "MSS"\n'
        (folder / "scene_MTL.txt").write_text(
            f"{text}END_GROUP = PRODUCT_METADATA\nEND_GROUP = L1_METADATA_FILE\nEND\n"
        )
    for source in (folder, folder / f"{name}_B2.TIF", pack(folder, tmp_path / "a.zip")):
        refused(source, BandError, "Landsat MSS", "no blue")
    if name != "scene":
        old = folder.rename(tmp_path / "y") / f"{name}_B1.TIF"
        stack = np.concatenate([read_tif(old)] * 4)
        path = write_tif(tmp_path / f"{name}.tif", stack, descriptions=("B1", "B2", "B3", "B4"))
        refused(path, BandError, "Landsat MSS")


def test_landsat_1_to_3_are_refused_too(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    for number in (4, 5, 6, 7):
        name = f"LM01_L1GS_035033_19720725_20200909_02_T2_B{number}.TIF"
        write_tif(folder / name, np.full((1, 90, 110), 30 + number, "uint8"))
    refused(folder, BandError, "Landsat MSS")


def test_a_batch_finds_each_product_once(tmp_path):
    archive = tmp_path / "archive"
    safe = write_safe(archive / "2023", numbers(ramp()))
    pack(safe, archive / f"{L1C}.zip")
    write_safe(archive, numbers(ramp()), L2A)
    packed = pack(archive / f"{L2A}.SAFE", archive / f"{L2A}.SAFE.zip")
    shutil.rmtree(archive / f"{L2A}.SAFE")
    shutil.copy(packed, safe / "inside.zip")
    hls = [write_hls(archive / "hls", kind)[1] for kind in HLS]
    alone = write_hls(archive / "one", "S30")[0]
    (alone / f"{HLS['S30'][0]}.B01.tif").unlink()
    bare(archive / "bands", "T32TQM_20200101T101031_{}.tif")
    found = find_scenes([str(archive)])
    assert sorted(scene.name for scene in found) == sorted([L1C, L2A, *hls, "bands"])
    sources = {scene.name: scene.source for scene in found}
    assert sources[L1C] == str(safe) and sources[L2A] == str(packed)
    for scene in found:
        assert find_recipe(scene.source).name.startswith(scene.name) or scene.name == "bands"
        assert len(files(scene.source)) >= 1
    one = find_scenes(
        [str(next(safe.rglob("IMG_DATA/*_B04.jp2"))), str(archive / "2023" / "*.SAFE"), str(safe / "GRANULE")]
    )
    assert [(scene.name, scene.source) for scene in one] == [(L1C, str(safe))]


def test_a_batch_tells_of_a_product_that_is_not_whole(tmp_path):
    (tmp_path / f"{L1C}.SAFE").mkdir()
    (tmp_path / "S1A_IW_GRDH_1SDV_20200101T000000.SAFE").mkdir()
    found = find_scenes([str(tmp_path)])
    assert [scene.name for scene in found] == [L1C]
    refused(found[0].source, BandError, "no band files")
