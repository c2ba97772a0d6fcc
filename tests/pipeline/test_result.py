"""Display of scenes and results in notebooks."""

import base64
import io
import re

import numpy as np
import pytest
from conftest import bright, geobox, ramp, read_tif, write_tif
from PIL import Image

import geocloud
from geocloud.pipeline import mask_scene
from geocloud.readers import open_scene
from geocloud.writers.styles import CLOUD_RGB


@pytest.fixture
def made(tmp_path):
    image = ramp()
    image[:, :10] = np.nan
    scene = write_tif(tmp_path / "a<b.tif", image)
    return mask_scene(scene, tmp_path / "m.tif", polygons=tmp_path / "m.gpkg", model=bright)


def picture_in(html):
    data = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_scene_shows_itself(made):
    with open_scene(made.source) as scene:
        html = scene._repr_html_()
    assert "a&lt;b" in html and "a<b" not in html
    for fact in ("90 rows, 110 columns", "30 m × 30 m", "EPSG:32633", "reflectance"):
        assert fact in html
    seen = picture_in(html)
    assert seen.shape == (90, 110, 4)
    assert (seen[:10, :, 3] == 0).all() and (seen[10:, :, 3] == 255).all()
    assert "<img" not in scene._repr_html_()  # closed: only the table remains


def test_a_result_shows_its_clouds_and_facts(made, tmp_path):
    html = made._repr_html_()
    assert f"{made.cloud_percent:.1f} %" in html and "m.gpkg" in html
    mask, seen = read_tif(made.mask)[0], picture_in(html)
    line = (seen == (*CLOUD_RGB, 255)).all(-1)
    assert line.any() and (mask[line] == 1).all()
    (tmp_path / "a<b.tif").unlink()
    assert (picture_in(made._repr_html_())[mask == 1][:, :3] == CLOUD_RGB).all()  # the mask remains


def test_a_result_as_xarray_lies_where_the_mask_does(made):
    pytest.importorskip("xarray")
    array, grid = made.to_xarray(), geobox()
    np.testing.assert_array_equal(array.values, read_tif(made.mask)[0])
    assert (float(array.x[0]), float(array.y[-1])) == (grid.transform.c + 15, grid.bounds.bottom + 15)
    assert array.spatial_ref.attrs["crs_wkt"] == grid.crs.to_wkt()
    assert array.flag_meanings.split() == ["clear", "cloud", "no_data"] and array.flag_values == [0, 1, 255]


def test_its_polygons_are_those_written_or_else_all_of_the_mask(made, tmp_path):
    written = made.to_geodataframe()
    assert len(written) == made.polygon_count and "mean_probability" in written
    plain = mask_scene(made.source, tmp_path / "n.tif", model=bright).to_geodataframe()
    assert plain.area.sum() == 900 * (read_tif(made.mask) == 1).sum() and plain.crs.to_epsg() == 32633


def test_a_plot_has_the_coordinates_of_the_scene(made):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    axes = made.plot()
    box = geobox().bounds
    assert axes.images[0].get_extent() == [box.left, box.right, box.bottom, box.top]
    assert f"{made.cloud_percent:.1f} % cloud" in axes.get_title()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cloud"]
    matplotlib.pyplot.close()


def test_what_was_said_of_the_source_is_said_again_for_the_picture(tmp_path):
    path = write_tif(tmp_path / "s.tif", (ramp() * 1000).astype("uint16"))
    read = geocloud.ReadOptions(scale=0.001, extent=(500_100, 5_398_000, 501_000, 5_399_500))
    made = mask_scene(path, tmp_path / "m.tif", model=bright, read=read)
    assert picture_in(made._repr_html_()).shape[:2] == (made.height, made.width) == (50, 30)
    assert "read" not in made.to_json()
