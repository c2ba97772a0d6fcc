"""Previews: content and position."""

import numpy as np
import pytest
import rasterio
from conftest import bright, geobox, ramp, write_tif
from PIL import Image
from scipy import ndimage

from geocloud.errors import GridError, OptionError, OutputExistsError
from geocloud.options import MaskOptions
from geocloud.pipeline import mask_scene
from geocloud.preview.draw import preview_scene
from geocloud.preview.render import Overview, outline, overlay, render
from geocloud.readers import open_scene
from geocloud.writers.styles import CLOUD_RGB

PLAIN = {"size": 110, "caption": False}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


@pytest.fixture
def scene(tmp_path):
    image = ramp()
    image[:, :10] = np.nan
    return write_tif(tmp_path / "scene.tif", image, descriptions=("red", "green", "blue", "nir"))


def test_the_picture_is_the_scene(scene, tmp_path):
    assert preview_scene(scene, tmp_path / "p.png", **PLAIN) == (90, 110)
    seen = pixels(tmp_path / "p.png")
    assert (seen[:10, :, 3] == 0).all() and (seen[10:, :, 3] == 255).all()
    red = seen[10:, :, 0].astype(int).ravel()
    assert (
        (np.diff(red) >= 0).all() and red[0] < 20 and red[-1] > 220
    )  # the ramp grows from the first pixel to the last


def test_clouds_are_outlined_or_overlaid_where_they_are(scene, tmp_path):
    mask_scene(scene, tmp_path / "m.tif", model=bright)
    with rasterio.open(tmp_path / "m.tif") as dataset:
        mask = dataset.read(1)
    for cloud in ("outline", "overlay"):
        preview_scene(scene, tmp_path / f"{cloud}.png", mask=tmp_path / "m.tif", cloud=cloud, beside=True, **PLAIN)
        plain, over = np.split(np.delete(pixels(tmp_path / f"{cloud}.png"), np.s_[110:118], 1), 2, 1)
        changed = (over != plain).any(-1)
        near = ndimage.binary_dilation(mask == 1) if cloud == "outline" else mask == 1
        assert changed.any() and not changed[~near].any()
        if cloud == "overlay":
            assert changed[mask == 1].all()
    line = outline(plain, mask)
    assert (line[mask == 1] == (*CLOUD_RGB, 255)).all(-1).any()
    assert (overlay(plain, mask)[mask != 1] == plain[mask != 1]).all()


def test_side_by_side_caption_and_forms(scene, tmp_path):
    mask_scene(scene, tmp_path / "m.tif", model=bright)
    mask = tmp_path / "m.tif"
    height, width = preview_scene(scene, tmp_path / "p.jpg", mask=mask, size=110, beside=True, colour="both")
    assert width == 4 * 110 + 3 * 8 and height > 90
    strip = pixels(tmp_path / "p.jpg")[90:, :, :3]
    assert (strip < 100).all(-1).sum() > 50  # the caption
    assert preview_scene(scene, tmp_path / "p.webp", **PLAIN) == (90, 110)


def test_large_scenes_are_read_at_a_fraction(tmp_path):
    image = np.repeat(np.repeat(ramp(60, 80), 8, 1), 8, 2)
    path = write_tif(tmp_path / "large.tif", image, geobox(480, 640), descriptions=("red", "green", "blue", "nir"))
    with open_scene(path) as scene:
        np.testing.assert_allclose(scene.shrink(80), ramp(60, 80), rtol=1e-6)
        assert scene.shrink(5000).shape == (4, 480, 640)


def test_an_overview_is_gathered_as_rows_pass():
    for side in (7, 30, 200):
        whole, gathered = ramp(90, 110), Overview(side)
        for first in range(0, 90, 13):
            gathered.take(first, whole[:, first : first + 13])
        seen, step = gathered.reflectance, gathered.step
        np.testing.assert_array_equal(seen, whole[:, ::step, ::step])
        assert max(seen.shape) <= max(side, 4)


def test_a_high_scene_has_an_overview_too():
    whole, gathered = ramp(500, 11), Overview(40)
    for first in range(0, 500, 64):
        gathered.take(first, whole[:, first : first + 64])
    np.testing.assert_array_equal(gathered.reflectance, whole[:, :: gathered.step, :: gathered.step])
    assert max(gathered.reflectance.shape) <= 40


@pytest.mark.parametrize("cover", [0.0, 0.2, 0.6])
def test_the_land_is_seen_whether_there_are_clouds_or_not(cover):
    """Forest and fields with reflectance 0.05 to 0.15, under clouds with 0.8."""
    rng = np.random.default_rng(1)
    land = rng.uniform(0.05, 0.15, (4, 60, 60)).astype("float32")
    mask = (np.arange(60) < 60 * cover)[:, None] * np.ones(60, "uint8")
    cloudy = np.where(mask, np.float32(0.8), land)
    picture = render(cloudy, clear=mask == 0)[..., :3].mean(-1)
    assert 100 < np.median(picture[mask == 0]) < 180
    assert not cover or picture[mask == 1].min() > 240
    if cover < 0.5:  # also without a mask, unless most of the scene is cloud
        assert np.median(render(cloudy)[mask == 0][:, :3]) > 80


def test_a_scene_without_data_is_transparent():
    assert not render(np.full((4, 5, 6), np.nan, "float32")).any()


def test_what_makes_no_sense_is_refused(scene, tmp_path):
    other = write_tif(tmp_path / "other.tif", np.zeros((1, 9, 9), "uint8"))
    with pytest.raises(GridError, match="its grid differs"):
        preview_scene(scene, tmp_path / "p.png", mask=other)
    with pytest.raises(OptionError, match="wanted a name that ends in"):
        preview_scene(scene, tmp_path / "p.gif")
    with pytest.raises(OptionError, match="name a mask"):
        preview_scene(scene, tmp_path / "p.png", beside=True)
    preview_scene(scene, tmp_path / "p.png", **PLAIN)
    with pytest.raises(OutputExistsError):
        preview_scene(scene, tmp_path / "p.png", **PLAIN)


def test_mask_and_scene_from_south_to_north(tmp_path):
    for name, grid, rows in (("north", geobox(), slice(None)), ("south", geobox().flip(), slice(None, None, -1))):
        path = write_tif(tmp_path / f"{name}.tif", ramp()[:, rows].copy(), grid)
        mask_scene(path, tmp_path / "m.tif", model=bright, options=MaskOptions(overwrite=True))
        preview_scene(path, tmp_path / f"{name}.png", mask=tmp_path / "m.tif", **PLAIN)
    np.testing.assert_array_equal(pixels(tmp_path / "south.png"), pixels(tmp_path / "north.png"))
