"""Polygons in other formats contain the same clouds."""

import json

import geopandas
import pytest
import shapely
from conftest import bright, geobox, ramp, write_tif

from geocloud.errors import OptionError
from geocloud.grid import GeoBox
from geocloud.pipeline import mask_scene


@pytest.mark.parametrize("form", ["geojson", "fgb", "parquet"])
def test_other_forms_hold_the_same_clouds(tmp_path, form):
    scene = write_tif(tmp_path / "s.tif", ramp())
    mask_scene(scene, tmp_path / "a.tif", polygons=tmp_path / "a.gpkg", model=bright)
    mask_scene(scene, tmp_path / "b.tif", polygons=tmp_path / f"clouds.{form}", model=bright)
    expected = geopandas.read_file(tmp_path / "a.gpkg", layer="clouds")
    read = geopandas.read_parquet if form == "parquet" else geopandas.read_file
    found = read(tmp_path / f"clouds.{form}")
    assert found.crs == ("EPSG:4326" if form == "geojson" else expected.crs)
    same = found.to_crs(expected.crs).geometry[0]
    assert shapely.symmetric_difference(same, expected.geometry[0]).area < 1e-3 * expected.geometry[0].area
    assert found.area_m2.tolist() == expected.area_m2.tolist()
    assert (tmp_path / "clouds.qml").exists()


def test_geojson_is_as_the_rfc_wants_it(tmp_path):
    mask_scene(write_tif(tmp_path / "s.tif", ramp()), tmp_path / "m.tif", polygons=tmp_path / "c.geojson", model=bright)
    found = json.loads((tmp_path / "c.geojson").read_text())
    assert "crs" not in found  # section 4: always WGS 84, not stated
    ring = found["features"][0]["geometry"]["coordinates"][0]
    assert shapely.LinearRing(ring).is_ccw  # section 3.1.6
    assert all(-180 <= x <= 180 and -90 <= y <= 90 and len(str(x).partition(".")[2]) <= 7 for x, y in ring)


def test_an_unknown_form_is_refused_before_anything_is_done(tmp_path):
    scene = write_tif(tmp_path / "s.tif", ramp())
    with pytest.raises(OptionError, match="wanted a name that ends in"):
        mask_scene(scene, tmp_path / "m.tif", polygons=tmp_path / "c.shp", model=bright)
    nowhere = write_tif(tmp_path / "n.tif", ramp(), GeoBox(90, 110, geobox().transform, None))
    with pytest.raises(OptionError, match="no place on Earth"):
        mask_scene(nowhere, tmp_path / "m.tif", polygons=tmp_path / "c.geojson", model=bright)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.tif", "s.tif"]
