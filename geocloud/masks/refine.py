"""Refinement of a mask: impossible shadow and small regions are removed, the rest is buffered.

Each step reads rows of a mask and yields rows of the refined mask, so that it works on files and on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import rasterio.features
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.errors import OptionError
from geocloud.grid import GeoBox
from geocloud.masks.codes import CIRRUS, CLEAR, CLOUD, NO_DATA, SHADOW, SNOW, STRIP, Mask, ReadMask, Rows
from geocloud.masks.shadow import drop_impossible
from geocloud.options import MaskOptions
from geocloud.raster import Sun

Step = Callable[[ReadMask], Rows]


def refinements(options: MaskOptions, grid: GeoBox, sun: Sun | None) -> list[Step]:
    """The steps that refine a mask, in order. Raises OptionError for sizes in metres if the pixel size is unknown."""
    steps: list[Step] = []
    if grid.pixel_size is None:
        if any((options.min_area, options.buffer, options.shadow_buffer, options.polygon_min_area)):
            raise OptionError(
                "sizes in metres need a scene whose pixel size is known; this one has no CRS with a unit: "
                "state its size, pixel_size=METRES"
            )
        return steps
    if options.shadows and sun and sun.is_usable:
        steps.append(partial(drop_impossible, grid=grid, sun=sun))
    if options.min_area:
        steps.append(partial(remove_small, grid=grid, pixels=count_pixels(options.min_area, grid)))
    radii = {CLOUD: options.buffer, SHADOW: options.buffer + options.shadow_buffer}
    radii = {value: radius for value, radius in radii.items() if radius and (value == CLOUD or options.shadows)}
    if radii:
        steps.append(partial(dilate, grid=grid, radii=radii))
    return steps


def refine(mask: Mask, steps: list[Step]) -> Mask:
    """A mask ``(h, w)`` in memory, refined by all steps."""
    for step in steps:
        mask = np.concatenate([rows for _, rows in step(lambda first, last, mask=mask: mask[first:last].copy())])  # type: ignore[misc]
    return mask


def count_pixels(area: float, grid: GeoBox) -> int:
    """Number of pixels that cover an area in square metres, rounded up."""
    if area == 0:
        return 0
    assert grid.pixel_size is not None
    return math.ceil(area / (grid.pixel_size[0] * grid.pixel_size[1]) - 1e-9)


def remove_small(read: ReadMask, *, grid: GeoBox, pixels: int) -> Rows:
    """The mask without clouds, shadows and holes of fewer than ``pixels`` pixels (4-connected).

    A small region takes the value of its largest neighbour, or stays if none is large enough. If there are fewer than
    ``pixels`` valid pixels, all become clear. Clouds come first, then shadows, each against all other classes. No data
    stays. The whole mask is held in memory, at a few bytes per pixel, as regions are known only when all rows have been
    read.
    """
    mask = read(0, grid.height)
    valid = mask != NO_DATA
    if pixels > np.count_nonzero(valid):  # no region is large enough
        mask[valid] = CLEAR
    least = min(pixels, mask.size - 1)
    shadow = mask == SHADOW
    if least > 0:
        mask[shadow] = CLEAR
        mask = rasterio.features.sieve(mask, least, mask=valid)
        if shadow.any():
            rest = mask == CLEAR
            shadow = rasterio.features.sieve((shadow & rest).astype("uint8"), least, mask=rest) > 0
            mask[shadow & rest] = SHADOW
    yield 0, mask


def dilate(read: ReadMask, *, grid: GeoBox, radii: Mapping[int, float], strip: int = STRIP) -> Rows:
    """The mask with cloud and shadow grown by a radius, measured between the centres of pixels.

    ``radii`` are those of CLOUD and SHADOW in metres. Cloud grows over all classes except no data, shadow over all
    except cloud and no data. Distances are Euclidean, also for pixels that are not square. In a geographic CRS the
    pixel size is computed at the latitude of each strip.
    """
    assert grid.pixel_size is not None
    reach = math.floor(max(radii.values()) / grid.pixel_size[0])
    for first in range(0, grid.height, strip):
        last = min(first + strip, grid.height)
        top, bottom = max(first - reach, 0), min(last + reach, grid.height)
        mask = read(top, bottom)
        size = grid.crop(Window(0, first, grid.width, last - first)).pixel_size
        assert size is not None
        here = slice(first - top, last - top)
        near = {value: _near(mask == value, radius, size, here) for value, radius in radii.items()}
        out = mask[here]
        for value, over in ((SHADOW, (CLEAR, SNOW, CIRRUS)), (CLOUD, (CLEAR, SHADOW, SNOW, CIRRUS))):
            if value in near:
                out[near[value] & np.isin(out, over)] = value
        yield first, out


def _near(cloud: NDArray[np.bool_], radius: float, size: tuple[float, float], rows: slice) -> NDArray[np.bool_]:
    """``(h, w)``, True for cloud → the given rows of it, True within ``radius`` metres of cloud."""
    columns = np.arange(cloud.shape[1], dtype="int32")
    far = np.int32(2 * cloud.shape[1] + 1)
    left = np.maximum.accumulate(np.where(cloud, columns, -far), axis=1)
    right = np.minimum.accumulate(np.where(cloud, columns, far)[:, ::-1], axis=1)[:, ::-1]
    aside = np.minimum(columns - left, right - columns)  # pixels to the nearest cloud in the same row
    near = np.zeros((rows.stop - rows.start, cloud.shape[1]), bool)
    height, width = cloud.shape
    reach = min(math.floor(radius / size[0]), height)
    for down in range(-reach, reach + 1):
        first, last = max(rows.start + down, 0), min(rows.stop + down, height)
        if first < last:
            side = math.floor(math.sqrt(max(radius**2 - (down * size[0]) ** 2, 0)) / size[1])
            near[first - down - rows.start : last - down - rows.start] |= aside[first:last] <= min(side, width)
    return near
