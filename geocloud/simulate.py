"""Simulated scenes and clouds with exact truth: for sample scenes, tests and training.

Clouds are fractal: white noise filtered to a 1/f spectrum, thresholded at a quantile, and taken as optical thickness τ.
Light from the ground is transmitted with t = exp(−τ), and the cloud adds its own: ρ = surface · t + top · (1 − t). A
pixel is cloud where t < 0.78, which is about where annotators begin to see cloud.

Nothing here is a measurement. All files written from it say "simulated" in their names or tags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray

from geocloud.bands import LANDSAT_L1
from geocloud.grid import GeoBox

Array = NDArray[np.float32]

HAZE = np.array([0.35, 0.6, 1.0, 0.1], "float32")[:, None, None]
"""Relative brightening of dark ground by clear air, in red, green, blue and nir, ``(4, 1, 1)``."""

CLOUD_COLOUR = ((1.0, 0.966, 1.005, 1.065), (0.0, 0.012, 0.022, 0.03))
"""Mean and standard deviation of the ratios of thick cloud's red, green, blue and nir to its red, as Landsat 8 sees
them. Cloud is brighter in nir than in red, snow darker: of these bands only nir separates them."""

CORRECTED_COLOUR = ((1.0, 0.95, 0.89, 0.91), (0.0, 0.02, 0.04, 0.035))
"""The same after an atmospheric correction for clear air, as in Sentinel-2's surface reflectance: cloud is then
yellowish, which snow is not."""

CLOUD_TRANSMISSION = 0.78
"""Transmission below which a pixel is cloud in the truth."""


def fractal_noise(
    shape: tuple[int, int], slope: float, rng: np.random.Generator, stretch: float = 1.0, largest: float = np.inf
) -> Array:
    """Noise ``(h, w)`` of zero mean and unit variance whose power falls as 1/f^slope.

    A slope of 2.5 gives broken, fluffy noise, a slope of 4 smooth noise. ``stretch`` > 1 elongates it in a random
    direction, as wind does. ``largest`` limits the size of its structures in pixels.
    """
    height, width = shape
    fy = np.fft.fftfreq(height).astype("float32")[:, None]
    fx = np.fft.rfftfreq(width).astype("float32")[None, :]
    angle = np.float32(rng.uniform(0, np.pi))
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = fy * np.cos(angle) - fx * np.sin(angle)
    frequency = np.hypot(along * np.float32(stretch), across)
    frequency[0, 0] = 1
    white = rng.standard_normal((*frequency.shape, 2), "float32").view("complex64")[..., 0]
    spectrum = white * frequency ** np.float32(-slope / 2)
    if np.isfinite(largest):
        spectrum *= 1 - np.exp(-((frequency * np.float32(largest)) ** 4))
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=shape)
    return (noise / max(noise.std(), 1e-12)).astype("float32")


class CloudKind(NamedTuple):
    """Ranges (from, to) of the properties of one kind of cloud; for slope and stretch see `fractal_noise`."""

    slope: tuple[float, float]
    stretch: tuple[float, float]
    density: tuple[float, float]  # optical thickness per standard deviation of the noise
    share: tuple[float, float]  # share of the scene that is covered; above 1: overcast
    brightness: tuple[float, float]  # reflectance of the cloud tops in red
    height: tuple[float, float]  # length of the shadows, as a share of the scene's side
    sharp: tuple[float, float]  # steepness of a cloud's edge
    limit: float = CLOUD_TRANSMISSION  # transmission below which a pixel is cloud; higher where thin cloud has texture
    frequent: float = 1  # relative frequency when the kind is drawn at random


CLOUD_KINDS = {
    "cumulus": CloudKind((3.0, 3.6), (1, 1), (4, 10), (0.05, 0.6), (0.5, 0.95), (0.01, 0.08), (4, 12)),
    "stratus": CloudKind((3.4, 4.2), (1, 2), (2, 6), (0.3, 1.6), (0.4, 0.9), (0, 0), (4, 10), frequent=2),
    "haze": CloudKind((2.8, 4.2), (1, 3), (0.15, 0.9), (0.15, 0.8), (0.3, 0.7), (0, 0), (20, 40), 0.72),
    "cirrus": CloudKind((3.4, 4.2), (2, 4), (0.5, 1.4), (0.15, 0.6), (0.45, 0.75), (0, 0.1), (6, 14)),
    "altocumulus": CloudKind((3.0, 4.0), (1, 3), (0.08, 0.6), (0.2, 1.0), (0.3, 0.7), (0, 0.05), (0, 0), 0.88, 2),
}


def add_clouds(
    surface: Array, rng: np.random.Generator, kind: str | None = None, cover: float | None = None
) -> tuple[Array, NDArray[np.bool_]]:
    """Draws random clouds of a kind (None: a random one), and their shadows, over a surface, reflectance ``(4, h, w)``.

    They cover about the share ``cover`` of the scene (None: random). Returns reflectance, and True for cloud.
    """
    often = np.array([ranges.frequent for ranges in CLOUD_KINDS.values()])
    name = kind or str(rng.choice(list(CLOUD_KINDS), p=often / often.sum()))
    ranges = CLOUD_KINDS[name]
    shape = height, width = surface.shape[1:]
    canvas = (4 * height // 3, 4 * width // 3)  # larger, because the noise is periodic
    noise = fractal_noise(canvas, rng.uniform(*ranges.slope), rng, rng.uniform(*ranges.stretch))
    share = rng.uniform(*ranges.share) if cover is None else cover
    above = noise - float(np.quantile(noise, np.clip(1 - share, 0, 1))) + max(0.0, share - 1) * 4
    edge = -np.log(ranges.limit)  # τ from which a pixel is cloud
    density = rng.uniform(*ranges.density)
    if name == "altocumulus":  # small puffs, thicker where the veil is
        puffs = fractal_noise(canvas, rng.uniform(3, 5), rng, rng.uniform(1, 1.6), rng.uniform(8, 40))
        thickness = density * np.clip(above + 0.5, 0, 1.5) * np.clip(rng.uniform(0, 1.8) + puffs, 0, 4)
    else:
        thickness = np.clip(density * above + edge, 0, 12)
        thickness *= np.clip(above * rng.uniform(*ranges.sharp) + 1, 0, 1)
    transmission = np.exp(-thickness).astype("float32")

    up, left = int(rng.integers(0, canvas[0] - height + 1)), int(rng.integers(0, canvas[1] - width + 1))
    view = (slice(up, up + height), slice(left, left + width))
    reach, direction = rng.uniform(*ranges.height) * min(height, width), rng.uniform(0, 2 * np.pi)
    shift = (round(reach * np.sin(direction)), round(reach * np.cos(direction)))
    shadow = (1 - np.roll(transmission, shift, (0, 1))[view]) * rng.uniform(0.4, 0.9) * bool(reach)

    # Thick cloud has relief, and the air above it adds some blue.
    relief = 1 + rng.uniform(0, 0.25) * fractal_noise(shape, rng.uniform(2.2, 3.8), rng)
    colour = rng.normal(*(CLOUD_COLOUR if rng.random() < 0.8 else CORRECTED_COLOUR))[:, None, None]
    top = rng.uniform(*ranges.brightness) * colour * relief + rng.uniform(0, 0.03) * HAZE
    seen = transmission[view]
    lit = surface * (1 - np.float32(0.7) * shadow.astype("float32"))
    return lit * seen + top.astype("float32") * (1 - seen), seen < ranges.limit


# TOA reflectance of red, green, blue and nir, and its relative variation within one field or slope.
SURFACES: dict[str, tuple[tuple[float, float, float, float], float]] = {
    "forest": ((0.05, 0.07, 0.09, 0.28), 0.15),
    "crops": ((0.09, 0.10, 0.11, 0.36), 0.25),
    "soil": ((0.19, 0.14, 0.12, 0.27), 0.12),
    "city": ((0.13, 0.12, 0.13, 0.19), 0.25),
    "water": ((0.05, 0.07, 0.10, 0.03), 0.10),
    "sand": ((0.34, 0.25, 0.19, 0.41), 0.06),
    "snow": ((0.72, 0.70, 0.75, 0.66), 0.20),
}

RUGGED = {"snow": 0.35}
"""Relative variation of brightness with the slope of the terrain, for surfaces on mountains."""

BLOCKS = {"crops": 14.0, "city": 5.0}
"""Mean side in pixels of the rectangles, for surfaces made of rectangles."""


@dataclass(frozen=True, slots=True)
class SimulatedScene:
    """A scene and its exact truth."""

    reflectance: Array
    """``(4, h, w)``, at the top of the atmosphere."""
    truth: NDArray[np.bool_]
    """``(h, w)``, True where there is cloud."""


def simulate_surface(shape: tuple[int, int], rng: np.random.Generator, kinds: Sequence[str] = ()) -> Array:
    """A cloud-free surface, reflectance ``(4, h, w)``, of the named `SURFACES` (none named: three at random)."""
    names = list(kinds) or list(rng.choice(list(SURFACES), 3, replace=False))
    relief = fractal_noise(shape, 3.0, rng)
    # Quantiles of a smooth field divide the scene into regions of equal area with ragged, natural borders.
    region = fractal_noise(shape, 3.4, rng) + 0.05 * fractal_noise(shape, 1.5, rng)
    order = np.searchsorted(np.quantile(region, np.linspace(0, 1, len(names) + 1)[1:-1]), region)
    surface = np.empty((4, *shape), "float32")
    for index, name in enumerate(names):
        colour, variation = SURFACES[name]
        texture = variation * (0.5 * relief + 0.5 * fractal_noise(shape, 1.8, rng)) * 0.6
        if name in RUGGED:
            texture = 0.3 * texture + RUGGED[name] * _slope(shape, rng)
        if name in BLOCKS:
            texture = 0.3 * texture + variation * blocks(shape, BLOCKS[name], rng)
        here = order == index
        surface[:, here] = np.array(colour, "float32")[:, None] * np.clip(1 + texture[here], 0.3, 1.8)
    return surface


def _slope(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Slope of a terrain ``(h, w)`` towards the sun, of unit variance."""
    down, across = np.gradient(fractal_noise(shape, 3.6, rng)) if min(shape) > 1 else np.zeros((2, *shape), "float32")
    slope: Array = (across - down).astype("float32")
    return slope / max(float(slope.std()), 1e-12)


