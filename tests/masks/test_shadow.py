"""Cloud shadow as a class in every result, and its absence unless requested."""

import json
import re
from dataclasses import replace
from functools import partial

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from conftest import geobox, ramp, read_tif, write_tif
from console import run
from scipy import ndimage
from small import small

import geocloud
from geocloud import ModelMetadata, Predictor
from geocloud.errors import OptionError
from geocloud.grid import GeoBox
from geocloud.masks.codes import CLOUD, SHADOW, Thresholds, count, percent, to_mask
from geocloud.masks.refine import dilate, refine, remove_small
from geocloud.masks.shadow import drop_impossible
from geocloud.models import read_metadata
from geocloud.pipeline import MaskOptions, mask_scene
from geocloud.raster import Sun
from geocloud.readers import open_scene
from geocloud.simulate import SimulatedScene, write_level1
from geocloud.training.data.cut import cut_38cloud, cut_geotiffs

GRID = geobox(90, 110)


def both(batch):
    """A test model: bright pixels are cloud, dark pixels shadow."""
    red = np.nan_to_num(batch[:, 0])
    return np.stack([red, 0.8 - red], 1).astype("float32")


def model(**changes):
    facts = ModelMetadata(shadow=(1,), threshold=0.5, shadow_threshold=0.6, optional_nir=True)
    return Predictor(both, replace(facts, **changes))


@pytest.fixture
def scene(tmp_path):
    image = ramp()
    image[:, :10, :10] = np.nan
    return write_tif(tmp_path / "s.tif", image, descriptions=("red", "green", "blue", "nir"))


def expected(scene):
    red = read_tif(scene)[0]
    mask = np.where(red > 0.5, 1, np.where(0.8 - red > 0.6, 2, 0)).astype("uint8")
    return np.where(np.isnan(red), 255, mask)


def test_where_both_are_likely_it_is_cloud():
    probability = np.array([[[0.9, 0.1, 0.1, np.nan]], [[0.9, 0.9, 0.1, np.nan]]], "float32")
    assert to_mask(probability, Thresholds(0.5, 0.5)).tolist() == [[1, 2, 0, 255]]
    assert to_mask(probability, Thresholds(0.5)).tolist() == [[1, 0, 0, 255]]


def test_every_result_of_a_scene_knows_both(scene, tmp_path):
    options = MaskOptions(shadows=True, polygon_min_area=0)
    result = mask_scene(
        scene,
        tmp_path / "m.tif",
        polygons=tmp_path / "c.gpkg",
        probability=tmp_path / "p.tif",
        model=model(),
        options=options,
    )
    mask, truth = read_tif(tmp_path / "m.tif")[0], expected(scene)
    np.testing.assert_array_equal(mask, truth)
    counts = count(mask)
    assert result.cloud_percent == percent(counts, CLOUD) and result.shadow_percent == percent(counts, SHADOW) > 0
    assert counts.total() == mask.size

    with rasterio.open(tmp_path / "m.tif") as dataset:
        tags = dataset.tags()
        assert tags["GEOCLOUD_SHADOW_PERCENT"] == f"{result.shadow_percent:.2f}"
        assert tags["GEOCLOUD_CLOUD_PERCENT"] == f"{result.cloud_percent:.2f}"
        assert len({dataset.colormap(1)[value] for value in (0, 1, 2)}) == 3
    assert "shadow" in (tmp_path / "m.qml").read_text() and "shadow" in (tmp_path / "m.tif.aux.xml").read_text()
    with rasterio.open(tmp_path / "p.tif") as dataset:
        assert dataset.descriptions == ("cloud probability, per cent", "cloud shadow probability, per cent")
        values, red = dataset.read(), read_tif(scene)[0]
        np.testing.assert_array_equal(values[:, :10, :10], 255)
        np.testing.assert_allclose(values[1, 20:], np.rint(100 * np.clip(0.8 - red[20:], 0, 1)), atol=1)

    frame = geopandas.read_file(tmp_path / "c.gpkg", layer="clouds")
    assert set(frame["class"]) == {"cloud", "shadow"}
    for name, value in (("cloud", CLOUD), ("shadow", SHADOW)):
        own = frame[frame["class"] == name]
        assert own.area_m2.sum() == pytest.approx(900 * (mask == value).sum(), rel=1e-6)
    assert shapely.is_valid(frame.geometry.values).all()
    assert frame.loc[frame["class"] == "shadow", "mean_probability"].min() > 0.6


