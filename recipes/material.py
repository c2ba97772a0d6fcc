"""Training and validation data of the bundled models: files, labels and split.

Images of one place or one scene are on the same side of the split.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geocloud.errors import DatasetError
from geocloud.io.gdal import open_quietly
from geocloud.training.data.augment import METRES, Augment, coarsen
from geocloud.training.data.chips import CLASSES, CLEAR, CLOUD, UNKNOWN, Chip, translate
from geocloud.training.data.samples import Group

SHARES = {
    "biome": 0.8, "sparcs": 2.0, "catalogue": 1.2, "taught": 1.4, "chips": 0.4, "clear": 1.0, "glaciers": 0.6,
    "fields": 0.3,
}  # fmt: skip
"""Relative share of each set in the samples."""

AUGMENT = Augment(size=160)
"""Augmentation settings of the bundled models."""

EVERY = {"biome": 3, "sparcs": 5, "catalogue": 5}
"""Every Nth scene of these sets is held out for validation."""

HELD_OUT = {
    "taught": (
        "0060c0a5", "ROIs1158_spring_39", "ROIs1868_summer_101", "ROIs1970_fall_85", "s2_cloudfree_ROIs1970_fall_139",
        "s2_cloudy_ROIs1970_fall_139", "sen12mscr_4",
    ),
    "clear": ("s2_river_w_india", "s2l1c_rois1158_spring_15", "s2l2a_arid_australia", "s2l2a_varilhes"),
    "fields": ("s2_toa_l1c_terramesh_s_chile", "s2_toa_l1c_eolearn_slovenia_scene4"),
    "chips": ("oncloudn_3",),
    "winter": ("",),
    "weak": ("",),
}  # fmt: skip
"""Name prefixes of the places held out for validation, by set."""

TIMES_AND_PARTS = re.compile(r"_ImgNo.*$|(_\d\d){2}_\d{4}$|_?p?\d+(_p?\d+)?(_clear|_cloudy)?(_\d\dm)?$")
"""The part of a name that differs between images of one place. Neighbouring places of a series count as one place."""

SATURATED = 0.98
"""Reflectance at which a band of the catalogue, saved in 8 bits, is saturated."""

BRIGHT = 0.3
"""Minimum reflectance in all of red, green and blue of ground that is as bright as cloud."""

Fold = tuple[int, int]
"""Fold held out in a cross-validation, and the number of folds: (k, count), with k counted from 0."""


@dataclass(frozen=True, slots=True)
class Source:
    """A set of labelled images."""

    name: str
    """Name of the set in `SHARES` and in tables."""
    pattern: str
    """Glob pattern of the images, relative to the data folder."""
    read: Callable[[Path], Chip]
    """Reads an image with its labels."""

    def training(self, data: Path, fold: Fold | None = None) -> list[Chip]:
        """Training chips. Finer chips are averaged to `METRES`."""
        held = set(self.held_out(data, fold))
        return [averaged(self.read(path)) for path in self.paths(data) if path not in held]

    def held_out(self, data: Path, fold: Fold | None = None) -> list[Path]:
        """Images held out for validation, in the fixed split or in a fold."""
        paths = self.paths(data)
        if fold is not None:
            places = sorted({self.place(path) for path in paths})
            return [path for path in paths if places.index(self.place(path)) % fold[1] == fold[0]]
        if self.name in EVERY:
            return paths[EVERY[self.name] - 1 :: EVERY[self.name]]
        return [path for path in paths if path.name.startswith(HELD_OUT.get(self.name, ("/",)))]

    def place(self, path: Path) -> str:
        """Name of an image's place, which all images of the place share."""
        if self.name in (*EVERY, "chips"):
            return path.stem  # every image is from another scene
        return TIMES_AND_PARTS.sub("", path.stem)

    def paths(self, data: Path) -> list[Path]:
        """Images of the set, sorted by name. Raises DatasetError if there are none."""
        paths = sorted(p for p in data.glob(self.pattern) if not p.stem.endswith(("_label", "_probability")))
        if not paths:
            raise DatasetError(f"{data / self.pattern}: no such files; the recipe needs them")
        return paths


def averaged(chip: Chip) -> Chip:
    """A chip averaged to `METRES` if it is finer, as the pipeline averages scenes."""
    if chip.metres >= METRES:
        return chip
    reflectance, target = coarsen(chip.pixels(), chip.target, METRES / chip.metres)
    return Chip(chip.name, reflectance.astype("float16"), target, METRES)


def read_tif(path: Path) -> NDArray[np.float16]:
    """Reflectance ``(4, h, w)`` from a GeoTIFF of reflectance × 10 000; NaN where any band is 65535."""
    with open_quietly(path) as dataset:
        values = dataset.read([1, 2, 3, 4])
    return np.where((values == 65_535).any(0), np.nan, values * np.float32(1e-4)).astype("float16")


def read_codes(path: Path) -> NDArray[np.uint8]:
    """Values of a mask, ``(h, w)``."""
    with open_quietly(path) as dataset:
        codes: NDArray[np.uint8] = dataset.read(1)
    return codes


def chip(path: Path, reflectance: NDArray[np.float16], target: NDArray[np.uint8], metres: float) -> Chip:
    """A chip. Its target is set to unknown where there is no data."""
    target[:, np.isnan(reflectance[:3]).any(0)] = UNKNOWN
    return Chip(path.stem, reflectance, target, metres)