def blocks(shape: tuple[int, int], side: float, rng: np.random.Generator) -> Array:
    """Fields or city blocks ``(h, w)``: a rotated grid of rectangles ``side`` pixels across, each of one brightness."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    angle, far = rng.uniform(0, np.pi), 2 * (shape[0] + shape[1])
    across = rows * np.sin(angle) + cols * np.cos(angle)
    along = rows * np.cos(angle) - cols * np.sin(angle)
    edges = [np.cumsum(rng.uniform(0.4, 1.6, int(2.5 * far / side)) * side) - far for _ in range(2)]
    i, j = np.searchsorted(edges[0], across), np.searchsorted(edges[1], along)
    values = rng.normal(0, 1, (len(edges[0]) + 1, len(edges[1]) + 1))
    return values[i, j].astype("float32")


def simulate_scene(
    seed: int,
    shape: tuple[int, int] = (512, 512),
    surfaces: Sequence[str] = (),
    clouds: Sequence[str] = ("cumulus", "cirrus"),
    cover: float | None = None,
) -> SimulatedScene:
    """A Landsat-like scene of named surfaces under named kinds of clouds; the same seed gives the same scene."""
    rng = np.random.default_rng(seed)
    reflectance = simulate_surface(shape, rng, surfaces)
    truth = np.zeros(shape, bool)
    for kind in clouds:
        reflectance, cloud = add_clouds(reflectance, rng, kind, cover)
        truth |= cloud
    noise = rng.normal(0, 0.002, reflectance.shape).astype("float32")
    return SimulatedScene((reflectance + noise).astype("float32"), truth)


SUN_AZIMUTH = 145.0
"""Azimuth of the sun in degrees clockwise from north, as on a summer morning at northern latitudes."""


def write_level1(
    scene: SimulatedScene,
    folder: Path,
    name: str,
    *,
    grid: GeoBox,
    sun_elevation: float = 50.0,
    acquired: datetime = datetime(2024, 7, 1, 10, 0, tzinfo=UTC),
    fill: NDArray[np.bool_] | None = None,
) -> None:
    """Writes a scene as a Landsat 8 Collection 2 Level-1 product: B2 to B5 as GeoTIFFs and an MTL.txt.

    Values are uint16 digital numbers, ρ = (2e-5 · DN − 0.1) / sin(sun elevation), 0 where ``fill`` is True.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = LANDSAT_L1.invert(scene.reflectance * math.sin(math.radians(sun_elevation)))
    values = np.clip(np.rint(numbers), 1, 65_535).astype("uint16")
    if fill is not None:
        values[:, fill] = 0
    for number, band in zip((4, 3, 2, 5), values, strict=True):
        options = {"count": 1, "dtype": "uint16", "compress": "deflate", "predictor": 2}
        with rasterio.open(folder / f"{name}_B{number}.TIF", "w", driver="GTiff", **options, **grid.profile) as dataset:
            dataset.update_tags(
                AREA_OR_POINT="Point", TIFFTAG_IMAGEDESCRIPTION="Simulated by geocloud, not an observation"
            )
            dataset.write(band, 1)
    (folder / f"{name}_MTL.txt").write_text(_metadata(name, grid, sun_elevation, acquired), encoding="utf-8")


