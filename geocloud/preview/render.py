"""Rendering of scenes and masks as small pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geocloud._picture import Pixels as Pixels
from geocloud._picture import encode as encode
from geocloud._picture import render as render
from geocloud.masks.codes import CIRRUS, CLOUD, SHADOW, SNOW
from geocloud.writers import styles

GAP = 8
"""Pixels between pictures side by side."""

SHOWN = {code: styles.RGB[code] for code in (CIRRUS, SNOW, SHADOW, CLOUD)}
"""Mask classes that are drawn, and their colours."""


class Overview:
    """A decimated copy of a scene, collected while the scene is read; see ``watch`` of `geocloud.pipeline.mask_scene`.

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


def colour_mask(mask: Pixels) -> Pixels:
    """A mask ``(h, w)`` in the colours of `geocloud.writers.styles`: red, green, blue, alpha ``(h, w, 4)``."""
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
    """A picture ``(h, w, 4)`` with lines around the classes of a mask ``(h, w)``.

    Each edge has two lines, one pixel wide: inside in the colour of the class, outside in black, for contrast.
    """
    over = picture.copy()
    for value, colour in SHOWN.items():
        here = np.pad(mask == value, 1, "edge")
        sides = here[:-2, 1:-1], here[2:, 1:-1], here[1:-1, :-2], here[1:-1, 2:]
        over[(mask == value) & ~np.logical_and.reduce(sides)] = (*colour, 255)
        over[~np.isin(mask, list(SHOWN)) & np.logical_or.reduce(sides)] = (0, 0, 0, 255)
    return over


def side_by_side(pictures: list[Pixels]) -> Pixels:
    """Pictures ``(h, w, 4)`` of equal height side by side, with transparent gaps."""
    gap = np.zeros((len(pictures[0]), GAP, 4), "uint8")
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, 1)
