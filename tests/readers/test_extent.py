"""Extents give the same pixels as the whole scene; the pixel size can be given by the user."""

import logging

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import bright, geobox, ramp, read_tif, write_tif
from rasterio.crs import CRS

from geocloud.errors import GridError, OptionError
from geocloud.grid import GeoBox
from geocloud.models.metadata import ModelMetadata
from geocloud.models.predictor import Predictor
from geocloud.pipeline import mask_scene
from geocloud.readers import ReadOptions, open_scene


def test_an_extent_is_the_part_of_the_whole(tmp_path):
    path = write_tif(tmp_path / "s.tif", ramp())
    left, bottom, _, top = rasterio.transform.array_bounds(90, 110, geobox().transform)
    extent = (left + 20 * 30, bottom - 999, left + 50 * 30 + 1, top - 40 * 30)
    mask_scene(path, tmp_path / "whole.tif", model=bright)
    mask_scene(path, tmp_path / "part.tif", model=bright, read=ReadOptions(extent=extent))
    np.testing.assert_array_equal(read_tif(tmp_path / "part.tif"), read_tif(tmp_path / "whole.tif")[:, 40:, 20:51])
    with rasterio.open(tmp_path / "part.tif") as part:
        assert part.bounds == (left + 600, bottom, left + 51 * 30, top - 1200)
    with open_scene(path, ReadOptions(extent=extent)) as scene:
        np.testing.assert_allclose(scene.shrink(1000), ramp()[:, 40:, 20:51])


def test_extents_that_make_no_sense(tmp_path):
    path = write_tif(tmp_path / "s.tif", ramp())
    with pytest.raises(GridError, match="no pixels in the extent"):
        open_scene(path, ReadOptions(extent=(0, 0, 10, 10)))
    with pytest.raises(OptionError, match="right of left"):
        ReadOptions(extent=(10, 0, 0, 10))
    for extent in ((0, 0, np.inf, np.inf), (-np.inf, 0, 1, 1), (0, np.nan, 1, 1)):
        with pytest.raises(OptionError, match="wanted finite left"):
            ReadOptions(extent=extent)


def test_a_crs_without_a_geotransform_gives_no_pixel_size(tmp_path, caplog, monkeypatch):
    """And the rows are not turned, as they would be if the identity were a transform with south up."""
    monkeypatch.setattr(logging.getLogger("geocloud"), "propagate", True)
    grid = GeoBox(90, 110, Affine.identity(), CRS.from_epsg(32632))
    path = write_tif(tmp_path / "i.tif", ramp(), grid, descriptions=("red", "green", "blue", "nir"))
    with open_scene(path) as scene:
        assert scene.grid.pixel_size is None and not scene.south_up
        np.testing.assert_array_equal(scene.read().data, ramp())
    assert "pixel size unknown" in caplog.text


def test_a_grid_beyond_its_crs_is_refused(tmp_path):
    grid = GeoBox(90, 110, Affine(0.001, 0, 10, 0, -0.001, 120), CRS.from_epsg(4326))  # latitude 120
    with pytest.raises(GridError, match=r"s\.tif: bounds 10,119\.91,10\.11,120 are outside EPSG:4326"):
        open_scene(write_tif(tmp_path / "s.tif", ramp(), grid))


@pytest.mark.parametrize("crs", [None, CRS.from_wkt('LOCAL_CS["Unknown",UNIT["metre",1]]')])
def test_pixels_of_known_size_are_averaged_without_a_place(tmp_path, crs, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("geocloud"), "propagate", True)
    image = np.random.default_rng(0).random((4, 120, 90), "float32")
    names = ("red", "green", "blue", "nir")
    model = Predictor(bright, ModelMetadata(pixel_size=30, optional_nir=True))
    placed = write_tif(tmp_path / "placed.tif", image, geobox(120, 90, size=10), descriptions=names)
    write_tif(tmp_path / "s.tif", image, geobox(120, 90, crs, 10), descriptions=names)
    read = ReadOptions(pixel_size=10) if crs is None else ReadOptions()
    for path, options in ((placed, ReadOptions()), (tmp_path / "s.tif", read)):
        mask_scene(path, path.with_suffix(".mask.tif"), model=model, read=options)
    assert "pixel size unknown" not in caplog.text
    expected, found = (read_tif(tmp_path / f"{name}.mask.tif")[0] for name in ("placed", "s"))
    np.testing.assert_array_equal(found, expected)
    mask_scene(tmp_path / "s.tif", tmp_path / "n.tif", model=model, read=ReadOptions())
    assert ("pixel size unknown" in caplog.text) == (crs is None)
    assert (read_tif(tmp_path / "n.tif")[0] == expected).all() == (crs is not None)
