"""Temporary rasters of a scene: the mask and, where results need them, probabilities in per cent."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from geocloud.masks.codes import NONE, Counts, Thresholds, to_mask, to_percent
from geocloud.masks.refine import Step
from geocloud.readers import RasterScene
from geocloud.tiling.blend import Strip
from geocloud.writers.cog import StripWriter, rewrite
from geocloud.writers.plan import OutputPlan
from geocloud.writers.staging import Staging


@dataclass(frozen=True, slots=True)
class StagedRasters:
    """Temporary rasters, from which the results are made."""

    mask: Path
    """The mask."""
    percent: Path | None
    """Probabilities in per cent, a band per class; None: not needed."""
    counts: Counts
    """Pixels of the mask by class."""


def stage(
    strips: Iterable[Strip], scene: RasterScene, thresholds: Thresholds, staging: Staging, plan: OutputPlan
) -> StagedRasters:
    """Writes strips of probability as temporary rasters, each while the next is predicted."""
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
        for strip in strips:
            counts += written.result()
            written = writer.submit(write, strip)
            del strip  # by the writer, too, as soon as it is written
        return StagedRasters(mask, percent, counts + written.result())


def refine_staged(
    rasters: StagedRasters, steps: Iterable[Step], scene: RasterScene, staging: Staging, plan: OutputPlan
) -> StagedRasters:
    """The rasters with their mask refined, see `geocloud.masks.refine`."""
    for number, step in enumerate(steps):
        refined = staging.scratch(plan.mask, f"refined-{number}.tif")
        counts = rewrite(rasters.mask, refined, step, scene.grid, scene.area_or_point)
        rasters = replace(rasters, mask=refined, counts=counts)
    return rasters
