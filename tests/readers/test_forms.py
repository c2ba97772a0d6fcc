"""Products in other forms: archives with the wrong suffix, parent folders, other metadata."""

import codecs
import json
import logging
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import rasterio
import xarray
from affine import Affine
from conftest import UTM, bright, geobox, ramp, read_tif, write_tif
from rasterio.drivers import raster_driver_extensions
from safe import L1C, L2A, numbers, pack, product_text, write_jp2, write_safe

from geocloud.batch import find_scenes
from geocloud.batch.find import fingerprint
from geocloud.errors import BandError, SceneError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.pipeline import mask_scene
from geocloud.readers import ReadOptions, find_recipe, open_scene
from geocloud.readers.landsat import parse_mtl

NAMES = ("red", "green", "blue", "nir")
NAME = "LC08_L1TP_190026_20240701_20240708_02_T1"


def read(source, **options):
    with open_scene(source, ReadOptions(**options)) as scene:
        return scene.read().data


def as_xml(path):
    mtl = parse_mtl(path.read_text(), "MTL")
    groups = "".join(
        f"<{name}>" + "".join(f"<{key}>{value}</{key}>" for key, value in values.items()) + f"</{name}>"
        for name, values in mtl.groups.items()
    )
    return f'<?xml version="1.0"?><LANDSAT_METADATA_FILE>{groups}</LANDSAT_METADATA_FILE>'


def test_metadata_as_xml_alone(product):
    text = product / f"{NAME}_MTL.txt"
    expected = read(product)
    xml = product / f"{NAME}_MTL.xml"
    xml.write_text(as_xml(text))
    text.unlink()
    np.testing.assert_allclose(read(product), expected, rtol=1e-6)
    np.testing.assert_allclose(read(xml), expected, rtol=1e-6)
    with open_scene(product) as scene:
        assert scene.sun_elevation == 50
    xml.write_text('<!DOCTYPE x [<!ENTITY a "9">]>' + xml.read_text()[21:])
    with pytest.raises(SceneReadError, match="DOCTYPE"):
        open_scene(product)


def test_metadata_with_a_byte_order_mark(product):
    path = product / f"{NAME}_MTL.txt"
    expected = read(product)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    np.testing.assert_array_equal(read(product), expected)


@pytest.mark.parametrize(("name", "mode"), [("a.tar.gz", "w"), ("a.tar", "w:gz"), ("a.tgz", "w"), ("a.zip", "w:gz")])
def test_the_first_bytes_tell_the_kind_of_archive(product, tmp_path, name, mode):
    with tarfile.open(tmp_path / name, mode) as archive:
        for file in product.iterdir():
            archive.add(file, file.name)
    np.testing.assert_array_equal(read(tmp_path / name), read(product))
    with open_scene(tmp_path / name) as scene, pytest.raises(BandError, match="no band swir1"):
        scene.read(further=["swir1"])
    (tmp_path / "bz").mkdir()
    with tarfile.open(tmp_path / "bz" / "a.tar", "w:bz2") as archive:
        archive.add(product / f"{NAME}_B4.TIF", "x_B4.TIF")
    with pytest.raises(SceneError, match="bzip2"):
        open_scene(tmp_path / "bz" / "a.tar")


def test_an_archive_of_one_raster(tmp_path):
    path = write_tif(tmp_path / "scene.tif", ramp())
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.write(path, "in/scene.tif")
        archive.writestr("in/readme.txt", "hello")
        archive.writestr("__MACOSX/in/._scene.tif", "junk")
    with open_scene(tmp_path / "one.zip") as scene:
        assert scene.name == "scene" and scene.recipe.source == str(tmp_path / "one.zip")
        np.testing.assert_array_equal(scene.read().data, ramp())
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("a.tif", "b.tif"):
            archive.write(path, name)
    with pytest.raises(BandError, match=r"holds 2 rasters: name one of them, such as /vsizip/.*a\.tif"):
        open_scene(tmp_path / "two.zip")


@pytest.mark.parametrize("pattern", ["{}.tif", "S2A_32TQM_20240701_0_L2A_{}.tif"])
def test_bands_named_by_colour(tmp_path, pattern):
    folder = tmp_path / "S2A_T32TQM"
    folder.mkdir()
    for name, band in zip(("red", "green", "blue", "nir"), numbers(ramp(), offset=0), strict=True):
        write_tif(folder / pattern.format(name), band[None])
    write_tif(folder / pattern.format("scl"), np.ones((1, 90, 110), "uint8"))
    for source in (folder, folder / pattern.format("nir"), pack(folder, tmp_path / "a.zip")):
        np.testing.assert_allclose(read(source), ramp(), atol=6e-5)
    (scene,) = find_scenes([str(folder)])
    assert scene.source == str(folder)
    before = fingerprint(scene.source)
    (folder / pattern.format("nir")).unlink()
    assert fingerprint(scene.source) != before
    with pytest.raises(BandError, match=r"no nir"):
        find_recipe(folder)


