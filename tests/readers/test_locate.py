"""Kinds of sources, and their files."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil
from conftest import ramp, write_tif
from rasterio.drivers import raster_driver_extensions

from geocloud.batch.find import find_scenes, fingerprint
from geocloud.errors import BandError, SceneNotFoundError, SceneReadError
from geocloud.io.gdal import file_of, is_gdal_name, stem_of
from geocloud.readers import Source, find_reader, open_scene


def names(source):
    return {Path(file).name for file in find_reader(Source(str(source))).files(Source(str(source)))}


def kind(source):
    """Class of the reader of a source."""
    return type(find_reader(Source(str(source)))).__name__


def test_a_product_is_its_bands_and_metadata_by_whatever_name(product):
    (product / "notes.txt").write_text("mine")
    bands = {path.name for path in product.iterdir()} - {"notes.txt"}
    assert kind(product) == "Landsat" and names(product) == bands
    for file in bands:
        assert kind(product / file) == "Landsat" and names(product / file) == bands


def test_one_file_of_two_products_in_a_folder_brings_its_own(product, tmp_path):
    both = tmp_path / "both"
    both.mkdir()
    for path in product.iterdir():
        shutil.copy(path, both / path.name)
        shutil.copy(path, both / path.name.replace("_02_T1", "_02_T2"))
    member = next(both.glob("*_T2_B4*"))
    assert names(member) == {path.name for path in both.glob("*_T2_*")}


def test_rasters_archives_and_what_is_not_there(tmp_path):
    raster = write_tif(tmp_path / "a.tif", ramp())
    assert kind(raster) == "Raster" and find_reader(Source(str(raster))).files(Source(str(raster))) == (str(raster),)
    (tmp_path / "b.tar").write_bytes(b"x")
    assert Source(str(tmp_path / "b.tar")).form == "archive" and Source(str(tmp_path)).form == "folder"
    with pytest.raises(SceneNotFoundError, match="no such file"):
        kind(tmp_path / "c.tif")


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("https://there.org/a.tif", "url"),
        ("https://there.org/item.json", "url"),
        ("https://there.org/items.json#one", "url"),
        ("s3://bucket/LC08_product", "bucket"),
        ("s3://bucket/a.tif", "url"),
        ("s3://bucket/a.tar", "archive"),
        ("gs://bucket/LC08_product", "bucket"),
        ("az://container/a.zip", "archive"),
        ("https://there.org/a.tar?sig=x", "archive"),
        ("https://there.org/a.json?sig=x", "url"),
    ],
)
def test_addresses_are_told_by_name_alone(address, form):
    assert Source(address).form is form
    if ".json" in address:
        assert kind(address) == "Stac"


def packed(tmp_path):
    """A raster, also in a zip and as the second image of a TIFF."""
    raster = write_tif(tmp_path / "scene.tif", ramp())
    archive = tmp_path / "some scenes.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(raster, "in/scene.tif")
    return raster, archive


def gdal_names(tmp_path):
    raster, archive = packed(tmp_path)
    return {
        f"/vsizip/{archive}/in/scene.tif": archive,
        f"/vsizip/{{{archive}}}/in/scene.tif": archive,
        f"GTIFF_DIR:1:{raster}": raster,
    }


def test_names_that_only_gdal_knows_are_sources(tmp_path, monkeypatch):
    """They open everywhere. A batch masks them once, and again if the underlying file changes."""
    monkeypatch.chdir(tmp_path)
    for name, file in gdal_names(tmp_path).items():
        assert Source(name).form == "name" and find_reader(Source(name)).files(Source(name)) == (str(file),)
        with open_scene(name) as scene:
            np.testing.assert_array_equal(scene.read().data, ramp())
            assert scene.name in ("scene", "1_scene")
        assert [found.source for found in find_scenes([name])] == [name]
        before, changed = fingerprint(name), file.stat().st_mtime_ns + 1_000_000_000
        os.utime(file, ns=(changed, changed))
        assert fingerprint(name) != before


def test_a_list_of_a_batch_may_hold_them(tmp_path):
    listed = tmp_path / "list.txt"
    wanted = list(gdal_names(tmp_path))
    listed.write_text("\n".join(wanted))
    assert [found.source for found in find_scenes([str(listed)])] == wanted


@pytest.mark.parametrize(
    ("name", "file", "stem"),
    [
        ("/vsicurl/https://there.org/a.tif", "https://there.org/a.tif", "a"),
        ("/vsizip//vsicurl/https://there.org/a.zip/b.tif", "https://there.org/a.zip", "b"),
        ("/vsitar/vsicurl/https://there.org/a.tar.gz/in/b.tif", "https://there.org/a.tar.gz", "b"),
        ("/vsis3/bucket/in/a.tif", "s3://bucket/in/a.tif", "a"),
        ("/vsizip/{/vsigs/bucket/in/a.zip}/b.tif", "gs://bucket/in/a.zip", "b"),
        ('NETCDF:"/vsicurl/https://there.org/a.nc":data', "https://there.org/a.nc", "a_data"),
        ("HDF5:gone.h5://group/data", None, "gone_data"),
        ("/vsicurl?use_head=no&url=https%3A%2F%2Fthere.org%2Fa.tif", None, "vsicurl"),
    ],
)
def test_the_file_and_the_name_of_names(name, file, stem):
    assert is_gdal_name(name) and Source(name).form == "name"
    assert file_of(name) == file and stem_of(name) == stem


@pytest.mark.parametrize(
    "name", ["a.tif", "C:/a.tif", "https://there.org/a.tif", "s3://there/a.tif", "/data/vsi/a.tif"]
)
def test_what_is_no_name_of_gdals(name):
    assert not is_gdal_name(name)


def test_a_file_counts_more_than_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tif(tmp_path / "NDVI:2.tif", ramp())
    assert Source("NDVI:2.tif").form == "file" and kind("NDVI:2.tif") == "Raster"


def test_a_name_that_leads_nowhere_gets_one_line(tmp_path):
    for name in (f"/vsizip/{tmp_path}/gone.zip/a.tif", f"GTIFF_DIR:9:{write_tif(tmp_path / 'a.tif', ramp())}"):
        with pytest.raises(SceneReadError, match="cannot be opened as a raster"):
            open_scene(name)


@pytest.mark.skipif("nc" not in raster_driver_extensions(), reason="needs GDAL with netCDF")
def test_of_a_file_of_several_rasters_one_is_to_be_named(tmp_path):
    path = tmp_path / "data.nc"
    rasterio.shutil.copy(write_tif(tmp_path / "a.tif", ramp()), path, driver="netCDF")
    with pytest.raises(BandError, match=r'holds 4 rasters; name one of them: [Nn][^ ]*data.nc"?:Band1 or '):
        open_scene(path)
    with pytest.raises(BandError, match="1 band"):  # it is a scene, but of one band
        open_scene(f'NETCDF:"{path}":Band1')


def test_patches_of_38_cloud(tmp_path):
    for band in ("red", "green", "blue", "nir"):
        write_tif(tmp_path / f"{band}_patch_1_1_by_1_LC08.TIF", ramp()[:1])
    one = tmp_path / "red_patch_1_1_by_1_LC08.TIF"
    assert kind(tmp_path) == "Cloud38" and kind(one) == "Cloud38"
    assert names(one) == names(tmp_path) and len(names(one)) == 4


def test_an_item_is_its_assets_and_its_print_follows_them(tmp_path):
    stack = write_tif(tmp_path / "stack.tif", ramp())
    bands = [{"eo:common_name": name} for name in ("red", "green", "blue", "nir")]
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "one", "properties": {}}
    item["assets"] = {"data": {"href": "stack.tif", "bands": bands}}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    assert kind(path) == "Stac" and set(find_reader(Source(str(path))).files(Source(str(path)))) == {str(stack)}
    before = fingerprint(str(path))
    write_tif(stack, ramp() / 2)
    assert fingerprint(str(path)) != before


def test_file_addresses_of_stac_assets_are_paths(tmp_path):
    """A space is %20, as in RFC 8089."""
    folder = tmp_path / "a b"
    folder.mkdir()
    tif = write_tif(folder / "s.tif", ramp())
    bands = [{"eo:common_name": name} for name in ("red", "green", "blue", "nir")]
    asset = {"href": tif.as_uri(), "type": "image/tiff", "roles": ["data"], "bands": bands, "eo:bands": bands}
    about = {"type": "Feature", "stac_version": "1.0.0", "id": "s", "properties": {"datetime": "2024-07-01T10:00:00Z"}}
    item = tmp_path / "item.json"
    item.write_text(json.dumps({**about, "geometry": None, "links": [], "assets": {"data": asset}}))
    assert "%20" in asset["href"]
    with open_scene(item) as scene:
        np.testing.assert_allclose(scene.read().data, ramp(), atol=1e-6)
