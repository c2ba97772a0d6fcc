"""The whole pipeline with a model of one line of numpy: the output is the input, in the same place."""

import json
import xml.etree.ElementTree as ElementTree

import geopandas
import numpy as np
import pytest
import rasterio
from conftest import bright, geobox, level1_numbers, ramp, read_tif, write_tif
from hypothesis import given, settings
from hypothesis import strategies as st
from rio_cogeo.cogeo import cog_validate
from shapes import blobs

import geocloud
from geocloud.errors import GeocloudError, OptionError, OutputError, OutputExistsError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.pipeline import MaskOptions, mask_scene

NAMES = ("red", "green", "blue", "nir")


def cloudy(mask):
    """Reflectance that `bright` turns into the mask; NaN where the mask is 255."""
    image = np.where(mask == 1, 0.6, 0.1).astype("float32") + np.zeros((4, 1, 1), "float32")
    image[:, mask == 255] = np.nan
    return image


def scene_of(folder, mask, grid=None):
    return write_tif(folder / "scene.tif", cloudy(mask), grid, descriptions=NAMES, nodata=float("nan"))


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(1, 420), st.integers(1, 420), st.sampled_from([(384, 64), (64, 32), (96, 0)]), st.integers(0, 99))
def test_the_mask_is_the_scene_whatever_its_size(tmp_path_factory, height, width, tiling, seed):
    folder = tmp_path_factory.mktemp("p")
    rng = np.random.default_rng(seed)
    mask = (rng.random((height, width)) < 0.4).astype("uint8")
    mask[rng.random((height, width)) < 0.2] = 255
    options = MaskOptions(tile_size=tiling[0], overlap=tiling[1])
    result = mask_scene(scene_of(folder, mask), folder / "out.tif", model=bright, options=options)
    np.testing.assert_array_equal(read_tif(folder / "out.tif")[0], mask)
    valid = (mask != 255).sum()
    assert result.valid_percent == pytest.approx(100 * valid / mask.size)
    assert result.cloud_percent == (pytest.approx(100 * (mask == 1).sum() / valid) if valid else None)


def test_all_that_is_written(product, tmp_path):
    result = mask_scene(
        product,
        tmp_path / "a.tif",
        polygons=tmp_path / "a.gpkg",
        probability=tmp_path / "p.tif",
        model=bright,
        options=MaskOptions(polygon_min_area=0),
    )
    expected = ramp()[0] > 0.3501
    with rasterio.open(tmp_path / "a.tif") as mask:
        assert GeoBox(mask.height, mask.width, mask.transform, mask.crs) == geobox()
        assert mask.nodata == 255
        np.testing.assert_array_equal(mask.read(1) == 1, expected)
        tags = mask.tags()
    assert tags["AREA_OR_POINT"] == "Point"
    assert tags["TIFFTAG_SOFTWARE"].startswith("geocloud ")
    assert tags["GEOCLOUD_SOURCE"] == product.name
    assert tags["GEOCLOUD_ACQUIRED"] == "2024-07-01T10:00:00+00:00"
    assert tags["GEOCLOUD_THRESHOLD"] == "0.5"
    assert float(tags["GEOCLOUD_CLOUD_PERCENT"]) == pytest.approx(100 * expected.mean(), abs=0.01)
    assert tags["GEOCLOUD_VALID_PERCENT"] == "100.00"
    assert (read_tif(tmp_path / "p.tif")[0] == np.where(expected, 100, 0)).all()
    for name in ("a.tif", "p.tif"):
        assert cog_validate(tmp_path / name, strict=True)[0]
    frame = geopandas.read_file(tmp_path / "a.gpkg", layer="clouds")
    assert frame.area.sum() == expected.sum() * 900
    assert result.polygon_count == len(frame)
    for name in ("a.qml", "p.qml", "a.tif.aux.xml"):
        ElementTree.parse(tmp_path / name)  # noqa: S314 - our own text
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "a.gpkg", "a.qml", "a.tif", "a.tif.aux.xml", "p.qml", "p.tif",
    ]  # fmt: skip
    assert json.loads(result.to_json())["mask"] == str(tmp_path / "a.tif")


def test_a_scene_that_is_all_fill(tmp_path):
    path = write_tif(tmp_path / "f.tif", np.zeros((4, 40, 50), "uint16"), descriptions=NAMES, nodata=0)
    result = mask_scene(path, tmp_path / "a.tif", polygons=tmp_path / "a.gpkg", model=bright)
    assert result.cloud_percent is None
    assert result.valid_percent == 0
    assert (read_tif(tmp_path / "a.tif") == 255).all()
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.tags()["GEOCLOUD_CLOUD_PERCENT"] == "none"
    assert len(geopandas.read_file(tmp_path / "a.gpkg", layer="clouds")) == 0


def test_min_area_and_buffer_are_applied_in_that_order(tmp_path):
    mask = np.zeros((90, 110), "uint8")
    mask[10, 10] = 1  # 900 m²: dropped, and so not grown
    mask[40:60, 40:60] = 1
    mask[50, 50] = 0  # a hole of 900 m²: filled
    path = scene_of(tmp_path, mask)
    mask_scene(path, tmp_path / "a.tif", model=bright, options=MaskOptions(min_area=1000, buffer=60))
    found = read_tif(tmp_path / "a.tif")[0]
    assert not found[:30, :30].any()
    assert found[50, 50] == 1
    assert found[38, 50] == 1
    assert found[37, 50] == 0
    assert found[38, 38] == 0  # a round corner
    exact = mask_scene(path, tmp_path / "b.tif", model=bright, options=MaskOptions(min_area=900))
    assert exact.cloud_percent == pytest.approx(100 * mask.sum() / mask.size)  # 900 m² is not less than 900 m²


