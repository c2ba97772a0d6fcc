import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_grid import grids

from geocloud.tiling.blend import blend, tile_rows
from geocloud.tiling.tiles import TileGrid


def rows_of(grid, image):
    """Rows of tiles, cut from an image in memory."""
    asked = []

    def read(first, out):
        asked.append((first, out.shape[1]))
        out[...] = image[:, first : first + out.shape[1]]

    yield from tile_rows(grid, read)
    assert [first for first, _ in asked] == list(np.cumsum([0, *(count for _, count in asked)])[:-1])
    assert sum(count for _, count in asked) == grid.height


@given(grids())
def test_beyond_the_edges_a_row_of_tiles_is_mirrored(grid):
    image = np.arange(4 * grid.height * grid.width, dtype="float32").reshape(4, grid.height, grid.width)
    for row, found in enumerate(rows_of(grid, image)):
        top = row * grid.step
        assert found.shape == (4, grid.tile_height, grid.reach)
        rows = np.arange(top, min(top + grid.tile_height, grid.height))
        np.testing.assert_array_equal(found[:, rows - top, : grid.width], image[:, rows])
        if grid.width < grid.reach:
            np.testing.assert_array_equal(found[:, rows - top, grid.width], image[:, rows, -1])
        if top + grid.tile_height > grid.height:
            np.testing.assert_array_equal(found[:, grid.height - top, : grid.width], image[:, -1])


class Model:
    """A function as model, with a batch size and a number of threads."""

    def __init__(self, function, batch=3, workers=1):
        self.function, self.batch, self.workers = function, batch, workers
        self.threads = set()

    def __call__(self, tiles):
        self.threads.add(threading.get_ident())
        return self.function(tiles)[:, None]


def run(grid, image, predict, batch=3, workers=1):
    strips = list(blend(grid, rows_of(grid, image), Model(predict, batch, workers)))
    assert [s.first_row for s in strips] == list(np.cumsum([0, *(s.probability.shape[1] for s in strips)])[:-1])
    return np.concatenate([s.probability[0] for s in strips])


@pytest.mark.parametrize("batch", [1, 2])
def test_several_threads_give_what_one_gives(batch):
    grid = TileGrid(200, 700, (64, 96), 16)
    image = np.random.default_rng(1).random((4, 200, 700), "float32")
    image[:, 90:120, 300:] = np.nan

    def slow_at_first(tiles):
        time.sleep(0.01 * float(np.nanmax(tiles[0, 0])))
        return np.nan_to_num(tiles[:, 1])

    one, three = (run(grid, image, slow_at_first, batch, workers) for workers in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_what_goes_wrong_in_a_thread_is_raised():
    def broken(tiles):
        raise ValueError("no such tile")

    with pytest.raises(ValueError, match="no such tile"):
        run(TileGrid(100, 500, 64, 0), np.ones((4, 100, 500), "float32"), broken, workers=2)


@settings(max_examples=40)
@given(grids(), st.integers(0, 2**31))
def test_a_model_that_looks_at_single_pixels_gives_the_same_however_the_scene_is_cut(grid, seed):
    image = np.random.default_rng(seed).random((4, grid.height, grid.width), "float32")
    found = run(grid, image, lambda batch: np.nan_to_num(batch[:, 2]))
    np.testing.assert_allclose(found, image[2], atol=2e-6)


@settings(max_examples=30)
@given(grids(), st.integers(0, 2**31))
def test_no_data_stays_no_data_and_touches_nothing_else(grid, seed):
    rng = np.random.default_rng(seed)
    image = rng.random((4, grid.height, grid.width), "float32")
    missing = rng.random((grid.height, grid.width)) < 0.5
    image[:, missing] = np.nan
    found = run(grid, image, lambda batch: np.nan_to_num(batch[:, 0]))
    assert (np.isnan(found) == missing).all()
    np.testing.assert_allclose(found[~missing], image[0][~missing], atol=2e-6)


def test_tiles_without_any_data_never_reach_the_model():
    grid = TileGrid(300, 300, 64, 0)
    image = np.full((4, 300, 300), np.nan, "float32")
    image[:, 70:75, 130:140] = 0.5  # inside one tile
    seen = []
    run(grid, image, lambda batch: seen.append(len(batch)) or batch[:, 0])
    assert seen == [1]


def test_a_model_sees_no_more_tiles_at_a_time_than_asked():
    seen = []
    run(TileGrid(100, 500, 64, 0), np.ones((4, 100, 500), "float32"), lambda b: seen.append(len(b)) or b[:, 0], batch=3)
    assert seen == [3, 3, 2, 3, 3, 2]


def test_neighbours_that_disagree_meet_in_a_ramp_and_not_in_a_seam():
    """Between two tiles of 0 and 1, the middle eighth of the overlap is a linear ramp."""
    grid = TileGrid(64, 96, 64, 32)
    answers = iter([0.0, 1.0])
    found = run(
        grid, np.ones((4, 64, 96), "float32"), lambda b: np.full(b[:, 0].shape, next(answers), "float32"), batch=1
    )
    assert (np.diff(found, axis=1) <= 1 / 4 + 1e-6).all()
    assert (found[0, : 32 + 12] == 0).all()  # the right tile's first pixels do not count
    assert (found[0, 64 - 12 :] == 1).all()


@settings(max_examples=20)
@given(arrays("bool", st.tuples(st.integers(1, 90), st.integers(1, 90))))
def test_masks_survive_blending(cloud):
    grid = TileGrid(*cloud.shape, 64, 16)
    image = np.broadcast_to(cloud.astype("float32"), (4, *cloud.shape)).copy()
    assert ((run(grid, image, lambda b: np.nan_to_num(b[:, 0])) > 0.5) == cloud).all()
