"""Part of a scene is that part of the whole."""

import numpy as np
import pytest
import rasterio
from conftest import bright, geobox, ramp, read_tif, write_tif

from geocloud.errors import GridError, OptionError
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
    with pytest.raises(GridError, match="nothing of it lies in the extent"):
        open_scene(path, ReadOptions(extent=(0, 0, 10, 10)))
    with pytest.raises(OptionError, match="right of left"):
        ReadOptions(extent=(10, 0, 0, 10))
