"""Results of a scene, made from strips of probability: GeoTIFFs, polygons and the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geocloud.masks.codes import LAYERS, NO_DATA, ROWS, Mask, Thresholds, count, percent, to_mask, to_percent
from geocloud.masks.refine import Step, count_pixels, remove_small
from geocloud.options import MaskOptions
from geocloud.pipeline.masked import write_masked
from geocloud.pipeline.result import MaskResult
from geocloud.readers import RasterScene, ReadOptions
from geocloud.readers.further import ReadBand, further_band
from geocloud.tiling.tiles import RowQueue, Strip
from geocloud.writers import styles
from geocloud.writers.cog import StripWriter, flip_rows, rewrite, rows_of, write_cog
from geocloud.writers.staging import OutputPlan, Staging

log = getLogger(__name__)

POLYGON_PIXELS = 9
"""Default minimum size in pixels of clouds, shadows and holes in the polygons."""

WITHOUT = {
    "swir1": ("at 1.6 µm (swir1)", "snow", {"snow": False, "reject_snow": False}),
    "cirrus": ("at 1.37 µm (cirrus)", "thin cirrus", {"cirrus": False}),
}
"""Further bands that a scene may lack: title, class that needs the band, options without that class."""

Take = Callable[[int, NDArray[np.float32]], None]
"""Takes the next rows of the scene: the number of the first row, and reflectance ``(4, rows, width)``."""

Layers = Callable[[int], dict[str, Mask]]
"""Returns the layers of the given number of next rows, for `to_mask`."""


@contextmanager
def further_layers(scene: RasterScene, options: MaskOptions) -> Iterator[tuple[MaskOptions, Take, Layers]]:
    """Options without classes whose band is missing, and functions to put in and take out layers of snow and cirrus."""
    readers: dict[str, ReadBand] = {}
    with ExitStack() as stack:
        for name in options.further:
            if band := stack.enter_context(further_band(scene, name)):
                readers[name] = band
            else:
                title, kind, without = WITHOUT[name]
                log.warning("%s: no band %s with a known scale; %s is not masked", scene.recipe.source, title, kind)
                options = replace(options, **without)
        queues = {name: RowQueue() for name in readers}

        def take(first: int, reflectance: NDArray[np.float32]) -> None:
            for name, read in readers.items():
                band = read(first, first + reflectance.shape[1])
                for top in range(0, len(band), ROWS):
                    rows = slice(top, top + ROWS)
                    queues[name].put(LAYERS[name](reflectance[:, rows], band[rows]))

        yield options, take, lambda rows: {name: queue.take(rows) for name, queue in queues.items()}


class MaskRun:
    """The mask of a scene in progress: temporary rasters, and the results written from them."""

    def __init__(
        self,
        scene: RasterScene,
        read: ReadOptions,
        model: str,
        thresholds: Thresholds,
        options: MaskOptions,
        plan: OutputPlan,
        staging: Staging,
    ) -> None:
        self._scene, self._read, self._model, self.thresholds = scene, read, model, thresholds
        self._options, self._plan, self._staging, self._counts = options, plan, staging, Counter[int]()
        self._mask, self._percent = self._scratch("mask.tif"), self._scratch("percent.tif")

    def stage(self, strips: Iterable[Strip], layers: Layers) -> None:
        """Writes strips of probability to temporary rasters, each strip while the next one is predicted."""
        scene, plan, classes = self._scene, self._plan, self.thresholds.classes
        with ExitStack() as stack:
            masks = stack.enter_context(StripWriter(self._mask, scene.grid, scene.area_or_point))
            percents = None
            if plan.polygons or plan.probability:
                percents = stack.enter_context(StripWriter(self._percent, scene.grid, scene.area_or_point, classes))
            writer = stack.enter_context(ThreadPoolExecutor(1))

            def write(strip: Strip) -> Counter[int]:
                further = layers(strip.probability.shape[1])
                mask = to_mask(strip.probability, self.thresholds, further, self._options.snow)
                masks.write(strip.first_row, mask)
                if percents:
                    percents.write(strip.first_row, to_percent(strip.probability))
                return count(mask)

            written = writer.submit(Counter[int])
            for strip in strips:
                self._counts += written.result()
                written = writer.submit(write, strip)
                del strip  # the writer also releases it, once it is written
            self._counts += written.result()

    def refine(self, steps: Iterable[Step]) -> None:
        """Refines the mask; see `geocloud.masks.refine`."""
        for number, step in enumerate(steps):
            refined = self._scratch(f"refined-{number}.tif")
            self._counts = rewrite(self._mask, refined, step, self._scene.grid, self._scene.area_or_point)
            self._mask = refined

    def read(self) -> Mask:
        """The mask ``(h, w)``, north up."""
        return rows_of(self._mask)(0, self._scene.grid.height)

    def write(self) -> MaskResult:
        """Writes all results, the mask and the masked scene last, and returns the summary."""
        plan, codes, place, result = self._plan, self._options.codes, self._staging.place, self._result()
        tags = _tags(result)
        if plan.polygons:
            result = replace(result, polygon_count=self._write_polygons(plan.polygons, result))
        if plan.probability:
            names = ("cloud", "cloud shadow")[: self.thresholds.classes]
            self._staging.write(plan.styles[plan.probability], styles.probability_qml())
            write_cog(
                self._as_stored(self._percent),
                place(plan.probability),
                descriptions=[f"{name} probability, per cent" for name in names],
                tags=tags,
                resampling=Resampling.average,
            )
        self._staging.write(plan.styles[plan.mask], styles.mask_qml(codes))
        self._staging.write(plan.mask.with_name(plan.mask.name + ".aux.xml"), styles.mask_aux_xml(codes))
        mask, colours = self._as_stored(self._mask), styles.colours(codes)
        write_cog(mask, place(plan.mask), descriptions=["cloud mask"], tags=tags, colours=colours)
        if plan.masked:
            write_masked(self._scene, place(plan.mask), place(plan.masked), tags)
        return result

    def _result(self) -> MaskResult:
        """The summary, without ``polygon_count`` and ``seconds``."""
        scene, plan, counts, codes = self._scene, self._plan, self._counts, self._options.codes
        shares: Any = {f"{styles.CLASSES[code]}_percent": percent(counts, code) for code in codes[1:]}
        return MaskResult(
            source=scene.recipe.source,
            scene=scene.name,
            mask=plan.mask,
            polygons=plan.polygons,
            probability=plan.probability,
            masked=plan.masked,
            **shares,
            valid_percent=100 * (counts.total() - counts[NO_DATA]) / counts.total(),
            height=scene.grid.height,
            width=scene.grid.width,
            crs=scene.grid.crs,
            acquired=scene.acquired,
            model=self._model,
            threshold=self.thresholds.cloud,
            shadow_threshold=self.thresholds.shadow,
            codes=codes,
            read=self._read,
        )

    def _write_polygons(self, path: Path, result: MaskResult) -> int:
        """Writes polygons of the mask, without small clouds and holes, and returns their number."""
        from geocloud.writers import polygons, vector  # importing geopandas takes longer than masking a small scene

        grid, mask, codes, least = self._scene.grid, self._mask, result.codes, self._options.polygon_min_area
        pixels = POLYGON_PIXELS if least is None else count_pixels(least, grid)
        if pixels > 1:
            mask = self._scratch("simpler.tif")
            rewrite(self._mask, mask, partial(remove_small, grid=grid, pixels=pixels), grid, None)
        frame = polygons.trace_clouds(mask, self._percent, scene=result.scene, acquired=result.acquired, codes=codes)
        qml = styles.polygons_qml(codes)
        metadata = {"layer": polygons.LAYER, "title": f"Clouds of {result.scene}", "abstract": _abstract(result)}
        vector.write_layer([frame], self._staging.place(path), **metadata, qml=qml)
        if path in self._plan.styles:
            self._staging.write(self._plan.styles[path], qml)
        return len(frame)

    def _as_stored(self, raster: Path) -> Path:
        """The raster in the orientation of the scene's file: flipped if the file has south up."""
        scene = self._scene
        if not scene.south_up:
            return raster
        flipped = self._scratch(f"{raster.stem}-south-up.tif")
        flip_rows(raster, flipped, scene.grid.flip(), scene.area_or_point)
        return flipped

    def _scratch(self, name: str) -> Path:
        return self._staging.scratch(self._plan.mask, name)


