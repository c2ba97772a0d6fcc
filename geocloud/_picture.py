"""Pictures of reflectance, and HTML that shows them in notebooks."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

NATURAL = (0, 1, 2)
FALSE_COLOUR = (3, 0, 1)
"""Bands shown as red, green and blue: natural colour, and false colour, in which vegetation is red."""

GAMMA = 0.7
KNEE = 0.88
"""Stretch: its exponent, and the brightness (0 black, 1 white) of its upper end."""

SPAN = 0.08
"""Minimum range of reflectance of the stretch; a smaller range would show noise on open water."""

ENOUGH = 0.03
"""Minimum share of clear pixels, among the valid ones, for a stretch based on clear pixels only."""

REACH = 3.0
"""Maximum ratio of the upper end's distance from the haze to the median's, if clouds are unknown."""

SIDE = 480
"""Longest side in pixels of a picture in a notebook."""


def render(
    reflectance: NDArray[np.float32],
    bands: tuple[int, int, int] = NATURAL,
    clear: NDArray[np.bool_] | None = None,
) -> Pixels:
    """Reflectance ``(4, h, w)`` → red, green, blue, alpha ``(h, w, 4)``; pixels without data are transparent.

    The stretch runs from each band's 1st percentile, its haze, to the 98th percentile of all three bands, computed over
    the pixels that are ``clear`` ``(h, w)``: land is as bright with clouds as without, and brighter pixels, mostly
    clouds, share the lightest greys. If ``clear`` is None, or hardly any pixel is clear, the upper end is at most
    `REACH` times as far from the haze as the median.
    """
    valid = np.isfinite(reflectance[list(bands)]).all(0)
    picture = np.zeros((*valid.shape, 4), "uint8")
    if not valid.any():
        return picture
    shown = reflectance[list(bands)][:, valid]
    known = clear is not None and clear[valid].mean() >= ENOUGH
    seen = shown[:, clear[valid]] if known and clear is not None else shown
    low = np.percentile(seen, 1, axis=1, keepdims=True)
    middle, high = np.percentile(seen - low, (50, 98))
    span = max(high if known else min(high, REACH * middle), SPAN)
    steps = np.maximum(shown - low, 0) / span
    bright = np.where(steps < 1, KNEE * steps**GAMMA, 1 - (1 - KNEE) / np.maximum(steps, 1))
    picture[valid, :3] = np.rint(255 * bright).astype("uint8").T
    picture[valid, 3] = 255
    return picture


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


def as_html(title: str, facts: dict[str, str], picture: Pixels | None) -> str:
    """HTML for a notebook: a table of facts and, beside it, a picture ``(h, w, 4)``."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    image = ""
    if picture is not None:
        data = base64.b64encode(encode(picture, "png")).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{escape(title)}">'
    return (
        f'<div style="display:flex;gap:1em;align-items:flex-start">{image}'
        f"<table><caption>{escape(title)}</caption>{rows}</table></div>"
    )
