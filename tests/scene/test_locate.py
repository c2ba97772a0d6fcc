"""What a source is, and the files that it is made of."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import ramp, write_tif

from geocloud.batch.fingerprint import fingerprint
from geocloud.errors import SceneNotFoundError
from geocloud.scene import locate
from geocloud.scene.locate import Kind


def names(source):
    return {Path(file).name for file in locate(source).files()}


def test_a_product_is_its_bands_and_metadata_by_whatever_name(product):
    (product / "notes.txt").write_text("mine")
    bands = {path.name for path in product.iterdir()} - {"notes.txt"}
    assert locate(product).kind is Kind.BANDS and names(product) == bands
    for file in bands:
        assert locate(product / file).kind is Kind.BAND and names(product / file) == bands


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
    assert locate(raster).kind is Kind.RASTER and locate(raster).files() == (str(raster),)
    assert locate(tmp_path / "a.tif").is_folder is False and locate(tmp_path).is_folder
    (tmp_path / "b.tar").write_bytes(b"x")
    assert locate(tmp_path / "b.tar").kind is Kind.ARCHIVE
    with pytest.raises(SceneNotFoundError, match="no such file"):
        locate(tmp_path / "c.tif")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("https://there.org/a.tif", Kind.RASTER),
        ("https://there.org/item.json", Kind.ITEM),
        ("https://there.org/items.json#one", Kind.ITEM),
        ("s3://bucket/LC08_product", Kind.BUCKET),
        ("s3://bucket/a.tif", Kind.RASTER),
        ("s3://bucket/a.tar", Kind.ARCHIVE),
    ],
)
def test_addresses_are_told_by_name_alone(address, kind):
    assert locate(address).kind is kind


def test_patches_of_38_cloud(tmp_path):
    for band in ("red", "green", "blue", "nir"):
        write_tif(tmp_path / f"{band}_patch_1_1_by_1_LC08.TIF", ramp()[:1])
    one = tmp_path / "red_patch_1_1_by_1_LC08.TIF"
    assert locate(tmp_path).kind is Kind.PATCHES and locate(one).kind is Kind.PATCH
    assert names(one) == names(tmp_path) and len(names(one)) == 4


def test_an_item_is_its_assets_and_its_print_follows_them(tmp_path):
    stack = write_tif(tmp_path / "stack.tif", ramp())
    bands = [{"eo:common_name": name} for name in ("red", "green", "blue", "nir")]
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "one", "properties": {}}
    item["assets"] = {"data": {"href": "stack.tif", "bands": bands}}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    assert locate(path).kind is Kind.ITEM and set(locate(path).files()) == {str(stack)}
    before = fingerprint(str(path))
    write_tif(stack, ramp() / 2)
    assert fingerprint(str(path)) != before