def test_polygons_have_a_minimum_size_of_nine_pixels_by_default(tmp_path):
    mask = np.zeros((90, 110), "uint8")
    mask[5:7, 5:9] = 1  # 8 pixels
    mask[20:23, 20:23] = 1  # 9 pixels
    path = scene_of(tmp_path, mask)
    mask_scene(path, tmp_path / "a.tif", polygons=tmp_path / "a.gpkg", model=bright)
    assert geopandas.read_file(tmp_path / "a.gpkg", layer="clouds").area_m2.tolist() == [8100]
    assert (read_tif(tmp_path / "a.tif")[0] == mask).all()
    mask_scene(
        path, tmp_path / "b.tif", polygons=tmp_path / "b.gpkg", model=bright, options=MaskOptions(polygon_min_area=0)
    )
    assert len(geopandas.read_file(tmp_path / "b.gpkg", layer="clouds")) == 2


def test_nothing_is_written_when_something_fails(product, tmp_path):
    before = sorted(p.name for p in tmp_path.iterdir())

    def broken(batch):
        raise SceneReadError("half way")

    with pytest.raises(SceneReadError):
        mask_scene(product, tmp_path / "a.tif", polygons=tmp_path / "a.gpkg", model=broken)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_outputs_are_not_overwritten_by_accident(product, tmp_path):
    out = tmp_path / "a.tif"
    mask_scene(product, out, model=bright)
    with pytest.raises(OutputExistsError, match="give overwrite=True"):
        mask_scene(product, out, model=bright)
    mask_scene(product, out, model=lambda batch: np.ones_like(batch[:, 0]), options=MaskOptions(overwrite=True))
    assert (read_tif(out) == 1).all()


def test_a_scene_is_never_its_own_output(product, tmp_path):
    path = scene_of(tmp_path, blobs())
    before = path.read_bytes()
    for source, out in ((path, path), (product, product / f"{product.name}_B4.TIF")):
        with pytest.raises(OutputError, match="the scene itself"):
            mask_scene(source, out, model=bright, options=MaskOptions(overwrite=True))
    assert path.read_bytes() == before


def test_no_crs_in_no_crs_out(tmp_path):
    from affine import Affine

    grid = GeoBox(90, 110, Affine(1, 0, 3, 0, 1, 5), None)
    path = scene_of(tmp_path, blobs(), grid)
    result = mask_scene(path, tmp_path / "a.tif", polygons=tmp_path / "a.gpkg", model=bright)
    assert result.crs is None
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.crs is None
        assert dataset.transform == grid.transform
    with pytest.raises(OptionError, match="CRS"):
        mask_scene(path, tmp_path / "b.tif", model=bright, options=MaskOptions(buffer=100))
    assert not (tmp_path / "b.tif").exists()


@pytest.mark.parametrize("bad", [{"threshold": 0}, {"threshold": 1.5}, {"buffer": -1}, {"min_area": float("nan")}])
def test_options_that_make_no_sense(bad):
    with pytest.raises(OptionError, match=next(iter(bad)).split("_")[0]):
        MaskOptions(**bad)


def test_progress_counts_rows_of_tiles(product, tmp_path):
    steps = []
    options = MaskOptions(tile_size=32, overlap=0)
    mask_scene(product, tmp_path / "a.tif", model=bright, options=options, progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_a_model_sees_reflectance_in_batches(tmp_path):
    path = write_tif(tmp_path / "s.tif", level1_numbers(ramp(), 40), descriptions=NAMES)
    shapes, low, high = set(), [], []

    def spy(batch):
        shapes.add(batch.shape[1:])
        low.append(np.nanmin(batch))
        high.append(np.nanmax(batch))
        return batch[:, 0] > 0.35

    mask_scene(
        path,
        tmp_path / "a.tif",
        model=spy,
        read=geocloud.ReadOptions(units=geocloud.Units.LANDSAT_L1, sun_elevation=40),
        options=MaskOptions(tile_size=64, overlap=16),
    )
    assert shapes == {(4, 64, 64)}
    assert min(low) == pytest.approx(ramp().min(), abs=1e-4)
    assert max(high) == pytest.approx(ramp().max(), abs=1e-4)


def test_every_error_is_of_one_family():
    assert issubclass(OutputExistsError, GeocloudError)
    assert issubclass(OutputExistsError, FileExistsError)
    assert issubclass(SceneReadError, OSError)
    assert issubclass(OptionError, ValueError)


def test_polygons_of_an_earlier_mask_are_told(product, tmp_path, caplog):
    out, polygons = tmp_path / "a_cloudmask.tif", tmp_path / "a_clouds.gpkg"
    mask_scene(product, out, polygons=polygons, model=bright)
    mask_scene(product, out, polygons=polygons, model=bright, overwrite=True)
    assert "earlier" not in caplog.text
    mask_scene(product, out, model=bright, overwrite=True)
    assert f"{polygons}: these polygons are of an earlier mask" in caplog.text
