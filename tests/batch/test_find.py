"""Scenes found in batch sources, each product once."""

import json
import os
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
from archive import make_archive
from conftest import geobox, ramp, write_tif
from rasterio.windows import Window

from geocloud.batch import BatchOptions, find_scenes, plan_batch, run_batch
from geocloud.errors import SceneNotFoundError, SceneReadError, UnitsError
from geocloud.readers import open_scene
from geocloud.readers.stack import count_bands
from geocloud.simulate import SimulatedScene, write_level1


def names(sources, aside=None):
    return [found.name for found in find_scenes([str(source) for source in sources], aside)]


@pytest.fixture
def archive(tmp_path):
    return make_archive(tmp_path / "archive", 9, broken=False)


def test_a_folder_is_searched_and_a_product_counts_once(archive):
    found = find_scenes([str(archive)])
    assert len(found) == 9
    both = [f for f in found if "190004" in f.name]
    assert len(both) == 1 and not both[0].source.endswith(".tar")  # the folder is quicker to read than the tar
    assert any(f.source.endswith("190001_20240701_20240708_02_T1.tar") for f in found)


def test_globs_lists_and_tables(archive, tmp_path):
    assert len(names([archive / "stack_*.tif"])) == 3
    assert len(names([archive / "**" / "*_MTL.txt"])) == 4  # one of its files identifies a product
    (archive / "list.txt").write_text("# comment\nstack_002.tif\n\nstack_005.tif\nstack_002.tif\n")
    assert names([archive / "list.txt"]) == ["stack_002", "stack_005"]
    (tmp_path / "list.csv").write_text(f"id,source\n1,{archive}/stack_002.tif\n2,gone.tif\n")
    assert names([tmp_path / "list.csv"]) == ["stack_002", "gone"]  # the run reports the error
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SceneReadError, match="no column source"):
        names([tmp_path / "bad.csv"])


def test_masks_hidden_folders_and_the_output_are_passed_over(archive, tmp_path):
    out = archive / "masks"
    out.mkdir()
    write_tif(out / "copy.tif", ramp())
    (archive / ".hidden").mkdir()
    shutil.copy(out / "copy.tif", archive / ".hidden" / "copy.tif")
    write_tif(archive / "one_cloudmask.tif", np.ones((1, 9, 9), "uint8"))
    assert len(names([archive], out)) == 9
    assert len(names([archive])) == 10


def test_what_the_manifest_knows_is_not_opened_again(tmp_path, monkeypatch):
    folder, out, opened = tmp_path / "in", tmp_path / "out", []
    folder.mkdir()
    for name in ("a", "b"):
        write_tif(folder / f"{name}.tif", ramp())
    write_tif(folder / "height.tif", ramp()[:1])

    def count(path):
        opened.append(Path(path).stem)
        return count_bands(path)

    def scenes(plan):
        return [found.name for found in plan.scenes]

    def planned():
        opened.clear()
        return plan_batch([str(folder)], out, BatchOptions())

    monkeypatch.setattr("geocloud.batch.find.count_bands", count)
    assert scenes(planned()) == ["a", "b"] and sorted(opened) == ["a", "b", "height"]
    run_batch([str(folder)], out, BatchOptions())
    assert scenes(planned()) == ["a", "b"] and not opened
    write_tif(folder / "b.tif", ramp()[:1])
    write_tif(folder / "height.tif", ramp())
    plan = planned()
    assert scenes(plan) == ["a", "height"] and [found.name for found, _ in plan.others] == ["b"]


def test_a_raster_of_one_band_hides_no_product_of_its_name(tmp_path):
    name = "LC08_L1TP_190026_20240701_20240708_02_T1"
    write_tif(tmp_path / f"{name}.tif", ramp()[:1])
    with tarfile.open(tmp_path / f"{name}.tar", "w"):
        pass
    assert [Path(found.source).suffix for found in find_scenes([str(tmp_path)])] == [".tar"]


def test_several_products_in_one_folder(tmp_path, archive):
    together = tmp_path / "together"
    together.mkdir()
    for number in ("190000", "190003"):
        for file in (archive / f"LC08_L1TP_{number}_20240701_20240708_02_T1").iterdir():
            shutil.copy(file, together)
    found = find_scenes([str(together)])
    assert sorted(f.name[10:16] for f in found) == ["190000", "190003"]
    assert sorted(open_scene(f.source).name[10:16] for f in found) == ["190000", "190003"]


def test_nothing_there_is_said(tmp_path):
    for source in (tmp_path / "gone", tmp_path / "*.tif"):
        with pytest.raises(SceneNotFoundError):
            names([source])


