"""Averaging to larger pixels and interpolating back, compared with independent implementations."""

import logging

import numpy as np
import pytest
import rasterio
from conftest import geobox, write_tif

from geocloud.errors import OptionError
from geocloud.models.metadata import ModelMetadata
from geocloud.models.predictor import Predictor
from geocloud.pipeline import MaskOptions, mask_scene
from geocloud.tiling.resample import Coarse, average, find_factors
from geocloud.tiling.tiles import Strip


def image_with_gaps(height, width, bands=4):
    """Reflectance with single missing pixels and a missing corner."""
    rng = np.random.default_rng(height * width)
    image = rng.random((bands, height, width), "float32")
    image[:, rng.random((height, width)) < 0.1] = np.nan
    image[:, : height // 3, : width // 4] = np.nan
    return image


def shares(size, factor):
    """Matrix ``(coarse, fine)``: length of each fine pixel inside each coarse pixel."""
    coarse = np.arange(int(np.ceil(size / factor - 1e-6)))[:, None]
    fine = np.arange(size)
    return np.clip(np.minimum((coarse + 1) * factor, fine + 1) - np.maximum(coarse * factor, fine), 0, None)


def by_hand(image, factors):
    """Area-weighted means, interpolated back, of a whole image in double precision."""
    height, width = image.shape[1:]
    down, across = shares(height, factors[0]), shares(width, factors[1])
    area = down @ np.isfinite(image) @ across.T
    with np.errstate(invalid="ignore"):
        means = np.where(area > 1e-6, down @ np.nan_to_num(image.astype("float64")) @ across.T / area, np.nan)
    rows, cols = means.shape[1:]
    around = np.pad(means, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    around = np.stack([around[:, i : i + rows, j : j + cols] for i in range(3) for j in range(3)])
    near = np.nansum(around, 0) / np.maximum(np.isfinite(around).sum(0), 1)
    filled = np.where(np.isnan(means), near, means)
    y, x = (
        np.clip((np.arange(n) + 0.5) / factor - 0.5, 0, m - 1)
        for n, m, factor in zip((height, width), (rows, cols), factors, strict=True)
    )
    top, left = y.astype(int), x.astype(int)
    bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, cols - 1)
    down, across = (y - top)[:, None], x - left
    upper = filled[:, top][:, :, left] * (1 - across) + filled[:, top][:, :, right] * across
    lower = filled[:, bottom][:, :, left] * (1 - across) + filled[:, bottom][:, :, right] * across
    back = upper * (1 - down) + lower * down
    back[:, np.isnan(image[0])] = np.nan
    return means, back


@pytest.mark.parametrize(
    ("height", "width", "factors"),
    [
        (100, 77, (3, 3)),
        (9, 10, (3, 3)),
        (64, 64, (2, 2)),
        (200, 33, (5, 5)),
        (1, 1, (3, 3)),
        (200, 77, (1.5, 1.5)),
        (101, 50, (1.5, 1)),
        (150, 61, (30 / 19.3, 30 / 12.9)),
        (90, 30, (1.1000001, 7.25)),
    ],
)
@pytest.mark.parametrize("pieces", [(5, 1, 2, 7, 1000), (1000,), (1,) * 200])
def test_there_and_back_in_strips_of_any_height(height, width, factors, pieces):
    image = image_with_gaps(height, width)
    if height == 1:
        image[:] = 0.5
    means, back = by_hand(image, factors)

    def read(first, out):
        out[...] = image[:, first : first + out.shape[1]]

    coarse = Coarse(read, height, width, factors)
    rows, cols = coarse.shape

    def strips():
        first = 0
        for piece in pieces:
            if first < rows:
                out = np.empty((4, min(piece, rows - first), cols), "float32")
                coarse.read(first, out)
                np.testing.assert_allclose(out, means[:, first : first + out.shape[1]], atol=1e-5)
                yield Strip(first, out[:2].copy())
                first += out.shape[1]

    found = list(coarse.enlarge(strips()))
    heights = [strip.probability.shape[1] for strip in found]
    assert [strip.first_row for strip in found] == list(np.cumsum([0, *heights[:-1]]))
    np.testing.assert_allclose(np.concatenate([s.probability for s in found], 1), back[:2], atol=1e-5)


def test_without_near_infrared_it_stays_missing():
    image = image_with_gaps(30, 40)
    image[3] = np.nan

    def read(first, out):
        out[...] = image[:, first : first + out.shape[1]]

    coarse = Coarse(read, 30, 40, (3, 3))
    out = np.empty((4, *coarse.shape), "float32")
    coarse.read(0, out)
    assert np.isnan(out[3]).all()
    np.testing.assert_allclose(out[:3], by_hand(image[:3], (3, 3))[0], atol=1e-5)


def test_an_average_is_of_what_holds_data():
    fine = np.array([[[1, 2, np.nan, np.nan], [3, np.nan, np.nan, np.nan]]], "float32")
    np.testing.assert_array_equal(average(fine, 2), [[[2, np.nan]]])
    thirds = np.array([[[0, 3, 6]], [[np.nan, 3, 6]]], "float32")  # pixels of 20 m brought to 30 m
    np.testing.assert_allclose(average(thirds, 1.5), [[[1, 5]], [[3, 5]]], atol=1e-6)


@pytest.mark.parametrize(
    ("pixel", "trained", "wanted", "factor"),
    [
        ((10, 10), 30, None, (3, 3)),
        ((15, 15), 30, None, (2, 2)),
        ((20, 20), 30, None, (1.5, 1.5)),
        ((30, 20), 30, None, (1, 1.5)),
        ((28, 29.999), 30, None, (1, 1)),
        ((60, 60), 30, None, (1, 1)),
        ((10, 10), None, None, (1, 1)),
        (None, 30, None, (1, 1)),
        ((10, 10), 30, "native", (1, 1)),
        ((10, 10), 30, 20, (2, 2)),
        ((20, 20), 30, "60", (3, 3)),
        ((0.5, 0.5), 30, None, (60, 60)),
    ],
)
def test_by_how_much_a_scene_is_averaged(pixel, trained, wanted, factor):
    assert find_factors(pixel, trained, wanted) == factor


def test_a_pixel_size_that_cannot_be_one_is_refused():
    with pytest.raises(OptionError, match="5e-05 m: wanted at least"):
        find_factors((5e-5, 5e-5), 30)


@pytest.mark.parametrize(
    ("pixel", "wanted"), [((10, 10), "coarse"), ((10, 10), 0), ((10, 10), "nan"), ((10, 10), 301), (None, 30)]
)
def test_resolutions_that_make_no_sense_are_refused(pixel, wanted):
    with pytest.raises(OptionError, match="resolution"):
        find_factors(pixel, 30, wanted)


class Bright:
    """A model: pixels bright in red are cloud."""

    def __init__(self):
        self.seen = []

    def __call__(self, tiles):
        self.seen.append(tiles.shape)
        return np.nan_to_num(tiles[:, :1])


def test_a_fine_scene_is_masked_in_the_models_pixels_on_its_own_grid(tmp_path):
    image = image_with_gaps(500, 430)
    write_tif(tmp_path / "s.tif", image, geobox(500, 430, size=10), descriptions=("red", "green", "blue", "nir"))
    bright = Bright()
    model = Predictor(bright, ModelMetadata(pixel_size=30, optional_nir=True))
    mask_scene(tmp_path / "s.tif", tmp_path / "m.tif", model=model)
    assert sum(shape[-1] * shape[-2] for shape in bright.seen) < 500 * 430 / 2, "a ninth of the pixels, and margins"
    with rasterio.open(tmp_path / "m.tif") as dataset:
        assert dataset.shape == (500, 430)
        found = dataset.read(1)
    _, back = by_hand(image, (3, 3))
    sure = np.abs(back[0] - 0.5) > 1e-4
    np.testing.assert_array_equal(found == 255, np.isnan(image[0]))
    np.testing.assert_array_equal(found[sure] == 1, back[0][sure] > 0.5)
    mask_scene(tmp_path / "s.tif", tmp_path / "n.tif", model=model, options=MaskOptions(working_resolution="native"))
    with rasterio.open(tmp_path / "n.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1) == 1, np.nan_to_num(image[0]) > 0.5)


def test_three_bands_are_masked_with_a_note(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("geocloud"), "propagate", True)  # an earlier command may have turned it off
    image = np.random.default_rng(0).random((3, 60, 70), "float32")
    write_tif(tmp_path / "s.tif", image, geobox(60, 70), descriptions=("red", "green", "blue"))
    seen = []

    def model(tiles):
        seen.append(np.isnan(tiles[:, 3]).all() and np.isfinite(tiles[:, :3, :60, :70]).all())
        return np.nan_to_num(tiles[:, 0])

    with caplog.at_level(logging.WARNING, "geocloud"):
        mask_scene(tmp_path / "s.tif", tmp_path / "m.tif", model=model)
    assert all(seen)
    assert "without near-infrared" in caplog.text
    with rasterio.open(tmp_path / "m.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1) == 1, image[0] > 0.5)