def test_without_the_word_everything_is_as_it_was(scene, tmp_path):
    one = Predictor(lambda batch: both(batch)[:, 0])
    for folder, own in (("a", one), ("b", model())):
        (tmp_path / folder).mkdir()
        named = {"polygons": tmp_path / folder / "c.geojson", "probability": tmp_path / folder / "p.tif"}
        options = MaskOptions(min_area=2000, buffer=60)
        assert (
            mask_scene(scene, tmp_path / folder / "m.tif", model=own, options=options, **named).shadow_percent is None
        )
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert "class" not in geopandas.read_file(tmp_path / "a" / "c.geojson")


def blobs():
    noise = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(90, 110)), 2)
    mask = np.where(noise > 0.12, 1, np.where(noise < -0.12, 2, 0)).astype("uint8")
    mask[:6] = 255
    return mask


def test_small_clouds_and_small_shadows_go_each_against_all_else():
    mask = blobs()
    found = refine(mask, [partial(remove_small, grid=GRID, pixels=30)])
    np.testing.assert_array_equal(found == 255, mask == 255)
    for value in (CLOUD, SHADOW):
        labels, count = ndimage.label(found == value)
        assert count and ndimage.sum_labels(found == value, labels, range(1, count + 1)).min() >= 30
    large = ndimage.label(mask == CLOUD)
    sizes = ndimage.sum_labels(mask == CLOUD, large[0], range(1, large[1] + 1))
    kept = np.isin(large[0], 1 + np.flatnonzero(sizes >= 30))
    assert (found[kept] == CLOUD).all()


def test_buffers_grow_both_and_shadow_by_more():
    mask = blobs()
    found = refine(mask, [partial(dilate, grid=GRID, radii={CLOUD: 60, SHADOW: 150}, strip=16)])
    near = {value: ndimage.distance_transform_edt(mask != value) * 30 <= r for value, r in ((1, 60), (2, 150))}
    truth = np.where(mask == 255, 255, np.where(near[1], 1, np.where(near[2], 2, 0)))
    np.testing.assert_array_equal(found, truth)


def test_options_that_would_do_nothing_are_refused(scene, tmp_path):
    for given in ({"shadow_threshold": 0.3}, {"shadow_buffer": 60.0}):
        with pytest.raises(OptionError, match=r"add MaskOptions\(shadows=True\)"):
            MaskOptions(**given)
    with pytest.raises(OptionError, match="shadow threshold 2"):
        MaskOptions(shadows=True, shadow_threshold=2)
    with pytest.raises(OptionError, match="detects no shadow"):
        mask_scene(scene, tmp_path / "m.tif", model=lambda b: b[:, 0], options=MaskOptions(shadows=True))
    assert not (tmp_path / "m.tif").exists()


def test_arrays_know_shadow(scene):
    image = read_tif(scene)
    mask = geocloud.mask_array(image, model=model(), shadows=True)
    np.testing.assert_array_equal(mask, expected(scene))
    more = geocloud.mask_array(image, model=model(), shadows=True, shadow_threshold=0.4)
    assert (more == SHADOW).sum() > (mask == SHADOW).sum()


@pytest.mark.slow
@pytest.mark.parametrize(("azimuth", "turned"), [(0, 0), (45, 30), (150, 0), (270, 30)])
def test_what_no_cloud_could_throw_is_no_shadow(azimuth, turned):
    """Compares with rays from every shadow towards the sun."""
    rng, sun = np.random.default_rng(azimuth), Sun(50, azimuth)
    place = GRID.transform @ Affine.rotation(turned)
    grid = GeoBox(600, 500, place @ Affine.scale(2, 2), GRID.crs)  # 60 m
    cloud = ndimage.binary_dilation(rng.random((600, 500)) > 0.99995, iterations=6)
    mask = np.where(cloud, 1, np.where(rng.random((600, 500)) > 0.5, 2, 0)).astype("uint8")
    mask[:9] = 255
    found = refine(mask, [partial(drop_impossible, grid=grid, sun=sun, strip=64)])
    np.testing.assert_array_equal(found[mask != 2], mask[mask != 2])

    rows, cols = np.nonzero(mask == 2)
    angle = np.radians(azimuth)
    distances = np.arange(200, 5_000, 30) / np.tan(np.radians(50))
    hit, near = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    around = ndimage.binary_dilation(np.pad(mask == 1, 30), np.ones((3, 3)), 11)
    x, y = grid.transform @ (cols + 0.5, rows + 0.5)
    for distance in distances:
        col, row = ~grid.transform @ (x + distance * np.sin(angle), y + distance * np.cos(angle))
        inside = (row >= 0) & (row < 600) & (col >= 0) & (col < 500)
        at = row[inside].astype(int), col[inside].astype(int)
        hit[inside] |= (mask == 1)[at]
        close = (row >= -30) & (row < 630) & (col >= -30) & (col < 530)
        near[close] |= around[row[close].astype(int) + 30, col[close].astype(int) + 30]
    kept = found[rows, cols] == 2
    assert kept[hit].all(), "what could be thrown stays"
    assert not kept[~near].any(), "what lies 660 m off goes"
    assert 0.02 < kept.mean() < 0.9


