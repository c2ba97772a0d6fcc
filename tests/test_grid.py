import numpy as np
import pytest
import rasterio.transform
from affine import Affine
from conftest import geobox
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window

from geocloud.errors import OptionError
from geocloud.grid import GeoBox
from geocloud.tiling.tiles import TileGrid

sizes = st.integers(1, 700)
tilings = st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(32 * n), st.integers(0, 16 * n)))


@st.composite
def grids(draw):
    tile, overlap = draw(tilings)
    wider = draw(st.integers(0, 3))
    size = (tile, tile + 32 * wider) if wider else tile
    return TileGrid(draw(sizes), draw(sizes), size, overlap)


@given(grids())
def test_weights_of_all_tiles_sum_to_one_at_every_pixel(grid):
    high, wide = grid.tile_height, grid.tile_width
    total = np.zeros((grid.height + 2 * high, grid.width + 2 * wide))
    for tile in grid:
        top, left = int(tile.read.row_off) + high, int(tile.read.col_off) + wide
        weights = np.outer(grid.row_weights(tile.row), grid.col_weights(tile.col))
        total[top : top + high, left : left + wide] += weights
    inside = slice(high, high + grid.height), slice(wide, wide + grid.width)
    np.testing.assert_allclose(total[inside], 1, atol=1e-6)


@given(grids())
def test_tiles_cover_the_raster_and_no_more_of_them_than_needed(grid):
    last = list(grid)[-1].read
    assert len(list(grid)) == len(grid)
    for start, size, length in ((last.row_off, last.height, grid.height), (last.col_off, last.width, grid.width)):
        assert start + size >= length and (start == 0 or start + grid.overlap < length)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"tile_size": 100}, "tile size"),
        ({"tile_size": 0}, "tile size"),
        ({"tile_size": (384, 100)}, "tile size"),
        ({"overlap": 200}, "overlap"),
        ({"overlap": -1}, "overlap"),
    ],
)
def test_impossible_tilings_are_refused(options, word):
    with pytest.raises(OptionError, match=word):
        TileGrid(500, 500, **options)


@given(st.integers(1, 9000), st.integers(1, 30_000), st.sampled_from([None, 320, 384, 1024]), st.integers(0, 160))
def test_fitted_tiles_are_no_larger_than_they_need_be(height, width, tile_size, overlap):
    grid = TileGrid.fitted(height, width, tile_size, overlap)
    largest = (tile_size, tile_size) if tile_size else (768, 1216)
    plain = TileGrid(height, width, largest, overlap)
    assert grid.tile_height <= largest[0]
    assert grid.tile_width <= largest[1]
    assert grid.cols == plain.cols
    if tile_size or width <= 10_000:
        assert grid.rows == plain.rows
        assert len(grid) == 1 or len(grid) * grid.tile_height * grid.tile_width <= 1.01 * len(plain) * np.prod(largest)
    beyond = (grid.rows - 1) * grid.step + grid.tile_height - height, grid.reach - width
    for over, size, count in zip(beyond, (grid.tile_height, grid.tile_width), (grid.rows, grid.cols), strict=True):
        assert 0 <= over < 32 * count or size - 2 * overlap < 32  # smaller tiles would be half overlap


@given(grids(), st.data())
def test_few_tiles_cover_the_part_of_a_row_that_has_data(grid, data):
    left = data.draw(st.integers(0, grid.reach - 1))
    right = data.draw(st.integers(left + 1, grid.reach))
    starts = grid.starts(left, right)
    weights = np.zeros(grid.reach)
    for col, start in enumerate(starts):
        assert 0 <= start <= grid.reach - grid.tile_width
        weights[start : start + grid.tile_width] += grid.col_weights(col, len(starts))
    np.testing.assert_allclose(weights[left:right], 1, rtol=1e-6)
    step = grid.tile_width - grid.overlap
    assert len(starts) == 1 or len(starts) < (right - left - grid.overlap) / step + 1
    if len(starts) == grid.cols:
        assert starts == [col * step for col in range(grid.cols)]


def test_a_row_of_tiles_takes_bounded_memory():
    for width in (7700, 15_400, 20_000):
        grid = TileGrid.fitted(8000, width)
        assert grid.tile_height * grid.reach * 16 <= 170e6


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