@pytest.mark.parametrize(
    ("name", "scale", "offset", "dtype"),
    [
        ("LC08_CU_003010_20200101_20210503_02_SR_B{}.TIF", 2.75e-5, -0.2, "uint16"),
        ("LC08_CU_003010_20200101_20210503_02_TOA_B{}.TIF", 2.75e-5, -0.2, "uint16"),
        ("LC08_CU_003010_20200101_20200115_C01_V01_SRB{}.tif", 1e-4, 0, "int16"),
        ("LC08_CU_003010_20200101_20200115_C01_V01_TAB{}.tif", 1e-4, 0, "int16"),
    ],
)
def test_analysis_ready_data(tmp_path, caplog, name, scale, offset, dtype):
    folder = tmp_path / "ard"
    folder.mkdir()
    values = np.rint((ramp() - offset) / scale).astype(dtype)
    for number, band in zip((4, 3, 2, 5), values, strict=True):
        write_tif(folder / name.format(number), band[None])
    with caplog.at_level(logging.WARNING, "geocloud"), open_scene(folder) as scene:
        np.testing.assert_allclose(scene.read().data, ramp(), atol=6e-5)
        assert scene.acquired.date().isoformat() == "2020-01-01"
    assert not caplog.text


def test_a_folder_around_one_product(tmp_path):
    safe = write_safe(tmp_path / L1C, numbers(ramp()))
    np.testing.assert_array_equal(read(tmp_path / L1C), read(safe))
    assert fingerprint(str(tmp_path / L1C)) == fingerprint(str(safe))
    packed = pack(safe, tmp_path / f"{L1C}.SAFE")
    np.testing.assert_array_equal(read(packed), read(safe))
    assert {scene.name for scene in find_scenes([str(tmp_path)])} == {L1C}
    write_safe(tmp_path / L1C, numbers(ramp()), L2A)
    with pytest.raises(BandError, match="name one of them"):
        open_scene(tmp_path / L1C)


def test_a_product_of_20_m_alone(tmp_path):
    root = write_safe(tmp_path, numbers(ramp()), L2A, product_text("2A", {3: -1000, 2: -1000, 1: -1000, 8: -1000}))
    folder = next(root.rglob("IMG_DATA"))
    for part in list(folder.iterdir()):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    (folder / "R20m").mkdir()
    for band, values in zip(("B04", "B03", "B02", "B8A"), numbers(ramp()), strict=True):
        write_jp2(folder / "R20m" / f"T33UXP_20230823T095559_{band}_20m.jp2", values)
    np.testing.assert_allclose(read(root), ramp(), atol=6e-5)


@pytest.mark.skipif("nc" not in raster_driver_extensions(), reason="needs GDAL with netCDF")
def test_netcdf_of_a_variable_per_band(tmp_path):
    dates = xarray.Dataset({name: (("y", "x"), band) for name, band in zip(NAMES, ramp(), strict=True)})
    dates.to_netcdf(tmp_path / "cube.nc")
    expected = np.stack([read_tif(f"netcdf:{tmp_path}/cube.nc:{name}")[0] for name in NAMES])
    np.testing.assert_array_equal(read(tmp_path / "cube.nc"), expected)
    dates.expand_dims(time=2).to_netcdf(tmp_path / "dates.nc")
    with pytest.raises(BandError, match=r"dates\.nc:red: 2 layers"):
        open_scene(tmp_path / "dates.nc")


def write_zarr(folder):
    """Writes a Zarr group with an array per band, version 2, uncompressed."""
    folder.mkdir()
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    about = {"zarr_format": 2, "shape": [90, 110], "chunks": [90, 110], "dtype": "<f4", "order": "C"}
    about |= {"compressor": None, "fill_value": None, "filters": None}
    for name, band in zip(NAMES, ramp(), strict=True):
        (folder / name).mkdir()
        (folder / name / ".zarray").write_text(json.dumps(about))
        (folder / name / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["y", "x"]}')
        (folder / name / "0.0").write_bytes(band.astype("<f4").tobytes())
    return folder


def test_zarr_by_its_folder(tmp_path):
    folder = write_zarr(tmp_path / "cube.zarr")
    np.testing.assert_array_equal(read(folder), ramp())
    assert [(scene.name, scene.source) for scene in find_scenes([str(tmp_path)])] == [("cube", str(folder))]