def _tags(result: MaskResult) -> dict[str, str]:
    """Metadata tags of the output rasters."""
    shadow = result.shadow_threshold
    return {
        "TIFFTAG_SOFTWARE": f"geocloud {version('geocloud')}",
        "GEOCLOUD_MODEL": result.model,
        "GEOCLOUD_THRESHOLD": f"{result.threshold:g}",
        "GEOCLOUD_SOURCE": result.scene,
        "GEOCLOUD_ACQUIRED": result.acquired.isoformat() if result.acquired else "unknown",
        "GEOCLOUD_VALID_PERCENT": f"{result.valid_percent:.2f}",
        **{f"GEOCLOUD_{k.upper()}_PERCENT": "none" if v is None else f"{v:.2f}" for k, v in result.shares.items()},
        **({} if shadow is None else {"GEOCLOUD_SHADOW_THRESHOLD": f"{shadow:g}"}),
    }


def _abstract(result: MaskResult) -> str:
    """Summary of the result as text, for the GeoPackage."""
    shares = ", ".join(f"{v:.1f} % {name}" for name, v in result.shares.items() if v is not None) or "no valid pixels"
    when = f", acquired {result.acquired:%Y-%m-%d %H:%M} UTC" if result.acquired else ""
    how = f"geocloud {version('geocloud')}, model {result.model}, threshold {result.threshold:g}"
    return f"{result.scene}{when}: {shares}. {how}."
