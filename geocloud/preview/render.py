"""Rendering of scenes and masks as small pictures."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geocloud.outputs import styles
from geocloud.outputs.mask import CLEAR, CLOUD, SHADOW

Pixels = NDArray[np.uint8]

NATURAL = (0, 1, 2)
FALSE_COLOUR = (3, 0, 1)
"""Bands shown as red, green and blue: natural colour, and false colour, in which vegetation is red."""

GAMMA = 0.7
KNEE = 0.88
"""Of the stretch: the exponent, and the share of the range from black to white that its upper end is given."""

GAP = 8
"""Pixels between pictures side by side."""

SPAN = 0.08
"""Smallest range of reflectance that is stretched from black to white, or noise would be seen on open water."""

ENOUGH = 0.03
"""Smallest share of the valid pixels that must be clear for the stretch to go by them."""

REACH = 3.0
"""How many times as far from the haze as the median the upper end of a stretch is at most, if clouds are unknown."""

SHOWN = {SHADOW: styles.SHADOW_RGB, CLOUD: styles.CLOUD_RGB}
"""Mask classes that are drawn, and their colours."""


class Overview:
    """A decimated copy of a scene, collected while it is read: see ``watch`` of `geocloud.pipeline.mask_scene`.

    It holds every ``step``-th pixel, so that no side exceeds ``side`` pixels.
    """

    def __init__(self, side: int = 512) -> None:
        self.side = side
        self.step = 1
        self._rows: list[NDArray[np.float32]] = []

    def take(self, first: int, rows: NDArray[np.float32]) -> None:
        """Takes the next rows of the scene, from row ``first`` on: reflectance ``(4, rows, width)``."""
        if first == 0:
            self.step, self._rows = max(1, math.ceil(rows.shape[2] / self.side)), []
        self._rows.append(rows[:, -first % self.step :: self.step, :: self.step].copy())
        while sum(part.shape[1] for part in self._rows) > self.side:  # a tall scene
            whole = np.concatenate(self._rows, 1)
            self.step, self._rows = 2 * self.step, [whole[:, ::2, ::2].copy()]

    @property
    def reflectance(self) -> NDArray[np.float32]:
        """``(4, h, w)``, NaN where there is no data."""
        return np.concatenate(self._rows, 1)


def render(
    reflectance: NDArray[np.float32], bands: tuple[int, int, int] = NATURAL, mask: Pixels | None = None
) -> Pixels:
    """Reflectance ``(4, h, w)`` → red, green, blue, alpha ``(h, w, 4)``; pixels without data are transparent.

    The stretch runs from each band's 1st percentile, its haze, to the 98th percentile of all three together, over what
    ``mask`` ``(h, w)`` calls clear: the land is as bright among clouds as without them, and what is brighter than that,
    clouds above all, shares the lightest greys. Where no mask is at hand, or hardly anything is clear, the upper end is
    at most `REACH` times as far from the haze as the median.
    """
    valid = np.isfinite(reflectance[list(bands)]).all(0)
    picture = np.zeros((*valid.shape, 4), "uint8")
    if not valid.any():
        return picture
    shown = reflectance[list(bands)][:, valid]
    clear = np.zeros(shown.shape[1], bool) if mask is None else mask[valid] == CLEAR
    known = clear.mean() >= ENOUGH
    seen = shown[:, clear] if known else shown
    low = np.percentile(seen, 1, axis=1, keepdims=True)
    middle, high = np.percentile(seen - low, (50, 98))
    span = max(high if known else min(high, REACH * middle), SPAN)
    steps = np.maximum(shown - low, 0) / span
    bright = np.where(steps < 1, KNEE * steps**GAMMA, 1 - (1 - KNEE) / np.maximum(steps, 1))
    picture[valid, :3] = np.rint(255 * bright).astype("uint8").T
    picture[valid, 3] = 255
    return picture


def colour_mask(mask: Pixels) -> Pixels:
    """A mask ``(h, w)`` in the colours of `geocloud.outputs.styles`: red, green, blue, alpha ``(h, w, 4)``."""
    table = np.zeros((256, 4), "uint8")
    for value, colour in styles.colours().items():
        table[value] = colour
    return table[mask]


def overlay(picture: Pixels, mask: Pixels) -> Pixels:
    """A picture ``(h, w, 4)`` with the cloud and shadow of a mask ``(h, w)`` semi-transparent over it."""
    over = picture.copy()
    for value, colour in SHOWN.items():
        here = mask == value
        over[here, :3] = (picture[here, :3].astype("uint16") + np.array(colour)) // 2
        over[here, 3] = 255
    return over


def outline(picture: Pixels, mask: Pixels) -> Pixels:
    """A picture ``(h, w, 4)`` with a one-pixel line around cloud and shadow of a mask ``(h, w)``, on the inside."""
    over = picture.copy()
    for value, colour in SHOWN.items():
        here = np.pad(mask == value, 1, "edge")
        inner = here[1:-1, 1:-1] & here[:-2, 1:-1] & here[2:, 1:-1] & here[1:-1, :-2] & here[1:-1, 2:]
        over[(mask == value) & ~inner] = (*colour, 255)
    return over


def side_by_side(pictures: list[Pixels]) -> Pixels:
    """Pictures ``(h, w, 4)`` of equal height side by side, with transparent gaps."""
    gap = np.zeros((len(pictures[0]), GAP, 4), "uint8")
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, 1)


def encode(picture: Pixels, form: str) -> bytes:
    """``(h, w, 4)`` as the bytes of a file: "png" and "webp" keep transparency, "jpeg" turns it white."""
    image = Image.fromarray(picture)
    out = io.BytesIO()
    if form == "jpeg":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        Image.alpha_composite(white, image).convert("RGB").save(out, form, quality=80)
    elif form == "webp":
        image.save(out, form, quality=70)
    else:
        image.save(out, form, optimize=True)
    return out.getvalue()
