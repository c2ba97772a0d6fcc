"""Writing of the mask, from top to bottom, while the scene is read and predicted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocloud.grid import GeoBox
from geocloud.outputs.mask import (
    CLOUD,
    NONE,
    SHADOW,
    Counts,
    StripWriter,
    Thresholds,
    count,
    dilate,
    remove_small,
    to_mask,
    to_percent,
)
from geocloud.outputs.plan import OutputPlan
from geocloud.outputs.shadow import LEAST_ELEVATION, Sun, drop_impossible
from geocloud.outputs.staging import Staging
from geocloud.pipeline.options import MaskOptions
from geocloud.readers import RasterScene, Scene
from geocloud.tiling.blend import ReadRows, Strip, blend, tile_rows
from geocloud.tiling.model import Predict
from geocloud.tiling.resample import NATIVE, Coarse, Factors
from geocloud.tiling.tiles import TileGrid

Progress = Callable[[int, int], None]
"""Called with the number of finished rows of tiles, and their total."""

Watch = Callable[[int, NDArray[np.float32]], None]
"""Called as a scene is read, with the first row and reflectance ``(4, rows, width)``, NaN where there is no data."""

STRIP = 640
"""Rows of a mask that are refined, counted or vectorised at once."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Temporary rasters, from which the results are made."""

    mask: Path
    """The mask."""
    percent: Path | None
    """Probabilities in per cent, a band per class; None: not needed."""
    counts: Counts
    """Pixels of the mask by class."""


@dataclass(frozen=True, slots=True)
class View:
    """A scene as the model sees it: cut into tiles, and downsampled where its pixels are finer than the model's."""

    grid: TileGrid
    """The tiles, in pixels that the model sees."""
    read: ReadRows
    """Reads rows of those pixels."""
    coarse: Coarse | None
    """Resamples to those pixels and back; None: they are the scene's own."""

    @classmethod
    def of(cls, scene: Scene, read: ReadRows, factors: Factors, options: MaskOptions) -> View:
        height, width = scene.grid.shape
        coarse = None if factors == NATIVE else Coarse(read, height, width, factors)
        if coarse:
            (height, width), read = coarse.shape, coarse.read
        return cls(TileGrid.fitted(height, width, options.tile_size, options.overlap), read, coarse)

    def strips(self, predict: Predict, classes: int, progress: Progress | None) -> Iterator[Strip]:
        """Probabilities ``(classes, rows, width)`` of the scene's own pixels, from top to bottom."""

        def shown() -> Iterator[Strip]:
            done = itertools.count(1)  # `enumerate` would hold on to strips
            for strip in blend(self.grid, tile_rows(self.grid, self.read), predict, classes):
                if progress:
                    progress(next(done), self.grid.rows)
                yield strip
                del strip

        return self.coarse.enlarge(shown()) if self.coarse else shown()


def draw(
    scene: RasterScene,
    view: View,
    predict: Predict,
    thresholds: Thresholds,
    staging: Staging,
    plan: OutputPlan,
    progress: Progress | None,
) -> Drawn:
    """Writes the mask and, where results need them, the percentages to temporary rasters.

    Reading, predicting and writing run concurrently, each slightly ahead of the next.
    """
    counts, mask, percent = NONE, staging.scratch(plan.mask, "mask.tif"), None
    if plan.polygons or plan.probability:
        percent = staging.scratch(plan.mask, "percent.tif")
    with ExitStack() as stack:
        masks = stack.enter_context(StripWriter(mask, scene.grid, scene.area_or_point))
        percents = percent and stack.enter_context(
            StripWriter(percent, scene.grid, scene.area_or_point, thresholds.classes)
        )
        writer = stack.enter_context(ThreadPoolExecutor(1))

        def write(strip: Strip) -> Counts:
            values = to_mask(strip.probability, thresholds)
            masks.write(strip.first_row, values)
            if percents:
                percents.write(strip.first_row, to_percent(strip.probability))
            return Counts.of(values)

        written = writer.submit(lambda: NONE)
        for strip in view.strips(predict, thresholds.classes, progress):
            counts += written.result()
            written = writer.submit(write, strip)
            del strip  # by the writer, too, as soon as it is written
        return Drawn(mask, percent, counts + written.result())


def refine(drawn: Drawn, scene: RasterScene, options: MaskOptions, staging: Staging, plan: OutputPlan) -> Drawn:
    """Removes impossible shadow and small regions, then buffers the rest."""
    mask = drawn.mask
    sun = _sun(scene)
    if options.shadows and drawn.counts.shadow and sun:
        thrown = staging.scratch(plan.mask, "thrown.tif")
        drop_impossible(mask, thrown, scene.grid, sun, STRIP, scene.area_or_point)
        mask = thrown
    if options.min_area:
        pixels, sieved = pixels_of(options.min_area, scene.grid), staging.scratch(plan.mask, "sieved.tif")
        remove_small(mask, sieved, pixels, scene.grid, STRIP, scene.area_or_point)
        mask = sieved
    radii = {CLOUD: options.buffer, SHADOW: options.buffer + options.shadow_buffer}
    radii = {value: radius for value, radius in radii.items() if radius and (value == CLOUD or options.shadows)}
    if radii:
        grown = staging.scratch(plan.mask, "grown.tif")
        dilate(mask, grown, scene.grid, radii, STRIP, scene.area_or_point)
        mask = grown
    return drawn if mask == drawn.mask else Drawn(mask, drawn.percent, count(mask, STRIP))


def watched(read: ReadRows, watch: Watch | None) -> ReadRows:
    if watch is None:
        return read

    def read_and_show(first: int, out: NDArray[np.float32]) -> None:
        read(first, out)
        watch(first, out)

    return read_and_show


def _sun(scene: Scene) -> Sun | None:
    """Where the sun stands, if that is known, high enough, and the scene has a place and a size in metres."""
    if scene.sun_elevation is None or scene.sun_azimuth is None or scene.grid.pixel_size is None:
        return None
    high = LEAST_ELEVATION <= scene.sun_elevation < 90
    return Sun(scene.sun_elevation, scene.sun_azimuth) if high else None


def pixels_of(area: float, grid: GeoBox) -> int:
    """Number of pixels that cover an area in square metres, rounded up."""
    if area == 0:
        return 0
    assert grid.pixel_size is not None
    return math.ceil(area / (grid.pixel_size[0] * grid.pixel_size[1]) - 1e-9)