def test_a_scene_whose_sun_is_known_loses_impossible_shadow(tmp_path):
    name = "LC08_L1TP_190026_20240701_20240708_02_T1"
    image = np.full((4, 200, 200), 0.3, "float32")
    image[:, 100:106, 100:106] = 0.8
    image[:, 55:75, 65:85] = image[:, 130:160, 120:160] = 0.05  # opposite the sun, and towards it
    scene = SimulatedScene(image, np.zeros((200, 200), bool))
    write_level1(scene, tmp_path / name, name, grid=geobox(200, 200), sun_elevation=30.0)
    result = mask_scene(tmp_path / name, tmp_path / "m.tif", model=model(), options=MaskOptions(shadows=True))
    mask = read_tif(tmp_path / "m.tif")[0]
    assert result.shadow_percent == percent(count(mask), SHADOW)
    metadata = next((tmp_path / name).glob("*_MTL.txt"))
    with_sun = (mask == 2).sum()
    metadata.write_text("".join(line for line in metadata.read_text().splitlines(True) if "SUN_AZIMUTH" not in line))
    mask_scene(tmp_path / name, tmp_path / "n.tif", model=model(), options=MaskOptions(shadows=True))
    without = (read_tif(tmp_path / "n.tif")[0] == 2).sum()
    assert without == 20 * 20 + 30 * 40 and 0 < with_sun <= 20 * 20


def test_a_file_keeps_its_threshold_of_shadow(tmp_path):
    small(shadow_threshold=0.2).save(tmp_path / "m.safetensors")
    assert read_metadata(tmp_path / "m.safetensors").shadow_threshold == 0.2


def test_several_scenes_are_masked_with_their_shadow(scene, tmp_path):
    other = write_tif(tmp_path / "t.tif", ramp()[:, ::-1].copy(), descriptions=("red", "green", "blue", "nir"))
    done = run("mask", scene, other, "-o", "out/", "--shadows", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("shadow") == 2, done.stderr


def test_tiles_to_train_on_keep_shadow(scene, tmp_path):
    mask_scene(scene, tmp_path / "m.tif", model=model(), options=MaskOptions(shadows=True))
    with open_scene(scene) as opened:
        cut_geotiffs(opened, tmp_path / "tiles", tmp_path / "m.tif", tile_size=128)
        cut_38cloud(opened, tmp_path / "38", tmp_path / "m.tif", tile_size=128)
    (tile,) = (tmp_path / "tiles" / "masks").iterdir()
    np.testing.assert_array_equal(read_tif(tile)[0, :90, :110], expected(scene))
    (patch,) = (tmp_path / "38" / "train_gt").iterdir()
    assert (read_tif(patch) == 255).sum() == (expected(scene) == 1).sum()


@pytest.mark.slow
def test_a_batch_knows_shadow(scene, tmp_path):
    done = run("batch", scene, "-o", "out", "--shadows", "--polygons", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    item = json.loads((tmp_path / "out" / "s.json").read_text())
    share = item["properties"]["geocloud:shadow_percent"]
    mask = read_tif(tmp_path / "out" / "s_cloudmask.tif")[0]
    assert share == pytest.approx(percent(count(mask), SHADOW), abs=0.01)
    names = [c["name"] for c in item["assets"]["mask"]["bands"][0]["classification:classes"]]
    assert names == ["clear", "cloud", "shadow", "no_data"]
    footprints = geopandas.read_file(tmp_path / "out" / "footprints.gpkg", layer="footprints")
    assert footprints.shadow_percent[0] == pytest.approx(share, abs=0.006)
    rows = (tmp_path / "out" / "report" / "scenes-0.js").read_text().replace("\\", "")
    assert float(re.search(r'"shadow":\[([\d.]+)', rows)[1]) == pytest.approx(share, abs=0.06)
