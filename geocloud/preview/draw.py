"""Quick-looks: a picture of a scene with its clouds, a scale bar and a caption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling

from geocloud._picture import FALSE_COLOUR, NATURAL, Pixels, encode, render
from geocloud.errors import GridError, OptionError, OutputError
from geocloud.grid import GeoBox
from geocloud.masks.codes import CLEAR, CLOUD, NO_DATA, count, percent
from geocloud.preview.render import outline, overlay, side_by_side
from geocloud.readers import RasterScene, ReadOptions, open_scene
from geocloud.readers.stack import open_raster
from geocloud.writers.staging import Staging
from geocloud.writers.styles import CLASSES

FORMS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
COLOURS = {"natural": (NATURAL,), "nir": (FALSE_COLOUR,), "both": (NATURAL, FALSE_COLOUR)}
SHOWN = {NATURAL: "natural colour", FALSE_COLOUR: "near-infrared, red, green"}
CLOUDS = {"outline": outline, "overlay": overlay}


def preview_scene(
    source: str | Path,
    output: str | Path,
    *,
    mask: str | Path | None = None,
    read: ReadOptions | None = None,
    overwrite: bool = False,
    **look: Any,
) -> tuple[int, int]:
    """Draws a source of `geocloud.open_scene` as a .png, .jpg or .webp file; see `draw_picture`.

    Returns its (height, width) in pixels. Raises GeocloudError.
    """
    output = Path(output)
    if output.suffix.lower() not in FORMS:
        raise OptionError(f"{output}: wanted a name that ends in {', '.join(FORMS)}")
    with open_scene(source, read) as scene:
        picture = draw_picture(scene, mask, **look)
    with Staging([output], overwrite) as staging:
        try:
            staging.place(output).write_bytes(encode(picture, FORMS[output.suffix.lower()]))
        except OSError as error:
            raise OutputError(f"{output}: cannot be written ({error})") from error
        staging.publish()
    return picture.shape[0], picture.shape[1]


def draw_picture(
    scene: RasterScene,
    mask: str | Path | None = None,
    *,
    size: int = 1200,
    colour: str = "natural",
    cloud: str | None = None,
    beside: bool = False,
    caption: bool = True,
) -> Pixels:
    """Draws an open scene, read at reduced resolution: ``(h, w, 4)``. Raises GeocloudError.

    Args:
        scene: The scene.
        mask: Mask of the scene, whose clouds are drawn; None: no clouds.
        size: Longest side of each picture of the scene, in pixels.
        colour: natural, nir (near-infrared shown as red) or both.
        cloud: outline or overlay; None: overlay with ``beside``, else outline.
        beside: True also shows the scene without the mask, beside the picture with it.
        caption: True shows a scale bar, the scene's name and its date below.
    """
    if beside and mask is None:
        raise OptionError("nothing to show beside the scene: name a mask")
    if scene.bands == 3 and colour != "natural":
        raise OptionError(f"{scene.recipe.source}: no near-infrared band; wanted the colour natural")
    seen = scene.shrink(size)
    clouds = None if mask is None else _read_mask(Path(mask), scene, (seen.shape[1], seen.shape[2]))
    pictures = []
    for bands in COLOURS[colour]:
        plain = render(seen, bands, None if clouds is None else clouds == CLEAR)
        if clouds is None or beside:
            pictures.append(plain)
        if clouds is not None:
            pictures.append(CLOUDS[cloud or ("overlay" if beside else "outline")](plain, clouds))
    picture = side_by_side(pictures)
    if caption:
        place = scene.grid.resize(seen.shape[1], seen.shape[2])
        shown = " | ".join(SHOWN[bands] for bands in COLOURS[colour])
        date = f", {scene.acquired:%Y-%m-%d}" if scene.acquired else ""
        picture = _caption(picture, place, f"{scene.name}{date}{_share(clouds)}", shown)
    return picture


def _read_mask(path: Path, scene: RasterScene, shape: tuple[int, int]) -> Pixels:
    with open_raster(str(path), str(path)) as dataset:
        grid = GeoBox.of(dataset)
        south_up = grid.agrees_with(scene.grid.flip())
        if not (south_up or grid.agrees_with(scene.grid)):
            raise GridError(f"{path}: is not a mask of {scene.recipe.source}, its grid differs: {grid}; {scene.grid}")
        if dataset.dtypes[0] != "uint8":
            raise GridError(f"{path}: holds {dataset.dtypes[0]}, wanted a mask: 0 clear, 1 cloud, 255 no data")
        values: Pixels = dataset.read(1, out_shape=shape, resampling=Resampling.nearest)
    return values[::-1] if south_up else values


def _share(clouds: Pixels | None) -> str:
    if clouds is None or not (clouds != NO_DATA).any():
        return ""
    counts = count(clouds)
    shown = [code for code in CLASSES if code == CLOUD or (code != CLEAR and counts[code])]
    return ": " + ", ".join(f"{percent(counts, code):.0f} % {CLASSES[code]}" for code in shown)


def _caption(picture: Pixels, place: GeoBox, title: str, shown: str) -> Pixels:
    """The picture with a strip below it: title, colours, and a scale bar of a round length."""
    width = picture.shape[1]
    letters = max(11, min(28, place.width // 40))
    font = ImageFont.load_default(letters)
    strip = Image.new("RGBA", (width, round(3.6 * letters)), (255, 255, 255, 255))
    draw, edge = ImageDraw.Draw(strip), letters // 2
    bar = _bar(place)
    room = width - 2 * edge
    if bar:
        length, text = bar
        left, right = width - edge - length, width - edge
        y = round(2.9 * letters)
        draw.line([(left, y), (right, y)], fill=(0, 0, 0, 255), width=max(2, letters // 6))
        for x in (left, right):
            draw.line([(x, y - letters // 2), (x, y)], fill=(0, 0, 0, 255), width=max(1, letters // 10))
        draw.text((right, y - letters // 2), text, (0, 0, 0, 255), font, anchor="rb")
        room = left - 2 * edge
    draw.text((edge, edge), _fit(title, font, width - 2 * edge), (0, 0, 0, 255), font)
    draw.text((edge, edge + round(1.5 * letters)), _fit(shown, font, room), (90, 90, 90, 255), font)
    return np.concatenate([picture, np.asarray(strip)], 0)


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, truncated to ``width`` pixels."""
    cuts = [text, *(text[:end] + "…" for end in range(len(text) - 1, 0, -1))]
    return next((cut for cut in cuts if font.getlength(cut) <= width), "")


def _bar(place: GeoBox) -> tuple[int, str] | None:
    """Length of the scale bar in pixels, and its label: 1, 2 or 5 times a power of ten metres."""
    if place.pixel_size is None or place.width < 60:
        return None
    metre = place.pixel_size[1]
    longest = place.width / 4 * metre
    power = 10 ** math.floor(math.log10(longest))
    length = next(step * power for step in (5, 2, 1) if step * power <= longest)
    return max(1, round(length / metre)), f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
