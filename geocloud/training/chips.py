"""Chips: small images with labels, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

CLEAR, CLOUD, IGNORE = 0, 1, 255

LabelMap = dict[int, int]
"""From the values of a mask file to CLEAR, CLOUD or IGNORE; values that it does not name are ignored."""

L8_BIOME: LabelMap = {64: CLEAR, 128: CLEAR, 192: CLOUD, 255: CLOUD}
ZERO_ONE: LabelMap = {0: CLEAR, 1: CLOUD}


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """Reflectance ``(4, h, w)`` float32, NaN where there is no data; label ``(h, w)``: CLEAR, CLOUD or IGNORE."""

    name: str
    reflectance: NDArray[np.float32]
    label: NDArray[np.uint8]


def read_chip(image: Path, mask: Path | None, classes: LabelMap) -> Chip:
    """Reads a four-band image, reflectance × 10 000, and its mask; without a mask the whole image is clear."""
    with rasterio.open(image) as source:
        values = source.read().astype("float32")
        values[:, (values == source.nodata).any(0)] = np.nan
    label = np.full(values.shape[1:], CLEAR, "uint8")
    if mask is not None:
        with rasterio.open(mask) as source:
            codes = source.read(1)
        label[:] = IGNORE
        for code, meaning in classes.items():
            label[codes == code] = meaning
    label[np.isnan(values).any(0)] = IGNORE
    return Chip(image.stem, values / 10_000, label)


def read_pairs(images: Iterable[Path], masks: Path, suffix: str, classes: LabelMap) -> list[Chip]:
    """Reads each image with the mask ``<stem><suffix>`` in the folder ``masks``."""
    return [read_chip(image, masks / f"{image.stem}{suffix}", classes) for image in sorted(images)]
