"""Augmentation of training samples: crops, rotations, flips, brightness, simulated clouds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from geocloud.simulate import HAZE, fractal_noise
from geocloud.tiling.resample import average
from geocloud.training.data.chips import CLOUD, UNKNOWN, Chip

Array = NDArray[np.float32]
Target = NDArray[np.uint8]

METRES = 30.0
"""Pixel size of the bundled models in metres. Finer chips are averaged to it, as `geocloud mask` averages scenes."""

FIELDS = 200
"""Number of fractal fields from which simulated clouds are drawn."""

LANDSAT_5 = (0.540, 0.638, 0.306, 0.673)
LANDSAT_7_HIGH = (0.313, 0.341, 0.301, 0.476)
LANDSAT_7_LOW = (0.480, 0.522, 0.462, 0.729)
LANDSAT_7 = (*LANDSAT_7_HIGH[:3], LANDSAT_7_LOW[3])
"""Reflectance at which red, green, blue and near-infrared saturate with the sun at zenith: π LMAX / ESUN of Chander,
Markham and Helder 2009, https://doi.org/10.1016/j.rse.2009.01.007. LANDSAT_7 is for land under a high sun.
"""

SATURATION = (LANDSAT_5, LANDSAT_7_HIGH, LANDSAT_7_LOW, LANDSAT_7)
"""Saturation limits, one of which is drawn for each saturated sample."""

SUN = (25.0, 65.0)
"""Range of sun elevations in degrees for saturated samples."""


@dataclass(frozen=True, slots=True)
class Augment:
    """Size of the samples, and probability (0 to 1) of each augmentation."""

    size: int = 128
    """Side of a sample in pixels."""
    clouds: float = 0.5
    """Add simulated clouds to samples without cloud."""
    more_clouds: float = 0.05
    """Add simulated clouds to samples with cloud."""
    dim: float = 0.6
    """Multiply reflectance by 0.45 to 1.15: Level-1 scenes without correction for sun elevation are darker."""
    saturate: float = 0.15
    """Clip each band where Landsat 5 or 7 saturates, see `SATURATION`."""
    wedge: float = 0.1
    """Set one side of a random line to no data, as at the slanted edge of a Landsat scene."""
    drop_nir: float = 0.15
    """Remove near-infrared."""
    swap: float = 0.1
    """Swap red and blue, as in files with unnamed bands."""
    coarse: float = 0.12
    """Average samples of large chips to pixels twice as large."""

    def sample(self, chip: Chip, rng: np.random.Generator, metres: float = METRES) -> tuple[Array, Target]:
        """A random sample of a chip: reflectance ``(4, size, size)`` and target ``(2, size, size)``, as in `Chip`.

        Chips with pixels smaller than ``metres`` are averaged to that size.
        """
        image, target = self._crop(chip, rng, metres)
        turns = int(rng.integers(4))
        image, target = np.rot90(image, turns, (1, 2)), np.rot90(target, turns, (1, 2))
        if rng.random() < 0.5:
            image, target = image[:, :, ::-1], target[:, :, ::-1]
        image, target = image.copy(), target.copy()
        no_nir = bool(np.isnan(image[3]).all())
        if no_nir:
            image[3] = image[0]
        if rng.random() < (self.more_clouds if _cloudy(target) else self.clouds):
            image = add_clouds(image, target, rng)
        if rng.random() < self.dim:
            image *= np.float32(rng.uniform(0.45, 1.15))
        image *= 1 + rng.normal(0, 0.02, (4, 1, 1)).astype("float32")
        image += HAZE * np.float32(rng.uniform(-0.03, 0.04))
        image += rng.standard_normal(image.shape, "float32") * np.float32(rng.uniform(0.0005, 0.004))
        if rng.random() < self.wedge:
            self._cut_wedge(image, rng)
        if rng.random() < self.saturate:
            image = saturate(image, SATURATION[rng.integers(len(SATURATION))], rng.uniform(*SUN))
        if rng.random() < self.swap:
            image = image[[2, 1, 0, 3]]
        if no_nir or rng.random() < self.drop_nir:
            image[3] = np.nan
        target[:, np.isnan(image[:3]).any(0)] = UNKNOWN
        return image, target

    def _crop(self, chip: Chip, rng: np.random.Generator, metres: float) -> tuple[Array, Target]:
        """A random square of the chip, possibly averaged to coarser pixels; smaller chips are padded by reflection."""
        factor = max(1.0, metres / chip.metres)
        height, width = chip.target.shape[1:]
        if min(height, width) >= 2 * self.size * factor and rng.random() < self.coarse:
            factor *= 2
        side = round(self.size * factor)
        top, left = (int(rng.integers(0, max(1, n - side + 1))) for n in (height, width))
        window = np.s_[:, top : top + side, left : left + side]
        image, target = chip.pixels(window), chip.target[window]
        if factor > 1:
            image, target = coarsen(image, target, factor)
        image, target = image[:, : self.size, : self.size], target[:, : self.size, : self.size]
        padding = [(0, 0), *((0, self.size - n) for n in target.shape[1:])]
        return np.pad(image, padding, "symmetric"), np.pad(target, padding, "symmetric")

    def _cut_wedge(self, image: Array, rng: np.random.Generator) -> None:
        rows, cols = np.mgrid[: self.size, : self.size] - self.size / 2
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(-0.1, 0.65) * self.size
        image[:, rows * np.sin(angle) + cols * np.cos(angle) > distance] = np.nan


def saturate(reflectance: Array, limits: tuple[float, ...], elevation: float) -> Array:
    """Clips reflectance ``(4, h, w)`` at zenith-sun limits divided by the sine of the sun elevation (degrees)."""
    highest = np.array(limits, "float32") / np.float32(np.sin(np.radians(elevation)))
    return np.minimum(reflectance, highest[:, None, None])


def coarsen(image: Array, target: Target, factor: float) -> tuple[Array, Target]:
    """Averages a sample to pixels ``factor`` times as large. A target pixel is unknown if any part of it is."""
    unknown = target == UNKNOWN
    percent = average(np.where(unknown, 0, target).astype("float32"), factor)
    gaps = average(unknown.astype("float32"), factor) > 1e-3
    return average(image, factor), np.where(gaps, UNKNOWN, np.rint(percent)).astype("uint8")


def add_clouds(image: Array, target: Target, rng: np.random.Generator) -> Array:
    """Adds simulated clouds and their shadows to an image: ρ = surface · t + top · (1 − t), with t = exp(−τ).

    Updates ``target`` in place: cloud where t < 0.78, unknown where t is 0.78 to 0.9 (annotators disagree on thin
    cloud). Shadow becomes unknown everywhere.
    """
    size = image.shape[1]
    noise = np.rot90(_field(int(rng.integers(FIELDS))), int(rng.integers(4)))
    top, left = rng.integers(0, len(noise) - size + 1, 2)
    noise = noise[top : top + size, left : left + size]
    share = rng.uniform(0.03, 0.5) if rng.random() < 0.7 else rng.uniform(0.4, 1.5)  # over 1: overcast
    limit = np.quantile(noise, np.clip(1 - share, 0, 1)) - max(0.0, share - 1) * 3
    density = rng.uniform(0.3, 1.2) if rng.random() < 0.4 else rng.uniform(1, 6)
    depth = np.clip((noise - limit) * density + rng.uniform(0, 0.25), 0, 12) * (noise > limit - rng.uniform(0, 0.5))
    through = np.exp(-depth).astype("float32")
    shift = tuple(int(v) for v in rng.integers(-20, 21, 2))
    dark = np.float32(rng.uniform(0.2, 0.6) if rng.random() < 0.7 else 0)
    lit = 1 - (1 - np.roll(through, shift, (0, 1))) * dark
    colour = np.array([1, rng.normal(0.965, 0.015), rng.normal(1, 0.03), rng.normal(1.06, 0.04)], "float32")
    relief = 1 + rng.uniform(0, 0.2) * _field(int(rng.integers(FIELDS)))[:size, :size]
    bright = (rng.uniform(0.35, 0.95) * colour[:, None, None] * relief).astype("float32")
    known = target[0] != UNKNOWN
    target[0, known & (through < 0.9) & (target[0] < 50)] = UNKNOWN
    target[0, known & (through < 0.78)] = CLOUD
    target[1] = UNKNOWN
    covered: Array = image * lit * through + bright * (1 - through)
    return covered


@cache
def _field(number: int) -> Array:
    """A fractal field by number, identical in every process."""
    rng = np.random.default_rng([7, number])
    return fractal_noise((384, 384), rng.uniform(2.6, 4.2), rng, 1 if rng.random() < 0.75 else rng.uniform(1, 4))


def _cloudy(target: Target) -> bool:
    return bool(((target[0] > CLOUD // 2) & (target[0] != UNKNOWN)).any())
