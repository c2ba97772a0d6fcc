import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import grids

from geocloud.errors import OptionError
from geocloud.tiling.tiles import TileGrid


@given(grids())
def test_every_pixel_is_written_exactly_once(grid):
    written = np.zeros((grid.height, grid.width), int)
    for tile in grid:
        rows, cols = tile.write.toslices()
        assert 0 <= rows.start < rows.stop <= grid.height
        assert 0 <= cols.start < cols.stop <= grid.width
        written[rows, cols] += 1
    assert (written == 1).all()


@given(grids())
def test_what_is_written_was_read_by_that_tile(grid):
    for tile in grid:
        assert tile.read.row_off <= tile.write.row_off
        assert tile.read.col_off <= tile.write.col_off
        assert tile.write.row_off + tile.write.height <= tile.read.row_off + tile.read.height
        assert tile.write.col_off + tile.write.width <= tile.read.col_off + tile.read.width


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
def test_a_pixel_is_final_when_its_tile_was_predicted(grid):
    """No tile after the one that writes a pixel reads it with any weight."""
    tiles = list(grid)
    for i, tile in enumerate(tiles[:40]):
        for later in tiles[i + 1 : i + 40]:
            apart = (
                later.read.row_off >= tile.write.row_off + tile.write.height
                or later.read.col_off >= tile.write.col_off + tile.write.width
                or later.read.col_off + later.read.width <= tile.write.col_off
            )
            assert apart


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
        assert 0 <= over < 32 * count or size - 2 * overlap < 32  # half of a tile is overlap: no smaller ones


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
