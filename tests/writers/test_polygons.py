"""Polygons match the mask in area and position, are valid, and are styled for QGIS."""

import sqlite3
from datetime import UTC, datetime

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio.features
import shapely
from affine import Affine
from conftest import geobox, write_tif
from rasterio.crs import CRS
from shapes import blobs

from geocloud.grid import GeoBox
from geocloud.writers import styles
from geocloud.writers.polygons import trace_clouds
from geocloud.writers.vector import write_layer

WHEN = datetime(2024, 7, 1, 10, 11, 12, tzinfo=UTC)


def trace(folder, mask, grid, percent=None, acquired=WHEN):
    percent = np.where(mask == 255, 255, 60).astype("uint8") if percent is None else percent
    path = write_tif(folder / "mask.tif", mask[None], grid, nodata=255)
    probability = write_tif(folder / "percent.tif", percent[None], grid, nodata=255)
    return trace_clouds(path, probability, scene="S", acquired=acquired)


@pytest.mark.parametrize("seed", range(6))
def test_polygons_tile_the_mask_exactly(tmp_path, seed):
    # Speckle: nested rings and touching corners, which can make polygons invalid.
    mask = (np.random.default_rng(seed).random((60, 70)) < 0.55).astype("uint8")
    mask[:5] = 255
    grid = geobox(60, 70)
    frame = trace(tmp_path, mask, grid)
    assert frame.geometry.is_valid.all()
    assert (frame.geom_type == "Polygon").all()
    assert frame.area_m2.sum() == pytest.approx((mask == 1).sum() * 900)
    assert shapely.union_all(frame.geometry.values).area == pytest.approx((mask == 1).sum() * 900)  # none overlap
    burnt = rasterio.features.rasterize(frame.geometry, out_shape=mask.shape, transform=grid.transform)
    np.testing.assert_array_equal(burnt == 1, mask == 1)
    assert frame.id.tolist() == list(range(1, len(frame) + 1))
    assert frame.crs == grid.crs


def test_mean_probability_is_of_each_polygons_own_pixels(tmp_path):
    mask = np.zeros((50, 60), "uint8")
    percent = np.full((50, 60), 10, "uint8")
    mask[2:4, 2:6], percent[2:4, 2:6] = 1, 80
    mask[10:40, 20:30], percent[10:40, 20:30] = 1, 50
    percent[10:25, 20:30] = 100
    frame = trace(tmp_path, mask, geobox(50, 60), percent).sort_values("area_m2")
    assert frame.area_m2.tolist() == [8 * 900, 300 * 900]
    assert frame.mean_probability.tolist() == pytest.approx([0.8, 0.75])


def test_areas_in_degrees_are_on_the_ellipsoid(tmp_path):
    grid = GeoBox(60, 80, Affine(0.01, 0, 20, 0, -0.01, 60), CRS.from_epsg(4326))
    mask = np.zeros((60, 80), "uint8")
    mask[10:50, 20:60] = 1
    # Lambert's cylindrical equal-area projection keeps areas: an oracle that does not use geodesics.
    frame = trace(tmp_path, mask, grid)
    dense = shapely.segmentize(frame.geometry.values, 0.01)
    equal = geopandas.GeoSeries(dense, crs=4326).to_crs("+proj=cea +ellps=WGS84 +units=m")
    assert frame.area_m2.sum() == pytest.approx(equal.area.sum(), rel=1e-4)


def test_without_a_crs_there_is_no_area(tmp_path):
    frame = trace(tmp_path, blobs(), GeoBox(90, 110, Affine(1, 0, 5, 0, -1, 7), None), acquired=None)
    assert frame.crs is None
    assert frame.area_m2.isna().all()
    assert frame.acquired.isna().all()


@pytest.mark.parametrize("empty", [False, True])
def test_the_geopackage_opens_with_layer_attributes_and_a_default_style(tmp_path, empty):
    mask = blobs() * (not empty)
    path = tmp_path / "clouds.gpkg"
    frame = trace(tmp_path, mask, geobox())
    write_layer([frame], path, layer="clouds", title="Clouds of S", abstract="how", qml=styles.polygons_qml())
    back = geopandas.read_file(path, layer="clouds")
    assert list(back.columns) == ["id", "area_m2", "mean_probability", "scene", "acquired", "geometry"]
    assert len(back) == len(frame) == (0 if empty else len(frame))
    assert back.crs == geobox().crs
    assert pyogrio.read_info(path, layer="clouds")["geometry_type"] == "Polygon"
    if not empty:
        assert back.geometry.geom_equals(frame.geometry).all()
        assert back.acquired[0] == WHEN
        assert back.scene[0] == "S"
    with sqlite3.connect(path) as database:
        contents = dict(database.execute("SELECT table_name, identifier FROM gpkg_contents"))
        found = database.execute(
            "SELECT f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault, styleQML "
            "FROM layer_styles"
        ).fetchall()
    database.close()
    assert contents["clouds"] == "Clouds of S"
    assert found == [("", "", "clouds", "geom", 1, styles.polygons_qml())]
