"""A model that looks twice: where its first look takes bright ground for cloud, and its second does not."""

import numpy as np
import pytest

from geocloud.tiling.array import predict_image
from geocloud.tiling.looks import TIMES
from geocloud.tiling.model import PlainFunction

BRIGHT, DARK = 0.4, 0.1


class Model:
    """Finds the probability in near-infrared and, without it, a tenth of rounded blue. Keeps what it was shown."""

    looks_twice, classes = True, 2

    def __init__(self):
        self.shown = []

    def __call__(self, tiles):
        self.shown.append(tiles.copy())
        cloud = np.where(np.isnan(tiles[:, 3]), tiles[:, 2].round(2) / 10, tiles[:, 3])
        return np.stack([cloud, np.full_like(cloud, 0.5)], 1)


def scene(height=64, width=96, ground=BRIGHT, probability=0.9):
    image = np.full((4, height, width), ground, "float32")
    image[2], image[3] = 0.5, probability
    image[:3] += np.linspace(0, 1e-3, height * width, dtype="float32").reshape(height, width)  # not saturated
    return image


def masked(image, metres=30.0, model=None):
    function = model or Model()
    return predict_image(PlainFunction(function, looks_twice=True, classes=2), image, pixel_size=metres)


@pytest.mark.parametrize("shape", [(64, 96), (61, 97)])
def test_bright_cloud_that_the_second_look_does_not_find_is_taken_back(shape):
    image = scene(*shape)
    image[:2, :6], image[3, 40:] = DARK, 0.15
    found = masked(image)
    np.testing.assert_allclose(found[0, :6], 0.9, atol=1e-6)  # dark: not doubted
    np.testing.assert_allclose(found[0, 6:40], TIMES * 0.05, atol=1e-6)
    np.testing.assert_allclose(found[0, 40:], 0.15, atol=1e-6)  # less than it may be
    np.testing.assert_allclose(found[1], 0.5, atol=1e-6)


def test_soil_is_as_bright_as_its_red():
    image = scene(ground=DARK)
    image[0] += BRIGHT
    np.testing.assert_allclose(masked(image)[0], TIMES * 0.05, atol=1e-6)


def test_bright_tops_of_dark_cloud_stay():
    image = scene(ground=DARK)
    image[:2, 30:42, 45:60] = BRIGHT
    np.testing.assert_allclose(masked(image)[0], 0.9, atol=1e-6)


def test_what_saturates_the_sensor_stays():
    """A third of the bright ground is as bright as its blue band can tell."""
    image = scene()
    image[2, :, 60:] = 0.6
    found = masked(image)[0]
    np.testing.assert_allclose(found[:, 60:], 0.9, atol=1e-6)
    np.testing.assert_allclose(found[:, :57], TIMES * 0.05, atol=1e-6)


def test_cloud_near_to_what_the_second_look_finds_is_kept():
    image = scene()
    image[2, 30:33, 45:48] += 0.4  # one square of the second look, among much that is doubted
    found = masked(image)[0]
    np.testing.assert_allclose(found[27:36, 42:51], TIMES * 0.09, atol=1e-6)
    assert np.isclose(found, TIMES * 0.09, atol=1e-6).sum() == 81


