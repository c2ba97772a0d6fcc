"""Temporary rasters of a scene: the mask and, where results need them, probabilities in per cent."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocloud.masks.codes import NONE, Counts, ReadMask, Thresholds, to_mask, to_percent
from geocloud.masks.further import LAYERS
from geocloud.masks.refine import Step
from geocloud.readers import RasterScene
from geocloud.readers.further import ReadBand, further_band
from geocloud.tiling.blend import Strip
from geocloud.writers.cog import StripWriter, rewrite, rows_of
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


class FurtherLayers:
    """Rasters of the snow index and of thin cirrus, written while a scene is read. Use it in a ``with`` block.

    Args:
        scene: The scene.
        names: The bands that are wanted, as in `further_band`.
        staging: Where rasters are written.
        plan: The results.
    """

    def __init__(self, scene: RasterScene, names: Iterable[str], staging: Staging, plan: OutputPlan) -> None:
        self._scene, self._stack = scene, ExitStack()
        self._readers: dict[str, ReadBand] = {}
        self._paths = {name: staging.scratch(plan.mask, f"{name}.tif") for name in names}

    def __enter__(self) -> FurtherLayers:
        self._writers: dict[str, StripWriter] = {}
        for name, path in self._paths.items():
            read = self._stack.enter_context(further_band(self._scene, name))
            assert read is not None
            self._readers[name] = read
            self._writers[name] = self._stack.enter_context(StripWriter(path, self._scene.grid, None))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def layers(self) -> dict[str, ReadMask]:
        """Functions that read rows of the finished rasters, by name of the band."""
        return {name: rows_of(path) for name, path in self._paths.items()}

    def take(self, first: int, reflectance: NDArray[np.float32]) -> None:
        """Takes the next rows of the scene, ``(4, rows, width)``, from row ``first`` on."""
        for name, read in self._readers.items():
            values = read(first, first + reflectance.shape[1])
            self._writers[name].write(first, LAYERS[name](reflectance, values))


def stage(
    strips: Iterable[Strip],
    scene: RasterScene,
    thresholds: Thresholds,
    staging: Staging,
    plan: OutputPlan,
    with_percent: bool = False,
) -> StagedRasters:
    """Writes strips of probability as temporary rasters, each while the next is predicted."""
    counts, mask, percent = NONE, staging.scratch(plan.mask, "mask.tif"), None
    if plan.polygons or plan.probability or with_percent:
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