def test_an_empty_source_is_not_the_current_folder(tmp_path, monkeypatch):
    write_tif(tmp_path / "secret.tif", ramp())
    monkeypatch.chdir(tmp_path)
    for use in (open_scene, lambda source: find_scenes([source])):
        with pytest.raises(SceneNotFoundError, match="the source is empty"):
            use("")
    assert [Path(found.source).name for found in find_scenes(["."])] == ["secret.tif"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_named_pipe_is_refused_not_opened(tmp_path):
    write_tif(tmp_path / "a.tif", ramp())
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(SceneReadError, match=r"pipe\.tif: not a regular file"):
        open_scene(tmp_path / "pipe.tif")
    assert names([tmp_path]) == ["a", "pipe"]  # masking reports the error


def test_a_raster_of_several_bands_named_like_one_band(tmp_path):
    write_tif(tmp_path / "field_b8.tif", ramp())
    write_tif(tmp_path / "other.tif", ramp())
    assert names([tmp_path]) == ["field_b8", "other"]


def item_of(tif, **asset):
    item = pystac.Item("item-1", None, None, datetime(2024, 7, 1, 10, tzinfo=UTC), {})
    bands = [{"name": f"b{i}", "eo:common_name": name} for i, name in enumerate(("nir", "red", "green", "blue"))]
    item.add_asset("stack", pystac.Asset(tif.name, media_type="image/tiff", extra_fields={"bands": bands, **asset}))
    return item.to_dict(include_self_link=False)


def test_stac_items_collections_and_catalogs(tmp_path):
    values = np.rint(ramp()[[3, 0, 1, 2]] * 1e4).astype("uint16")
    tif = write_tif(tmp_path / "stack.tif", values)
    scales = [{"scale": 0.0001, "offset": 0, "nodata": 0}] * 4
    item = item_of(tif, **{"raster:bands": scales})
    (tmp_path / "item.json").write_text(json.dumps(item))
    (tmp_path / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": [item, {**item, "id": "item-2"}]})
    )
    catalog = {"type": "Catalog", "id": "c", "stac_version": "1.1.0", "description": "d"}
    catalog["links"] = [{"rel": "item", "href": "./item.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))

    assert names([tmp_path / "item.json"]) == ["item-1"]
    assert names([tmp_path / "items.json"]) == ["item-1", "item-2"]
    assert names([tmp_path / "catalog.json"]) == ["item-1"]
    for found in find_scenes([str(tmp_path / "catalog.json"), str(tmp_path / "items.json")]):
        with open_scene(found.source) as scene:
            reflectance = scene.read(Window(0, 0, 110, 90)).data
            np.testing.assert_allclose(reflectance, ramp(), atol=6e-5)
            assert scene.acquired.isoformat() == "2024-07-01T10:00:00+00:00"


def test_stac_assets_by_key(tmp_path):
    numbers = {"B04": 0, "B03": 1, "B02": 2, "B05": 3, "B01": 0}
    for key, band in numbers.items():
        write_tif(tmp_path / f"{key}.tif", np.rint(ramp()[[band]] * 1e4).astype("int16"), scales=[1e-4])
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "HLS.L30.T33UXP.2024183T095000.v2.0",
        "properties": {"datetime": "2024-07-01T10:00:00Z"},
        "assets": {key: {"href": f"./{key}.tif"} for key in numbers},
    }
    (tmp_path / "hls.json").write_text(json.dumps(item))
    with open_scene(tmp_path / "hls.json") as scene:
        reflectance = scene.read(Window(0, 0, 110, 90)).data
    np.testing.assert_allclose(reflectance, ramp(), atol=6e-5)


def test_a_level_1_item_reads_its_mtl(tmp_path):
    name = "LC08_L1TP_190026_20240701_20240708_02_T1"
    made = tmp_path / name
    write_level1(SimulatedScene(ramp(), np.zeros((90, 110), bool)), made, name, grid=geobox(), sun_elevation=50.0)
    keys = {"red": "B4.TIF", "green": "B3.TIF", "blue": "B2.TIF", "nir08": "B5.TIF", "mtl.txt": "MTL.txt"}
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "properties": {"datetime": "2024-07-01T10:00:00Z", "view:sun_elevation": 12},
        "assets": {key: {"href": f"./{name}/{name}_{file}"} for key, file in keys.items()},
    }
    (tmp_path / "item.json").write_text(json.dumps(item))
    with open_scene(tmp_path / "item.json") as scene:
        assert scene.sun_elevation == 50
        np.testing.assert_allclose(scene.read(Window(0, 0, 110, 90)).data, ramp(), atol=3e-5)
    del item["assets"]["mtl.txt"]
    (tmp_path / "item.json").write_text(json.dumps(item))
    with open_scene(tmp_path / "item.json") as scene:
        assert scene.sun_elevation == 12
    item["assets"]["mtl.txt"] = {"href": "./gone_MTL.txt"}
    (tmp_path / "item.json").write_text(json.dumps(item))
    with pytest.raises(SceneReadError, match="not a valid STAC item"):
        open_scene(tmp_path / "item.json")


@pytest.mark.parametrize("applied", [True, False])
def test_offsets_of_sentinel_2(tmp_path, applied):
    """Earth Search declares an offset even if it is already applied, as another property states."""
    assets = {}
    for band, name in enumerate(("red", "green", "blue", "nir")):
        values = np.rint((ramp()[[band]] + (0 if applied else 0.1)) * 1e4).astype("uint16")
        write_tif(tmp_path / f"{name}.tif", values)
        raster = [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]
        assets[name] = {"href": f"{name}.tif", "eo:bands": [{"common_name": name}], "raster:bands": raster}
        assets[f"{name}-jp2"] = {**assets[name], "href": "none.jp2", "type": "image/jp2"}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "S2A_33UXP_20240701_0_L2A", "assets": assets}
    item["properties"] = {"earthsearch:boa_offset_applied": applied, "platform": "sentinel-2a"}
    (tmp_path / "item.json").write_text(json.dumps(item))
    with open_scene(tmp_path / "item.json") as scene:
        np.testing.assert_allclose(scene.read(Window(0, 0, 110, 90)).data, ramp(), atol=6e-5)


