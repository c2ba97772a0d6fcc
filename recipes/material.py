"""The data of the bundled models: files, labels, and the split into training and validation.

All images of a set that show the same place, or come from the same scene, are on the same side of the split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

from geocloud.errors import DatasetError
from geocloud.training.data.chips import CLASSES, CLEAR, CLOUD, UNKNOWN, Chip, translate
from geocloud.training.data.samples import Group

EVERY = 5
"""One scene in so many of `biome`, `sparcs` and `catalogue` is held out for validation."""

BRIGHT = 0.3
"""Reflectance of the darkest of red, green and blue above which ground is as bright as cloud."""

HELD_OUT = {
    "taught": (
        "0060c0a5", "ROIs1158_spring_39", "ROIs1868_summer_101", "ROIs1970_fall_85", "s2_cloudfree_ROIs1970_fall_139",
        "s2_cloudy_ROIs1970_fall_139", "sen12mscr_4",
    ),
    "clear": ("s2_river_w_india", "s2l1c_rois1158_spring_15", "s2l2a_arid_australia", "s2l2a_varilhes"),
    "chips": ("oncloudn_3",),
    "weak": ("",),
}  # fmt: skip
"""Prefixes of the names of places held out for validation, by set."""


TIMES_AND_PARTS = re.compile(r"_ImgNo.*$|(_\d\d){2}_\d{4}$|_?p?\d+(_p?\d+)?(_clear|_cloudy)?(_\d\dm)?$")
"""What differs between names of images of one place. Neighbouring places of a series count as one too."""

Fold = tuple[int, int]
"""(k, count): the fold held out for validation in a cross-validation, counted from 0."""


@dataclass(frozen=True, slots=True)
class Source:
    """One set of labelled images."""

    name: str
    """As in shares and tables."""
    pattern: str
    """Glob of its images, below the data folder."""
    read: Callable[[Path], Chip]
    """Reads an image with its labels."""

    def chips(self, data: Path, validation: bool, fold: Fold | None = None) -> list[Chip]:
        """The training or validation chips, by the fixed split or by that of a fold."""
        paths = self.paths(data)
        if fold is None:
            chosen = [path for path in paths if self._validates(path, paths) == validation]
        else:
            places = sorted({self.place(path) for path in paths})
            chosen = [p for p in paths if (places.index(self.place(p)) % fold[1] == fold[0]) == validation]
        return [self.read(path) for path in chosen]

    def place(self, path: Path) -> str:
        """The part of an image's name that all images of its place share."""
        if self.name in ("biome", "sparcs", "catalogue", "chips"):
            return path.stem  # each from another scene
        return TIMES_AND_PARTS.sub("", path.stem)

    def paths(self, data: Path) -> list[Path]:
        """Its images, sorted. Raises DatasetError if there are none."""
        found = sorted(p for p in data.glob(self.pattern) if not p.stem.endswith(("_label", "_probability")))
        if not found:
            raise DatasetError(f"{data / self.pattern}: no such files; the recipe needs them")
        return found

    def _validates(self, path: Path, paths: list[Path]) -> bool:
        if self.name in HELD_OUT:
            return path.name.startswith(HELD_OUT[self.name])
        return paths.index(path) % EVERY == EVERY - 1


def read_tif(path: Path) -> NDArray[np.float16]:
    """A four-band GeoTIFF of reflectance × 10 000, no data 65535 → ``(4, h, w)``, NaN where there is no data."""
    with rasterio.open(path) as dataset:
        values = dataset.read()
    return np.where((values == 65_535).any(0), np.nan, values * np.float32(1e-4)).astype("float16")


def read_codes(path: Path) -> NDArray[np.uint8]:
    """The values of a mask, ``(h, w)``."""
    with rasterio.open(path) as dataset:
        codes: NDArray[np.uint8] = dataset.read(1)
    return codes


def chip(path: Path, reflectance: NDArray[np.float16], target: NDArray[np.uint8], metres: float) -> Chip:
    """A chip whose target is unknown where it has no data."""
    target[:, np.isnan(reflectance[:3]).any(0)] = UNKNOWN
    return Chip(path.stem, reflectance, target, metres)


