import pytest
import rasterio.transform
from affine import Affine
from conftest import geobox
from rasterio.crs import CRS
from rasterio.windows import Window

from geocloud.grid import GeoBox


def test_cropping_a_grid_moves_it_as_rasterio_does():
    grid = geobox()
    window = Window(17, 5, 30, 20)
    cropped = grid.crop(window)
    assert cropped.shape == (20, 30)
    assert cropped.transform == rasterio.windows.transform(window, grid.transform)


def test_pixel_size_is_in_metres_whatever_the_crs():
    assert geobox().pixel_size == (30, 30)
    assert GeoBox(5, 5, Affine.identity(), None).pixel_size is None
    feet = GeoBox(5, 5, Affine(100, 0, 0, 0, -50, 0), CRS.from_epsg(2263))  # New York, US survey feet
    assert feet.pixel_size == pytest.approx((15.24, 30.48), rel=1e-4)
    degrees = GeoBox(10, 10, Affine(0.01, 0, 20, 0, -0.01, 60.05), CRS.from_epsg(4326))
    assert degrees.pixel_size == pytest.approx((1114, 558), rel=2e-3)
    mercator = GeoBox(10, 10, Affine(30, 0, 2e6, 0, -30, 8.4e6), CRS.from_epsg(3857))  # 60° north: stretched twofold
    assert mercator.pixel_size == pytest.approx((15, 15), rel=0.01)


def test_grids_agree_within_a_hundredth_of_a_pixel():
    grid = geobox()
    near = GeoBox(90, 110, grid.transform @ Affine.translation(0.005, 0), grid.crs)
    far = GeoBox(90, 110, grid.transform @ Affine.translation(0.02, 0), grid.crs)
    assert grid.agrees_with(near)
    assert not grid.agrees_with(far)
    assert not grid.agrees_with(geobox(90, 111))
    assert not grid.agrees_with(geobox(crs=None))
