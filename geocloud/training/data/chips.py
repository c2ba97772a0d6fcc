"""Chips (small images with labels) in memory and on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import GridError, OptionError, OutputError
from geocloud.readers import ReadOptions, open_scene, read_filled
from geocloud.readers.stack import open_raster

CLEAR, CLOUD, UNKNOWN = 0, 100, 255
"""Target values: per cent of cloud or shadow. UNKNOWN is ignored in losses and scores."""

SCALE, MISSING = 10_000, -32_768
"""Encoding of reflectance as int16 in tiles and packed chips: reflectance × SCALE, or MISSING without data."""

MEANINGS = ("clear", "cloud", "shadow", "ignore")

LabelMap = dict[int, str]
"""Meaning of each mask value: "clear", "cloud", "shadow" or "ignore". Unlisted values are ignored.

If no value means shadow, shadow is unknown wherever there is no cloud."""

CLASSES: dict[str, LabelMap] = {
    "geocloud": {0: "clear", 1: "cloud", 2: "shadow"},
    "38-cloud": {0: "clear", **dict.fromkeys(range(1, 256), "cloud")},
    "l8-biome": {64: "shadow", 128: "clear", 192: "cloud", 255: "cloud"},
    "sparcs": {0: "shadow", 1: "shadow", **dict.fromkeys((2, 3, 4, 6), "clear"), 5: "cloud"},
}
"""Label maps by data set.

l8-biome: 64 shadow, 128 clear, 192 thin cloud, 255 cloud. sparcs: 0 shadow, 1 shadow over water, 2 water, 3 snow, 4
land, 5 cloud, 6 flooded.
"""


def parse_classes(text: str) -> LabelMap:
    """The label map named in `CLASSES`, or written like "0=clear,128=cloud,255=ignore". Raises OptionError."""
    if text in CLASSES:
        return CLASSES[text]
    label_map: LabelMap = {}
    for part in text.split(","):
        value, _, meaning = part.partition("=")
        if not value.strip().isdigit() or meaning.strip() not in MEANINGS:
            raise OptionError(
                f"classes {text!r}: wanted {', '.join(CLASSES)}, or pairs of value and meaning such as "
                "0=clear,1=cloud,255=ignore"
            )
        label_map[int(value)] = meaning.strip()
    if "cloud" not in label_map.values():
        raise OptionError(f"classes {text!r}: no value means cloud")
    return label_map


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """A small image with labels."""

    name: str  # unique within its data set
    reflectance: NDArray[np.floating]
    """``(4, h, w)``, float32 (float16 to save memory); NaN where there is no data. Near-infrared is all NaN if the
    image lacks it."""
    target: NDArray[np.uint8]
    """``(2, h, w)``: cloud and shadow in per cent (CLEAR to CLOUD), or UNKNOWN."""
    metres: float = 30.0  # pixel size in metres

    def pixels(self, window: tuple[slice, ...] | slice = np.s_[:]) -> NDArray[np.float32]:
        """Reflectance as float32, optionally of a window ``[:, rows, cols]``."""
        return self.reflectance[window].astype("float32")

    @property
    def cloud(self) -> NDArray[np.bool_]:
        """Cloud mask ``(h, w)``, True where more than half of a pixel is cloud."""
        return (self.target[0] > CLOUD // 2) & self.known

    @property
    def known(self) -> NDArray[np.bool_]:
        """``(h, w)``, True where cloud is labelled (clear or cloud)."""
        return self.target[0] != UNKNOWN


@dataclass(frozen=True, slots=True)
class ChipSource:
    """A chip on disk."""

    name: str  # unique within its data set
    scene: str  # scene it was cut from; chips of a scene are similar, so they are held out together
    image: Path  # a source for `geocloud.readers.open_scene`
    mask: Path | None = None  # label raster; None: all pixels are clear
    classes: LabelMap = field(default_factory=lambda: CLASSES["geocloud"])  # meaning of the mask's values
    options: ReadOptions = field(default_factory=ReadOptions)

    def read(self) -> Chip:
        """Reads the image and its mask. Raises SceneError, or GridError if their sizes differ."""
        with open_scene(self.image, self.options) as scene:
            shape = scene.grid.shape
            metres = max(scene.grid.pixel_size or (30.0,))
            reflectance = read_filled(scene, scene.grid.whole)
        target = np.full((2, *shape), CLEAR, "uint8")
        if self.mask is not None:
            codes = read_codes(self.mask)
            if codes.shape != shape:
                own, wanted = (f"{height}×{width}" for height, width in (codes.shape, shape))
                raise GridError(f"{self.mask}: {own} pixels, wanted {wanted} as in {self.image}")
            target = translate(codes, self.classes)
        target[:, np.isnan(reflectance[:3]).any(0)] = UNKNOWN
        return Chip(self.name, reflectance, target, metres)

    def fingerprint(self) -> str:
        """Hash that changes with the chip's files and reading options."""
        stats = [path.stat() for path in (self.image, self.mask) if path is not None]
        return hashlib.sha256(repr((self, [(s.st_size, s.st_mtime_ns) for s in stats])).encode()).hexdigest()[:32]


class Chips(Protocol):
    """A sequence of chips: a list, or an object that reads chips on access."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Chip: ...


class LazyChips:
    """Chips that are read on access.

    With a ``cache`` folder, decoded chips are kept there and reused until their files change; reflectance is rounded
    to 0.0001. Raises OutputError if the folder cannot be written.
    """

    def __init__(self, sources: Sequence[ChipSource], cache: Path | None = None) -> None:
        self.sources, self.cache = sources, cache

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int, /) -> Chip:
        source = self.sources[index]
        if self.cache is None:
            return source.read()
        path = self.cache / f"{source.fingerprint()}.npz"
        if not path.exists():
            chip = source.read()
            staged = path.with_suffix(f".{os.getpid()}.npz")
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
                np.savez(staged, numbers=to_int16(chip.pixels()), target=chip.target, metres=chip.metres)
                staged.replace(path)
            except OSError as error:
                raise OutputError(f"{self.cache}: chips cannot be packed here ({error.strerror})") from error
        with np.load(path) as packed:
            numbers = packed["numbers"]
            reflectance = np.where(numbers == MISSING, np.float32(np.nan), numbers.astype("float32") / SCALE)
            return Chip(source.name, reflectance, packed["target"], float(packed["metres"]))


def to_int16(reflectance: NDArray[np.float32]) -> NDArray[np.int16]:
    """Reflectance as int16, multiplied by SCALE; MISSING where it is NaN."""
    return np.nan_to_num(np.rint(reflectance * SCALE).clip(MISSING + 1, -MISSING - 1), nan=MISSING).astype("int16")


def read_codes(mask: Path) -> NDArray[np.integer]:
    """Values of a mask file, ``(h, w)``. Raises SceneReadError."""
    with open_raster(str(mask), str(mask)) as dataset:
        return dataset.read(1)


def translate(codes: NDArray[np.integer], classes: LabelMap) -> NDArray[np.uint8]:
    """Target ``(2, h, w)`` of a `Chip` from mask values ``(h, w)``."""
    target = np.full((2, *codes.shape), UNKNOWN, "uint8")
    clear = CLEAR if "shadow" in classes.values() else UNKNOWN
    meanings = {"clear": (CLEAR, clear), "cloud": (CLOUD, CLEAR), "shadow": (CLEAR, CLOUD)}
    for value, meaning in classes.items():
        if meaning in meanings:
            target[:, codes == value] = np.array(meanings[meaning], "uint8")[:, None]
    return target