def test_resolutions_of_an_item(tmp_path):
    """Coarser assets come first, and paths contain a space."""
    (tmp_path / "a b").mkdir()
    assets = {}
    for size in (20, 10):
        for name, band in zip(NAMES, numbers(ramp(), offset=0), strict=True):
            box = geobox(size=size)
            values = band if size == 10 else band * 0 + 9
            write_tif(tmp_path / "a b" / f"{name}{size}.tif", values[None], box)
            bands = [{"common_name": name}]
            assets[f"{name}-{size}"] = {"href": f"./a%20b/{name}{size}.tif", "gsd": size, "eo:bands": bands}
    about = {"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": {}, "links": [], "assets": assets}
    (tmp_path / "item.json").write_text(json.dumps(about))
    with open_scene(tmp_path / "item.json") as scene:
        assert scene.grid == geobox(size=10)
        np.testing.assert_allclose(scene.read().data, ramp(), atol=6e-5)


def test_a_mask_may_be_a_link(tmp_path):
    path = write_tif(tmp_path / "s.tif", ramp())
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "mask.tif", tmp_path / "disk" / "target.tif"
    link.symlink_to(target)
    mask_scene(path, link, model=bright)
    assert link.is_symlink() and target.is_file()
    np.testing.assert_array_equal(read_tif(link), read_tif(target))
    assert not list(tmp_path.rglob(".geocloud-*"))


def test_a_virtual_raster_whose_source_is_missing_names_it(tmp_path):
    write_tif(tmp_path / "s.tif", ramp())
    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{i}"><Description>{name}</Description><SimpleSource><SourceFilename '
        f'relativeToVRT="1">gone.tif</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>'
        for i, name in enumerate(NAMES, 1)
    )
    (tmp_path / "v.vrt").write_text(f'<VRTDataset rasterXSize="110" rasterYSize="90">{bands}</VRTDataset>')
    with pytest.raises(SceneReadError, match=r"v\.vrt.*gone\.tif.* does not exist"):
        read(tmp_path / "v.vrt")


# Stored from south to north.


def south_up(path, values, size=30.0, **options):
    top = geobox(*values.shape[1:], size=size)
    t = top.transform
    grid = GeoBox(top.height, top.width, Affine(size, 0, t.c, 0, size, t.f - size * top.height), UTM)
    return write_tif(path, np.ascontiguousarray(values[:, ::-1]), grid, **options)


@pytest.mark.parametrize("size", [10.0, 30.0])
def test_south_up_is_turned_and_turned_back(tmp_path, size):
    north = write_tif(tmp_path / "north.tif", ramp(), geobox(size=size))
    south = south_up(tmp_path / "south.tif", ramp(), size)
    with open_scene(north) as one, open_scene(south) as other:
        assert one.grid == other.grid and other.south_up and not one.south_up
        np.testing.assert_array_equal(one.read().data, other.read().data)
        np.testing.assert_array_equal(one.shrink(30), other.shrink(30))
    shapes = []

    def model(image):
        shapes.append(image)
        return bright(image)

    for path in (north, south):
        name = path.stem
        outputs = {"polygons": tmp_path / f"{name}.geojson", "probability": tmp_path / f"{name}-p.tif"}
        result = mask_scene(path, tmp_path / f"{name}-m.tif", model=model, **outputs)
        assert result.polygon_count == 1
    np.testing.assert_array_equal(shapes[0], shapes[-1])
    for kind in ("m", "p"):
        np.testing.assert_array_equal(
            read_tif(tmp_path / f"south-{kind}.tif")[:, ::-1], read_tif(tmp_path / f"north-{kind}.tif")
        )
        with rasterio.open(tmp_path / f"south-{kind}.tif") as mask, rasterio.open(south) as source:
            assert mask.transform == source.transform and mask.crs == source.crs
    texts = [json.loads((tmp_path / f"{name}.geojson").read_text())["features"] for name in ("north", "south")]
    assert [f["geometry"] for f in texts[0]] == [f["geometry"] for f in texts[1]]


def test_part_of_a_scene_that_is_south_up(tmp_path):
    left, bottom, right, top = geobox().bounds
    extent = (left + 300, bottom + 150, right - 60, top - 930)
    north = write_tif(tmp_path / "north.tif", ramp())
    south = south_up(tmp_path / "south.tif", ramp())
    for path in (north, south):
        read_part = ReadOptions(extent=extent)
        mask_scene(path, tmp_path / f"{path.stem}-m.tif", model=bright, read=read_part)
    with rasterio.open(tmp_path / "north-m.tif") as one, rasterio.open(tmp_path / "south-m.tif") as other:
        assert sorted(one.bounds) == sorted(other.bounds) and other.transform.e > 0
        np.testing.assert_array_equal(one.read()[:, ::-1], other.read())


def test_an_image_without_a_place_is_not_turned(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp(), GeoBox(90, 110, Affine(2, 0, 0, 0, 2, 0), None))
    with open_scene(path) as scene:
        assert not scene.south_up
        np.testing.assert_array_equal(scene.read().data, ramp())
