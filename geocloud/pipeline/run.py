"""From strips of probability to the results of a scene: GeoTIFFs, polygons, and the summary for the caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from logging import getLogger
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geocloud.masks.codes import (
    CIRRUS,
    CLOUD,
    LAYERS,
    NO_DATA,
    ROWS,
    SHADOW,
    SNOW,
    Mask,
    Thresholds,
    count,
    percent,
    to_mask,
    to_percent,
)
from geocloud.masks.refine import Step, count_pixels, remove_small
from geocloud.options import MaskOptions
from geocloud.pipeline.masked import write_masked
from geocloud.pipeline.result import MaskResult
from geocloud.readers import RasterScene, ReadOptions
from geocloud.readers.further import ReadBand, further_band
from geocloud.tiling.blend import RowQueue, Strip
from geocloud.writers import styles
from geocloud.writers.cog import StripWriter, flip_rows, rewrite, rows_of, write_cog
from geocloud.writers.staging import OutputPlan, Staging

log = getLogger(__name__)

POLYGON_PIXELS = 9
"""Clouds and holes of fewer pixels are left out of the polygons, unless another minimum is given."""

WITHOUT = {
    "swir1": ("at 1.6 µm (swir1)", "snow", {"snow": False, "reject_snow": False}),
    "cirrus": ("at 1.37 µm (cirrus)", "thin cirrus", {"cirrus": False}),
}
"""Further bands that a scene may lack: title, class that needs the band, options without that class."""


class FurtherLayers:
    """Layers of the snow index and of thin cirrus, for rows that have been read and are not masked yet."""

    def __init__(self, readers: dict[str, ReadBand]) -> None:
        self._readers, self._rows = readers, {name: RowQueue() for name in readers}

    def take(self, first: int, reflectance: NDArray[np.float32]) -> None:
        """Takes the next rows of the scene, ``(4, rows, width)``, from row ``first`` on."""
        for name, read in self._readers.items():
            band = read(first, first + reflectance.shape[1])
            for top in range(0, len(band), ROWS):
                rows = slice(top, top + ROWS)
                self._rows[name].put(LAYERS[name](reflectance[:, rows], band[rows]))

    def next(self, rows: int) -> dict[str, Mask]:
        """The layers of the next rows."""
        return {name: queue.take(rows) for name, queue in self._rows.items()}


@contextmanager
def further_layers(scene: RasterScene, options: MaskOptions) -> Iterator[tuple[MaskOptions, FurtherLayers]]:
    """Opens the further bands of a scene. Yields the options without classes whose band is missing, with a note."""
    with ExitStack() as stack:
        readers = {}
        for name in options.further:
            band = stack.enter_context(further_band(scene, name))
            if band is None:
                title, kind, without = WITHOUT[name]
                log.warning("%s: no band %s with a known scale; %s is not told", scene.recipe.source, title, kind)
                options = replace(options, **without)
            else:
                readers[name] = band
        yield options, FurtherLayers(readers)


class MaskRun:
    """The mask of a scene in the making: temporary rasters, and the results that are written from them."""

    def __init__(
        self,
        scene: RasterScene,
        model: str,
        thresholds: Thresholds,
        options: MaskOptions,
        plan: OutputPlan,
        staging: Staging,
    ) -> None:
        self._scene, self._model, self.thresholds, self._options = scene, model, thresholds, options
        self._plan, self._staging, self._counts = plan, staging, Counter[int]()
        self._mask, self._percent = self._scratch("mask.tif"), self._scratch("percent.tif")
        self._polygon_count: int | None = None

    def stage(self, strips: Iterable[Strip], layers: FurtherLayers) -> None:
        """Writes strips of probability as temporary rasters, each while the next is predicted."""
        scene, plan, classes = self._scene, self._plan, self.thresholds.classes
        with ExitStack() as stack:
            masks = stack.enter_context(StripWriter(self._mask, scene.grid, scene.area_or_point))
            percents = None
            if plan.polygons or plan.probability:
                percents = stack.enter_context(StripWriter(self._percent, scene.grid, scene.area_or_point, classes))
            writer = stack.enter_context(ThreadPoolExecutor(1))

            def write(strip: Strip) -> Counter[int]:
                further = layers.next(strip.probability.shape[1])
                mask = to_mask(strip.probability, self.thresholds, further, self._options.snow)
                masks.write(strip.first_row, mask)
                if percents:
                    percents.write(strip.first_row, to_percent(strip.probability))
                return count(mask)

            written = writer.submit(Counter[int])
            for strip in strips:
                self._counts += written.result()
                written = writer.submit(write, strip)
                del strip  # by the writer, too, as soon as it is written
            self._counts += written.result()

    def refine(self, steps: Iterable[Step]) -> None:
        """Refines the mask, see `geocloud.masks.refine`."""
        for number, step in enumerate(steps):
            refined = self._scratch(f"refined-{number}.tif")
            self._counts = rewrite(self._mask, refined, step, self._scene.grid, self._scene.area_or_point)
            self._mask = refined

    def read(self) -> Mask:
        """The mask ``(h, w)``, north up."""
        return rows_of(self._mask)(0, self._scene.grid.height)

    def write(self) -> None:
        """Writes all results, the mask last but for what is made from it."""
        plan, codes, place = self._plan, self._options.codes, self._staging.place
        if plan.polygons:
            self._polygon_count = self._write_polygons(plan.polygons)
        if plan.probability:
            names = ("cloud", "cloud shadow")[: self.thresholds.classes]
            self._staging.place_text(plan.styles[plan.probability], styles.probability_qml())
            write_cog(
                self._as_stored(self._percent),
                place(plan.probability),
                descriptions=[f"{name} probability, per cent" for name in names],
                tags=self._tags(),
                resampling=Resampling.average,
            )
        self._staging.place_text(plan.styles[plan.mask], styles.mask_qml(codes))
        self._staging.place_text(plan.mask.with_name(plan.mask.name + ".aux.xml"), styles.mask_aux_xml(codes))
        write_cog(
            self._as_stored(self._mask),
            place(plan.mask),
            descriptions=["cloud mask"],
            tags=self._tags(),
            colours=styles.colours(codes),
        )
        if plan.masked:
            write_masked(self._scene, place(plan.mask), place(plan.masked), self._tags())

    def result(self, read: ReadOptions, seconds: float) -> MaskResult:
        """The summary, of a scene read with these options."""
        scene, plan = self._scene, self._plan
        return MaskResult(
            source=scene.recipe.source,
            scene=scene.name,
            mask=plan.mask,
            polygons=plan.polygons,
            probability=plan.probability,
            masked=plan.masked,
            cloud_percent=self._share(CLOUD),
            valid_percent=self._valid_percent,
            polygon_count=self._polygon_count,
            height=scene.grid.height,
            width=scene.grid.width,
            crs=scene.grid.crs,
            acquired=scene.acquired,
            model=self._model,
            threshold=self.thresholds.cloud,
            seconds=round(seconds, 3),
            shadow_percent=self._share(SHADOW),
            shadow_threshold=self.thresholds.shadow,
            snow_percent=self._share(SNOW),
            cirrus_percent=self._share(CIRRUS),
            codes=self._options.codes,
            read=read,
        )

    def _share(self, code: int) -> float | None:
        """Per cent of the valid pixels that are of a class; None if not requested, or if there are no valid pixels."""
        return percent(self._counts, code) if code in self._options.codes else None

    @property
    def _valid_percent(self) -> float:
        total = self._counts.total()
        return 100 * (total - self._counts[NO_DATA]) / total

    def _tags(self) -> dict[str, str]:
        """Metadata tags of the output rasters."""
        scene, thresholds = self._scene, self.thresholds
        shares = {styles.CLASSES[code]: self._share(code) for code in self._options.codes[1:]}
        shadow = {} if thresholds.shadow is None else {"GEOCLOUD_SHADOW_THRESHOLD": f"{thresholds.shadow:g}"}
        return {
            "TIFFTAG_SOFTWARE": f"geocloud {version('geocloud')}",
            "GEOCLOUD_MODEL": self._model,
            "GEOCLOUD_THRESHOLD": f"{thresholds.cloud:g}",
            "GEOCLOUD_SOURCE": scene.name,
            "GEOCLOUD_ACQUIRED": scene.acquired.isoformat() if scene.acquired else "unknown",
            "GEOCLOUD_VALID_PERCENT": f"{self._valid_percent:.2f}",
            **{f"GEOCLOUD_{k.upper()}_PERCENT": "none" if v is None else f"{v:.2f}" for k, v in shares.items()},
            **shadow,
        }

    def _abstract(self) -> str:
        """The same as text, for the GeoPackage."""
        scene, names = self._scene, {CLOUD: "cloud", SHADOW: "cloud shadow", SNOW: "snow", CIRRUS: "thin cirrus"}
        shares = {names[code]: self._share(code) for code in self._options.codes[1:]}
        share = ", ".join(f"{v:.1f} % {name}" for name, v in shares.items() if v is not None) or "no valid pixels"
        when = f", acquired {scene.acquired:%Y-%m-%d %H:%M} UTC" if scene.acquired else ""
        how = f"geocloud {version('geocloud')}, model {self._model}, threshold {self.thresholds.cloud:g}"
        return f"{scene.name}{when}: {share}. {how}."

    def _write_polygons(self, path: Path) -> int:
        """Writes polygons of the mask, without small clouds and holes, and returns their number."""
        from geocloud.writers import polygons, vector  # importing geopandas takes longer than masking a small scene

        scene, mask, codes, least = self._scene, self._mask, self._options.codes, self._options.polygon_min_area
        pixels = POLYGON_PIXELS if least is None else count_pixels(least, scene.grid)
        if pixels > 1:
            mask = self._scratch("simpler.tif")
            rewrite(self._mask, mask, partial(remove_small, grid=scene.grid, pixels=pixels), scene.grid, None)
        frame = polygons.trace_clouds(mask, self._percent, scene=scene.name, acquired=scene.acquired, codes=codes)
        qml = styles.polygons_qml(codes)
        metadata = {"layer": polygons.LAYER, "title": f"Clouds of {scene.name}", "abstract": self._abstract()}
        vector.write_layer([frame], self._staging.place(path), **metadata, qml=qml)
        if path in self._plan.styles:
            self._staging.place_text(self._plan.styles[path], qml)
        return len(frame)

    def _as_stored(self, raster: Path) -> Path:
        """The raster in the orientation of the scene's own file: south up if that is."""
        scene = self._scene
        if not scene.south_up:
            return raster
        flipped = self._scratch(f"{raster.stem}-south-up.tif")
        flip_rows(raster, flipped, scene.grid.flip(), scene.area_or_point)
        return flipped

    def _scratch(self, name: str) -> Path:
        return self._staging.scratch(self._plan.mask, name)
