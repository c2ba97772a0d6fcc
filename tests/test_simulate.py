"""The simulator: reproducible scenes, exact truth, and products that are read back unchanged."""

import numpy as np
import pytest

from geocloud.readers import open_scene, read_filled
from geocloud.simulate import (
    CLOUD_KINDS,
    SURFACES,
    Clouds,
    draw_clouds,
    fractal_noise,
    simulate_scene,
    simulate_surface,
)
from geocloud.training.metrics import Confusion


def test_a_seed_is_a_scene():
    one, same, other = (simulate_scene(seed, (64, 80)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.reflectance, same.reflectance)
    np.testing.assert_array_equal(one.truth, same.truth)
    assert (one.reflectance != other.reflectance).any()
    assert one.reflectance.shape == (4, 64, 80)
    assert one.reflectance.dtype == np.float32


def test_the_truth_is_where_transmission_falls_below_its_limit():
    transmission = np.array([[1.0, 0.79, 0.77, 0.0]], "float32")
    clouds = Clouds(transmission, np.full((4, 1, 4), 0.8, "float32"), np.zeros((1, 4), "float32"))
    assert clouds.truth.tolist() == [[False, False, True, True]]
    over = clouds.over(np.full((4, 1, 4), 0.1, "float32"))
    np.testing.assert_allclose(over[0, 0], [0.1, 0.1 * 0.79 + 0.8 * 0.21, 0.1 * 0.77 + 0.8 * 0.23, 0.8], rtol=1e-6)


def test_shadows_darken_the_ground_only():
    dark = Clouds(np.ones((2, 3), "float32"), np.ones((4, 2, 3), "float32"), np.ones((2, 3), "float32"))
    np.testing.assert_allclose(dark.over(np.full((4, 2, 3), 0.5, "float32")), 0.15, rtol=1e-5)


@pytest.mark.parametrize("slope", [2.5, 3.2, 4.0])
def test_noise_has_the_spectrum_it_is_asked_for(slope):
    powers = []
    for seed in range(8):
        noise = fractal_noise((256, 256), slope, np.random.default_rng(seed))
        assert noise.std() == pytest.approx(1, abs=1e-3)
        assert noise.mean() == pytest.approx(0, abs=1e-3)
        powers.append(np.abs(np.fft.fft2(noise)) ** 2)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    rings = [
        (f, np.mean(powers, 0)[(frequency > f * 0.9) & (frequency < f * 1.1)].mean()) for f in (0.02, 0.05, 0.1, 0.2)
    ]
    x, y = np.log(np.array(rings)).T
    assert -np.polyfit(x, y, 1)[0] == pytest.approx(slope, abs=0.15)


@pytest.mark.parametrize("kind", CLOUD_KINDS)
def test_every_kind_covers_about_what_is_asked(kind):
    shares = [draw_clouds((128, 128), np.random.default_rng(seed), kind, 0.4).truth.mean() for seed in range(30)]
    assert np.mean(shares) == pytest.approx(0.4, abs=0.12)


def test_clouds_are_bright_and_surfaces_look_like_what_they_are():
    rng = np.random.default_rng(0)
    water, snow, forest = (simulate_surface((64, 64), rng, [name]).mean((1, 2)) for name in ("water", "snow", "forest"))
    assert water.max() < 0.15
    assert water[3] < water[2]
    assert snow.min() > 0.5
    assert forest[3] > 2 * forest[0]
    scene = simulate_scene(1, (128, 128), ("forest",), ("cumulus",), 0.3)
    assert scene.reflectance[0, scene.truth].mean() > 2 * scene.reflectance[0, ~scene.truth].mean()
    assert set(SURFACES) >= {"water", "snow", "sand", "forest"}


def test_a_product_reads_back_as_it_was_made(product):
    from conftest import ramp
    from rasterio.windows import Window

    with open_scene(product) as scene:
        np.testing.assert_allclose(read_filled(scene, Window(0, 0, 110, 90)), ramp(), atol=3e-5)


def test_brightness_alone_does_not_give_the_truth_away():
    """Sample scenes must not be maskable with a threshold, or they could not test a model."""
    scene = simulate_scene(23, (256, 256), ("snow", "forest", "soil"), ("cumulus", "stratus"), cover=0.25)
    best = max(Confusion.of(scene.reflectance[0] > t, scene.truth).jaccard for t in np.arange(0.1, 1, 0.05))
    assert best < 0.8