def cloud_only(cloud: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Per cent of cloud ``(h, w)`` → a target whose shadow is unknown, or clear if the whole image is."""
    shadow = np.full_like(cloud, CLEAR if (cloud == CLEAR).all() else UNKNOWN)
    return np.stack([cloud, shadow]).astype("uint8")


def biome(path: Path) -> Chip:
    """L8 Biome: masks by USGS. Shadow is unknown in patches that have cloud but no shadow labelled."""
    codes = read_codes(path.parent.parent / "masks" / path.name)
    target = translate(codes, CLASSES["l8-biome"])
    if (target[0] == CLOUD).any() and not (target[1] == CLOUD).any():
        target[1] = UNKNOWN
    return chip(path, read_tif(path), target, 30)


def sparcs(path: Path) -> Chip:
    """SPARCS: masks by USGS. Red, green, blue as DN / 256, near-infrared imputed; no correction for sun elevation."""
    folder = path.parent.parent
    rgb = np.array(Image.open(path)).transpose(2, 0, 1)
    nir = np.array(Image.open(folder / "nir" / path.name))
    values = (np.concatenate([rgb, nir[None]]).astype("float32") + 0.5) * 256 * 2e-5 - 0.1
    values[:, (rgb == 0).all(0)] = np.nan
    codes = np.array(Image.open(folder / "masks" / f"{path.stem}.png"))
    return chip(path, values.astype("float16"), translate(codes, CLASSES["sparcs"]), 30)


def catalogue(path: Path) -> Chip:
    """Sentinel-2 Cloud Mask Catalogue: red, green, blue only; generous masks."""
    rgb = np.array(Image.open(path)).transpose(2, 0, 1).astype("float32") / 255
    cloud = np.array(Image.open(path.parent.parent / "masks" / f"{path.stem}.png")) * CLOUD
    return chip(path, np.concatenate([rgb, np.full_like(rgb[:1], np.nan)]).astype("float16"), cloud_only(cloud), 40)


def taught(path: Path) -> Chip:
    """Images with the cloud probability, in per cent, of ukis-csmask 1.0.0."""
    percent = read_codes(path.with_name(f"{path.stem}_probability.tif"))
    target = np.stack([percent, np.full_like(percent, UNKNOWN)])
    return chip(path, read_tif(path), target, float(path.stem.rsplit("_", 1)[1][:-1]))


def labelled(path: Path) -> Chip:
    """Sentinel-2 images with masks drawn by hand (`s2_labelled`) or made automatically (`weak`)."""
    codes = read_codes(path.with_name(f"{path.stem}_label.tif"))
    cloud = np.where(codes > 1, UNKNOWN, codes * CLOUD)
    return chip(path, read_tif(path), cloud_only(cloud), 10)


def clear(path: Path) -> Chip:
    """Images without cloud and shadow."""
    values = read_tif(path)
    return chip(path, values, np.full((2, *values.shape[1:]), CLEAR, "uint8"), 30 if "l8" in path.stem else 20)


SOURCES = {
    source.name: source
    for source in (
        Source("biome", "l8biome/images/*.tif", biome),
        Source("sparcs", "sparcs/images/*.jpg", sparcs),
        Source("catalogue", "catalogue/images/*.jpg", catalogue),
        Source("taught", "taught/*m.tif", taught),
        Source("chips", "s2_labelled/*.tif", labelled),
        Source("clear", "backgrounds/*.tif", clear),
        Source("weak", "weak/*.tif", labelled),  # share-alike labels: for validation only
    )
}


def bright_ground(chip: Chip) -> NDArray[np.bool_]:
    """Where a chip is clear and as bright as cloud, ``(h, w)``: snow, ice, salt, sand."""
    return (chip.pixels()[:3].min(0) > BRIGHT) & (chip.target[0] <= CLOUD // 10)


def snowy(chip: Chip) -> bool:
    """Whether more than a tenth of a chip is bright ground."""
    return bool(bright_ground(chip).mean() > 0.1)


def has_nir(chip: Chip) -> bool:
    """Whether a chip has near-infrared."""
    return bool(np.isfinite(chip.reflectance[3]).any())


CHOSEN: dict[str, Callable[[Chip], bool]] = {
    "snow": lambda chip: has_nir(chip) and snowy(chip),
    "snow, red green blue alone": lambda chip: not has_nir(chip) and snowy(chip),
}
"""Sets that are chosen from the training chips of all others, to be drawn more often."""


def training_groups(data: Path, shares: dict[str, float], fold: Fold | None = None) -> list[Group]:
    """The training chips of the named sets, each with its share of the samples. Raises DatasetError."""
    sets = {name: SOURCES[name].chips(data, False, fold) for name in shares if name in SOURCES}
    every = [chip for chips in sets.values() for chip in chips]
    sets |= {name: [chip for chip in every if CHOSEN[name](chip)] for name in shares if name in CHOSEN}
    return [(share, sets[name]) for name, share in shares.items()]


def validation_sets(data: Path, fold: Fold | None = None) -> Iterator[tuple[str, list[Chip]]]:
    """The validation chips, by set. Raises DatasetError."""
    for name, source in SOURCES.items():
        yield name, source.chips(data, True, fold)