def _metadata(name: str, grid: GeoBox, sun_elevation: float, acquired: datetime) -> str:
    """The entries of a Collection 2 Level-1 MTL that readers use."""
    left, top = grid.transform @ (0.5, 0.5)
    right, bottom = grid.transform @ (grid.width - 0.5, grid.height - 0.5)
    zone, bands = grid.crs.to_epsg() - 32600 if grid.crs else 0, (2, 3, 4, 5)
    files = "\n    ".join(f'FILE_NAME_BAND_{n} = "{name}_B{n}.TIF"' for n in bands)
    scales = [f"REFLECTANCE_MULT_BAND_{n} = 2.0000E-05" for n in bands]
    scale = "\n    ".join([*scales, *(f"REFLECTANCE_ADD_BAND_{n} = -0.100000" for n in bands)])
    return f"""GROUP = LANDSAT_METADATA_FILE
  GROUP = PRODUCT_CONTENTS
    ORIGIN = "Simulated by geocloud, not an observation"
    LANDSAT_PRODUCT_ID = "{name}"
    PROCESSING_LEVEL = "L1TP"
    COLLECTION_NUMBER = 02
    {files}
  END_GROUP = PRODUCT_CONTENTS
  GROUP = IMAGE_ATTRIBUTES
    SPACECRAFT_ID = "LANDSAT_8"
    SENSOR_ID = "OLI_TIRS"
    DATE_ACQUIRED = {acquired:%Y-%m-%d}
    SCENE_CENTER_TIME = "{acquired:%H:%M:%S}.0000000Z"
    SUN_AZIMUTH = {SUN_AZIMUTH:.8f}
    SUN_ELEVATION = {sun_elevation:.8f}
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = PROJECTION_ATTRIBUTES
    MAP_PROJECTION = "UTM"
    DATUM = "WGS84"
    UTM_ZONE = {zone}
    GRID_CELL_SIZE_REFLECTIVE = {grid.transform.a:.2f}
    REFLECTIVE_LINES = {grid.height}
    REFLECTIVE_SAMPLES = {grid.width}
    CORNER_UL_PROJECTION_X_PRODUCT = {left:.3f}
    CORNER_UL_PROJECTION_Y_PRODUCT = {top:.3f}
    CORNER_LR_PROJECTION_X_PRODUCT = {right:.3f}
    CORNER_LR_PROJECTION_Y_PRODUCT = {bottom:.3f}
  END_GROUP = PROJECTION_ATTRIBUTES
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    {scale}
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
"""