def cloud_only(cloud: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Target from per cent of cloud ``(h, w)``. Shadow is unknown, or clear if the whole image is clear."""
    shadow = np.full_like(cloud, CLEAR if (cloud == CLEAR).all() else UNKNOWN)
    return np.stack([cloud, shadow]).astype("uint8")


def biome(path: Path) -> Chip:
    """Patch of L8 Biome with mask by USGS. Shadow is unknown in patches with cloud but no labelled shadow."""
    codes = read_codes(path.parent.parent / "masks" / path.name)
    target = translate(codes, CLASSES["l8-biome"])
    if (target[0] == CLOUD).any() and not (target[1] == CLOUD).any():
        target[1] = UNKNOWN
    return chip(path, read_tif(path), target, 30)


def sparcs(path: Path) -> Chip:
    """SPARCS scene with mask by USGS. Bands are DN / 256, not corrected for sun elevation; near-infrared is imputed."""
    folder = path.parent.parent
    rgb = np.array(Image.open(path)).transpose(2, 0, 1)
    nir = np.array(Image.open(folder / "nir" / path.name))
    values = (np.concatenate([rgb, nir[None]]).astype("float32") + 0.5) * 256 * 2e-5 - 0.1
    values[:, (rgb == 0).all(0)] = np.nan
    codes = np.array(Image.open(folder / "masks" / f"{path.stem}.png"))
    return chip(path, values.astype("float16"), translate(codes, CLASSES["sparcs"]), 30)


def catalogue(path: Path) -> Chip:
    """Scene of the Sentinel-2 Cloud Mask Catalogue: red, green, blue in 8 bits, masked by hand."""
    rgb = np.array(Image.open(path)).transpose(2, 0, 1).astype("float32") / 255
    cloud = np.array(Image.open(path.parent.parent / "masks" / f"{path.stem}.png")) * CLOUD
    return chip(path, np.concatenate([rgb, np.full_like(rgb[:1], np.nan)]).astype("float16"), cloud_only(cloud), 45)


def unsaturated(path: Path) -> Chip:
    """Scene of the catalogue. Saturated clear ground, which looks like overcast, is set to unknown."""
    scene = catalogue(path)
    scene.target[:, saturated_ground(scene)] = UNKNOWN
    return scene


def taught(path: Path) -> Chip:
    """Image labelled with the cloud probability, in per cent, of ukis-csmask 1.0.0."""
    percent = read_codes(path.with_name(f"{path.stem}_probability.tif"))
    target = np.stack([percent, np.full_like(percent, UNKNOWN)])
    return chip(path, read_tif(path), target, float(path.stem.rsplit("_", 1)[1][:-1]))


def labelled(path: Path) -> Chip:
    """Sentinel-2 image with a mask drawn by hand (`s2_labelled`) or made automatically (`weak`)."""
    codes = read_codes(path.with_name(f"{path.stem}_label.tif"))
    return chip(path, read_tif(path), cloud_only(np.where(codes > 1, UNKNOWN, codes * CLOUD)), 10)


def clear(path: Path) -> Chip:
    """Image without cloud or shadow."""
    values = read_tif(path)
    metres = 10 if path.stem.endswith("_10m") else 30 if path.stem.startswith("l8") else 20
    return chip(path, values, np.full((2, *values.shape[1:]), CLEAR, "uint8"), metres)


def glacier(path: Path) -> Chip:
    """Clear image of an Alpine glacier. Red and green are imputed, so they are scaled at random (σ = 8 %)."""
    scene = clear(path)
    gain = np.random.default_rng(zlib.crc32(path.stem.encode())).normal(1, 0.08, (2, 1, 1))
    scene.reflectance[:2] *= gain.astype("float16")
    return scene


SOURCES = {
    source.name: source
    for source in (
        Source("biome", "l8biome/images/*.tif", biome),
        Source("sparcs", "sparcs/images/*.jpg", sparcs),
        Source("catalogue", "catalogue/images/*.jpg", unsaturated),
        Source("taught", "taught/*m.tif", taught),
        Source("chips", "s2_labelled/*.tif", labelled),
        Source("clear", "backgrounds/*.tif", clear),
        Source("glaciers", "snow/swiss/*.tif", glacier),  # two imputed bands: for training only
        Source("fields", "more/s2_toa_l1c_*[!01]_10m.tif", clear),
        Source("winter", "snow/*m.tif", clear),
        Source("weak", "weak/*.tif", labelled),  # share-alike labels: for validation only
    )
}


def saturated_ground(chip: Chip) -> NDArray[np.bool_]:
    """Mask ``(h, w)``, True where clear ground is saturated in red, green and blue."""
    return (chip.pixels()[:3].min(0) >= SATURATED) & (chip.target[0] == CLEAR)


def bright_ground(chip: Chip) -> NDArray[np.bool_]:
    """Mask ``(h, w)``, True where clear ground is as bright as cloud: snow, ice, salt, sand."""
    return (chip.pixels()[:3].min(0) > BRIGHT) & (chip.target[0] <= CLOUD // 10)


def has_nir(chip: Chip) -> bool:
    """True if a chip has near-infrared."""
    return bool(np.isfinite(chip.reflectance[3]).any())


def training_groups(data: Path, shares: dict[str, float], fold: Fold | None = None) -> list[Group]:
    """Training chips of the sets in ``shares``, with the share of each set. Raises DatasetError."""
    return [(share, SOURCES[name].training(data, fold)) for name, share in shares.items()]


def validation_chips(source: Source, data: Path, half: int | None = None, fold: Fold | None = None) -> list[Chip]:
    """Validation chips of a set, with their original labels.

    Args:
        source: The set.
        data: The data folder.
        half: 0: places for published scores; 1: places for choosing thresholds; None: all.
        fold: The fold of a cross-validation.

    Raises:
        DatasetError: The files are missing.
    """
    paths = source.held_out(data, fold)
    places = sorted({source.place(path) for path in paths})
    read = catalogue if source.name == "catalogue" else source.read
    return [read(path) for path in paths if half is None or places.index(source.place(path)) % 2 == half]