def test_damaged_stac_is_one_clear_error(tmp_path):
    (tmp_path / "item.json").write_text('{"type": "Feature", "stac_version": "1.0.0", "id": "x", "assets": [1]}')
    with pytest.raises(SceneReadError, match="assets"):
        open_scene(tmp_path / "item.json")
    assets = {name: {"href": "x.tif", "scale": "half"} for name in ("red", "green", "blue", "nir")}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "x", "assets": assets}
    (tmp_path / "half.json").write_text(json.dumps(item))
    with pytest.raises(UnitsError, match=r"half\.json: .* is no number"):
        open_scene(tmp_path / "half.json")
    for text in ("[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000):
        (tmp_path / "deep.json").write_text(text)
        with pytest.raises(SceneReadError, match=r"deep\.json"):
            open_scene(tmp_path / "deep.json")
    (tmp_path / "c.json").write_text('{"type": "Catalog", "stac_version": "1.0.0"}')
    with pytest.raises(SceneReadError, match="cannot be read as STAC"):
        names([tmp_path / "c.json"])


def test_an_archive_of_something_else_is_left_to_the_run(tmp_path):
    with tarfile.open(tmp_path / "code.tar.gz", "w:gz"):
        pass
    assert names([tmp_path]) == ["code"]


@pytest.mark.slow
def test_a_list_that_names_itself_and_names_that_are_no_utf8(tmp_path, monkeypatch):
    write_tif(tmp_path / "a.tif", ramp())
    (tmp_path / "list.txt").write_text("a.tif\nlist.txt\n")
    assert names([tmp_path / "list.txt"]) == ["a"]
    with open(os.fsencode(tmp_path) + b"/caf\xe9.tif", "wb"):  # noqa: PTH123 - no Path holds such a name
        pass
    entries = run_batch([str(tmp_path)], tmp_path / "out", BatchOptions())
    assert {e.name: e.state for e in entries} == {"a": "done", "caf_udce9": "failed"}
    plan = plan_batch([str(tmp_path)], tmp_path / "out", BatchOptions())
    assert plan.before == 1 and not plan.refused  # a missing source may exist next time
    monkeypatch.setattr("geocloud.io.gdal.open_quietly", None)  # scenes that are masked are found without opening files
    for source in ("list.txt", "a.tif", "a*.tif"):
        assert plan_batch([str(tmp_path / source)], tmp_path / "out", BatchOptions()).before == 1


def test_38_cloud_patches_are_not_left_out_in_silence(tmp_path, caplog):
    for band in ("red", "green", "blue", "nir"):
        (tmp_path / f"train_{band}").mkdir()
        for patch in (1, 2):
            write_tif(tmp_path / f"train_{band}" / f"{band}_patch_{patch}_1_by_{patch}_LC08_X.TIF", ramp()[:1])
    assert not find_scenes([str(tmp_path)])
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path / "train_red") in line and "--scene-id" in line
