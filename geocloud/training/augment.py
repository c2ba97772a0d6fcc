"""Turns a chip into a training sample: a crop, turned and flipped, under other light and, often, other clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocloud.simulate import HAZE, blocks, draw_clouds, fractal_noise
from geocloud.training.chips import CLEAR, CLOUD, IGNORE, Chip

Array = NDArray[np.float32]


OZONE = np.array([0.0171, 0.0312, 0.0060, 0.0003], "float32")[:, None, None]
"""Optical depth of 0.3 atm-cm of ozone in red, green, blue and nir. Under a low sun the way through it is long: snow
and cloud alike lose green and red, and their near-infrared over red is higher."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Bright ground: ranges of its red reflectance, and of red, green, blue and nir over red."""

    brightness: tuple[float, float]
    colour: tuple[tuple[float, float], ...]


WOOD = np.array([0.06, 0.065, 0.085, 0.17], "float32")[:, None, None]
"""Bare and evergreen trees in winter."""

SNOW = Ground((0.3, 1.0), ((1, 1), (0.94, 0.99), (0.98, 1.07), (0.82, 1.02)))
ROCK = Ground((0.2, 0.6), ((1, 1), (0.75, 0.93), (0.5, 0.88), (1.0, 1.25)))


@dataclass(frozen=True, slots=True)
class Augment:
    """Chances (0 to 1) of each change, and the side of a sample in pixels."""

    size: int = 128
    coarsen: float = 0.3
    tint: float = 0.5
    bleach: float = 0.35
    roofs: float = 0.2
    snow: float = 0.25
    rock: float = 0.07
    clouds: float = 0.5
    low_sun: float = 0.4
    dim: float = 0.5
    saturate: float = 0.12
    wedge: float = 0.15

    def sample(self, chip: Chip, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
        """One sample: reflectance ``(4, size, size)`` with NaN where there is no data, label ``(size, size)``."""
        image, label = self._crop(chip, rng)
        turns = int(rng.integers(4))
        image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns)
        if rng.random() < 0.5:
            image, label = image[:, :, ::-1], label[:, ::-1]
        image, label = image.copy(), label.copy()

        if not (label == CLOUD).any() and np.nan_to_num(image[0]).mean() < 0.3:
            if rng.random() < self.tint:
                image *= 1 + rng.normal(0, 0.12, (4, 1, 1)).astype("float32")  # soil and plants of other colours
            if rng.random() < self.bleach:
                self._bleach(image, rng)
        if rng.random() < self.roofs:
            self._build(image, label, rng)
        snowy = rng.random() < self.snow
        if snowy:
            self._cover(image, label, SNOW, rng)
        elif rng.random() < self.rock:
            self._cover(image, label, ROCK, rng)
        if rng.random() < self.clouds:
            clouds = draw_clouds((self.size, self.size), rng)
            image = clouds.over(image)
            label[clouds.unsure & (label == CLEAR)] = IGNORE
            label[clouds.truth & (label == CLEAR)] = CLOUD
        image *= 1 + rng.normal(0, 0.008, (4, 1, 1)).astype("float32")
        # Air hides nothing of what is as bright as itself; taking it away is what surface reflectance does.
        image += HAZE * np.float32(rng.uniform(-0.06, 0.03)) * np.clip(1 - image, 0, 1)
        if rng.random() < self.low_sun:
            air = float(rng.uniform(-0.4, 5))  # masses of air beyond those under the usual sun
            image *= np.exp(-OZONE * np.float32(air))
            image += HAZE * np.float32(0.03 * max(air, 0.0)) * np.clip(1 - image, 0, 1)
        if rng.random() < self.dim:
            image *= np.float32(rng.uniform(0.4, 1.1))
        image += rng.normal(0, rng.uniform(0.0005, 0.004), image.shape).astype("float32")
        if rng.random() < self.saturate * (3 if snowy else 1):  # sunlit slopes are the brightest
            image = np.minimum(image, np.float32(rng.uniform(0.5, 1.0)))
        if rng.random() < self.wedge:
            self._cut_wedge(image, rng)
        label[np.isnan(image).any(0)] = IGNORE
        return image, label

    def _crop(self, chip: Chip, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
        image, label = chip.reflectance, chip.label
        if min(label.shape) >= 384 and rng.random() < self.coarsen:
            image, label = _halve(image, label)
        image_out = np.full((4, self.size, self.size), np.nan, "float32")
        label_out = np.full((self.size, self.size), IGNORE, "uint8")
        height, width = (min(self.size, n) for n in label.shape)
        top, left = (int(rng.integers(0, n - m + 1)) for n, m in zip(label.shape, (height, width), strict=True))
        image_out[:, :height, :width] = image[:, top : top + height, left : left + width]
        label_out[:height, :width] = label[top : top + height, left : left + width]
        return image_out, label_out

    def _bleach(self, image: Array, rng: np.random.Generator) -> None:
        """Gives real ground, with its fields, roads and ridges, the colour of cloud: towns, winter, snow."""
        light = image[:3].mean(0)
        usual = np.median(light[np.isfinite(light)]) if np.isfinite(light).any() else 0
        if usual <= 0.01 or np.nanstd(light) < 0.06 * usual:
            return  # what shows nothing but its colour must keep that
        near_infrared = rng.uniform(0.82, 1.3)
        bright = rng.uniform(0.08, 0.35 if near_infrared > 1.02 else 0.9)
        grey = np.clip(bright * np.clip(light / usual, 0.05, 4) ** rng.uniform(0.3, 1.2), 0, 1.1)
        colour = np.array([1, rng.uniform(0.93, 1.0), rng.uniform(0.9, 1.12), near_infrared])[:, None, None]
        image += (rng.uniform(0.5, 1) * (grey * colour - image)).astype("float32")

    def _build(self, image: Array, label: NDArray[np.uint8], rng: np.random.Generator) -> None:
        """Puts roofs on clear ground: small rectangles, now and then a very bright one, in the shape of a town."""
        shape = (self.size, self.size)
        town = fractal_noise(shape, 3.2, rng)
        town = (town > np.quantile(town, 1 - rng.uniform(0.02, 0.3))) & (label == CLEAR)
        brightness = np.clip(
            rng.uniform(0.1, 0.35) + rng.uniform(0.05, 0.25) * blocks(shape, rng.uniform(2, 16), rng), 0, 1.1
        )
        built = town & (brightness > rng.uniform(0.05, 0.3))
        colour = 1 + rng.normal(0, 0.08, (4, 1)).astype("float32")
        image[:, built] = (0.2 * image[:, built] + 0.8 * brightness[built] * colour).astype("float32")

    def _cover(self, image: Array, label: NDArray[np.uint8], ground: Ground, rng: np.random.Generator) -> None:
        """Puts snow or bright rock on clear ground: whole, in patches like lakes and ridges, or between trees."""
        shape = (self.size, self.size)
        region = fractal_noise(shape, rng.uniform(2.4, 3.6), rng)
        share = 1.0 if rng.random() < 0.45 else rng.uniform(0.05, 0.7)
        weight = np.clip((region - np.quantile(region, 1 - share)) * rng.uniform(8, 60), 0, 1)
        weight = np.ones(shape, "float32") if share == 1 else weight
        if rng.random() < 0.4:
            trees = fractal_noise(shape, rng.uniform(0.8, 2.8), rng)
            weight *= np.clip(rng.uniform(0, 0.9) + rng.uniform(0.1, 0.6) * trees, 0, 1)
            wood = np.where(label == CLEAR, rng.uniform(0, 1), 0) * (WOOD * rng.uniform(0.7, 1.6) - image)
            image += wood.astype("float32")
        rough = rng.choice([rng.uniform(0, 0.01), rng.uniform(0.01, 0.1), rng.uniform(0.1, 0.45)])
        shade = np.clip(1 + rough * fractal_noise(shape, rng.uniform(1.2, 3.6), rng), 0.15, 1.3)
        colour = np.array([rng.uniform(*span) for span in ground.colour])[:, None, None]
        blue = np.array([0, 0.05, 0.15, 0])[:, None, None] * np.clip(1 - shade, 0, 1)
        if ground is SNOW and rng.random() < 0.4:
            colour[3] = rng.normal(0.985, 0.02)  # dry and fine, as on ice sheets
        cover = rng.uniform(*ground.brightness) * shade * (colour + blue) + rng.uniform(0, 0.03) * HAZE
        weight = np.where(label == CLEAR, weight, 0)
        image += (weight * (cover - image)).astype("float32")

    def _cut_wedge(self, image: Array, rng: np.random.Generator) -> None:
        """No data on one side of a random line, as beside the slanted edge of a Landsat scene."""
        rows, cols = np.mgrid[: self.size, : self.size] - self.size / 2
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(-0.1, 0.65) * self.size
        image[:, rows * np.sin(angle) + cols * np.cos(angle) > distance] = np.nan


def _halve(image: Array, label: NDArray[np.uint8]) -> tuple[Array, NDArray[np.uint8]]:
    """The same place at half the resolution."""
    height, width = (n // 2 * 2 for n in label.shape)
    mean = image[:, :height, :width].reshape(4, height // 2, 2, width // 2, 2).mean((2, 4))
    return mean, label[:height:2, :width:2]
