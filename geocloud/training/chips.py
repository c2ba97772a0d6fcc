"""Chips: small images with labels, in memory, and where on disk they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.errors import GridError, OptionError
from geocloud.scene import ReadOptions, open_scene, read_filled
from geocloud.scene.raster import open_raster

CLEAR, CLOUD, IGNORE = 0, 1, 255
MEANINGS = {"clear": CLEAR, "cloud": CLOUD, "ignore": IGNORE}

LabelMap = dict[int, int]
"""From the values of a mask file to CLEAR, CLOUD or IGNORE; values that it does not name are ignored."""

CLASSES: dict[str, LabelMap] = {
    "geocloud": {0: CLEAR, 1: CLOUD},
    "38-cloud": {0: CLEAR, **dict.fromkeys(range(1, 256), CLOUD)},
    "l8-biome": {64: CLEAR, 128: CLEAR, 192: CLOUD, 255: CLOUD},
    "sparcs": {**dict.fromkeys((0, 1, 2, 3, 4, 6), CLEAR), 5: CLOUD},
}
"""What mask values mean, by the name of who wrote them.

l8-biome: 64 shadow, 128 clear, 192 thin cloud, 255 cloud. sparcs: 0 shadow, 1 shadow over water, 2 water, 3 snow, 4
land, 5 cloud, 6 flooded.
"""


def parse_classes(text: str) -> LabelMap:
    """ "l8-biome", or "0=clear,128=cloud,255=ignore" → a label map. Raises OptionError."""
    if text in CLASSES:
        return CLASSES[text]
    found: LabelMap = {}
    for part in text.split(","):
        value, _, meaning = part.partition("=")
        if not value.strip().isdigit() or meaning.strip() not in MEANINGS:
            raise OptionError(
                f"classes {text!r}: wanted {', '.join(CLASSES)}, or pairs of value and meaning such as "
                "0=clear,1=cloud,255=ignore"
            )
        found[int(value)] = MEANINGS[meaning.strip()]
    if CLOUD not in found.values():
        raise OptionError(f"classes {text!r}: no value means cloud")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """Reflectance ``(4, h, w)`` float32, NaN where there is no data; label ``(h, w)``: CLEAR, CLOUD or IGNORE."""

    name: str
    reflectance: NDArray[np.float32]
    label: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ChipSource:
    """Where a chip is on disk. ``image`` is whatever `geocloud.scene.open_scene` opens; without a mask all is clear.

    Chips of one ``scene`` are nearly the same picture: never split them between training and validation.
    """

    name: str
    scene: str
    image: Path
    mask: Path | None = None
    classes: LabelMap = field(default_factory=lambda: CLASSES["geocloud"])
    options: ReadOptions = field(default_factory=ReadOptions)

    def read(self) -> Chip:
        """Reads image and mask. Raises SceneError; GridError where the two differ in size."""
        with open_scene(self.image, self.options) as scene:
            height, width = scene.grid.shape
            reflectance = read_filled(scene, Window(0, 0, width, height))
        label = np.full((height, width), CLEAR, "uint8")
        if self.mask is not None:
            codes = read_codes(self.mask)
            if codes.shape != label.shape:
                raise GridError(
                    f"{self.mask}: {codes.shape[0]}×{codes.shape[1]} pixels, "
                    f"wanted {height}×{width} as {self.image} has"
                )
            label = translate(codes, self.classes)
        label[np.isnan(reflectance).any(0)] = IGNORE
        return Chip(self.name, reflectance, label)


class Chips(Protocol):
    """Chips by number: a list of them, or something that reads each one when it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Chip: ...


class LazyChips:
    """Chips that are read each time they are asked for."""

    def __init__(self, sources: Sequence[ChipSource]) -> None:
        self.sources = sources

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int, /) -> Chip:
        return self.sources[index].read()


def read_codes(mask: Path) -> NDArray[np.integer]:
    """The values of a mask file, ``(h, w)``. Raises SceneReadError."""
    with open_raster(str(mask), str(mask)) as dataset:
        return dataset.read(1)


def translate(codes: NDArray[np.integer], classes: LabelMap) -> NDArray[np.uint8]:
    """Mask values → CLEAR, CLOUD or IGNORE, same shape."""
    label = np.full(codes.shape, IGNORE, "uint8")
    for value, meaning in classes.items():
        label[codes == value] = meaning
    return label