def test_the_second_look_sees_means_without_near_infrared():
    model, image = Model(), scene()
    image[:3] += np.random.default_rng(0).uniform(0, 0.1, image[:3].shape).astype("float32")
    image[:, :3, :3] = np.nan
    image[:, 6, 6] = np.nan
    masked(image, model=model)
    _, second = model.shown
    assert second.shape == (1, 4, 64, 64)  # the tile of 128×128 and what the stride of 32 asks for
    assert np.isnan(second[0, 3]).all() and np.isnan(second[0, :3, 0, 0]).all()
    np.testing.assert_allclose(second[0, :3, 1, 1], image[:3, 3:6, 3:6].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(second[0, :3, 2, 2], np.nanmean(image[:3, 6:9, 6:9], (1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    "image", [scene(ground=DARK), scene(probability=0.05)], ids=["nothing bright", "nothing found"]
)
def test_where_there_is_nothing_to_doubt_it_looks_once(image):
    model = Model()
    np.testing.assert_allclose(masked(image, model=model)[0], image[3], atol=1e-6)
    assert len(model.shown) == 1


@pytest.mark.parametrize(("metres", "times"), [(None, 2), (45.0, 2), (46.0, 1)])
def test_large_pixels_are_looked_at_once(metres, times):
    model = Model()
    masked(scene(), metres, model)
    assert len(model.shown) == times


def test_however_it_is_cut_into_tiles_a_scene_is_seen_in_the_same_squares():
    image = scene(400, 500)
    image[2] += np.random.default_rng(0).uniform(-0.2, 0.2, image[2].shape).astype("float32")
    image[:, 100:103, 70:90] = np.nan
    predict = PlainFunction(Model(), looks_twice=True, classes=2, batch=3, workers=2)
    whole, *cut = (
        predict_image(predict, image, tile_size=size, overlap=overlap)[0]
        for size, overlap in ((512, 0), (224, 96), (320, 128))
    )
    assert 0.15 < np.nanmean(whole) < 0.3
    for other in cut:
        np.testing.assert_allclose(other, whole, atol=0.01)


@pytest.mark.parametrize("there", [0.0, 0.9, np.nan])
def test_what_a_model_finds_where_there_is_no_data_does_not_count(there):
    image = scene(96, 192)
    image[:, :, 60:] = np.nan

    def predict(tiles):
        return np.where(np.isnan(tiles[:, 0]), np.float32(there), Model()(tiles)[:, 0])

    found = predict_image(PlainFunction(predict, looks_twice=True), image, pixel_size=30.0)[0]
    np.testing.assert_allclose(found[:, :60], TIMES * 0.05, atol=1e-6)
    assert np.isnan(found[:, 60:]).all()


def test_what_a_function_returns_is_left_as_it_is():
    shown = []

    def part_of_its_input(tiles):
        shown.append((tiles, tiles.copy()))
        return tiles[:, 2] / 10 if len(shown) > 1 else tiles[:, 3]  # the second look; the first

    def read_only(tiles):
        return np.broadcast_to(np.float32(0.9), tiles[:, 3:].shape)

    found = predict_image(PlainFunction(part_of_its_input, looks_twice=True), scene(), pixel_size=30.0)
    np.testing.assert_allclose(found, TIMES * 0.05, atol=1e-3)  # taken back, and not in what it was shown
    np.testing.assert_array_equal(*shown[0])
    np.testing.assert_allclose(predict_image(PlainFunction(read_only, looks_twice=True), scene()), 0.9, atol=1e-6)


def test_a_bright_tile_beside_a_dark_one():
    image = scene(256, 96)
    image[:3, :128] = DARK
    predict = PlainFunction(Model(), looks_twice=True, classes=2, batch=2)
    found = predict_image(predict, image.swapaxes(1, 2), tile_size=128, overlap=0, pixel_size=30.0)[0].T
    np.testing.assert_allclose(found[:128], 0.9, atol=1e-6)
    np.testing.assert_allclose(found[128:], TIMES * 0.05, atol=1e-6)


def test_a_plain_function_is_asked_once():
    model = Model()
    predict_image(PlainFunction(model, classes=2), scene(), pixel_size=30.0)
    assert len(model.shown) == 1


def test_the_size_that_decides_is_that_of_averaged_pixels(tmp_path):
    """A scene of 10 m is averaged to 30 m, and looked at twice; one of 60 m, once."""
    import rasterio

    from geocloud import MaskOptions, mask_scene

    for metres, times in ((10, 2), (60, 1)):
        path, model = tmp_path / f"{metres}.tif", Model()
        profile = {"driver": "GTiff", "height": 96, "width": 96, "count": 4, "dtype": "float32", "crs": "EPSG:32632"}
        place = rasterio.Affine(metres, 0, 500_000, 0, -metres, 5_000_000)
        with rasterio.open(path, "w", **profile, transform=place) as out:
            out.write(scene(96, 96))
            out.descriptions = ("red", "green", "blue", "nir")
        predict = PlainFunction(model, looks_twice=True, classes=2, pixel_size=30.0)
        mask_scene(path, tmp_path / "mask.tif", model=predict, options=MaskOptions(overwrite=True))
        assert len(model.shown) == times
