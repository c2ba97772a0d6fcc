"""From temporary rasters to the results: GeoTIFFs, polygons, and the summary for the caller."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rasterio.enums import Resampling

from geocloud.masks.codes import CIRRUS, CLOUD, SHADOW, SNOW, Thresholds
from geocloud.masks.refine import count_pixels, remove_small
from geocloud.options import MaskOptions
from geocloud.pipeline.masked import write_masked
from geocloud.pipeline.result import MaskResult
from geocloud.pipeline.staged import StagedRasters
from geocloud.readers import RasterScene, ReadOptions
from geocloud.writers import styles
from geocloud.writers.cog import flip_rows, rewrite, write_cog
from geocloud.writers.plan import OutputPlan
from geocloud.writers.staging import Staging

POLYGON_PIXELS = 9
"""Clouds and holes of fewer pixels are left out of the polygons, unless another minimum is given."""


@dataclass(frozen=True, slots=True)
class MaskRun:
    """A scene that has been masked, from which the results are written."""

    scene: RasterScene
    """The scene, still open."""
    model: str
    """Name of the model."""
    thresholds: Thresholds
    """The thresholds that were applied."""
    rasters: StagedRasters
    """The temporary rasters."""
    options: MaskOptions
    """The requested options."""
    read: ReadOptions
    """Facts about the source that the user gave."""
    plan: OutputPlan
    """The files to write."""

    def percent(self, code: int) -> float | None:
        """Per cent of the valid pixels that are of a class; None if not requested, or if there are no valid pixels."""
        return self.rasters.counts.percent(code) if code in self.options.codes else None

    @property
    def tags(self) -> dict[str, str]:
        """Metadata tags of the output rasters."""
        scene, further = self.scene, {}
        if self.thresholds.shadow is not None:
            further["GEOCLOUD_SHADOW_THRESHOLD"] = f"{self.thresholds.shadow:g}"
        for code in self.options.codes[2:]:
            further[f"GEOCLOUD_{styles.CLASSES[code].upper()}_PERCENT"] = _percent(self.percent(code))
        return {
            "TIFFTAG_SOFTWARE": f"geocloud {version('geocloud')}",
            "GEOCLOUD_MODEL": self.model,
            "GEOCLOUD_THRESHOLD": f"{self.thresholds.cloud:g}",
            "GEOCLOUD_SOURCE": scene.name,
            "GEOCLOUD_ACQUIRED": scene.acquired.isoformat() if scene.acquired else "unknown",
            "GEOCLOUD_CLOUD_PERCENT": _percent(self.percent(CLOUD)),
            "GEOCLOUD_VALID_PERCENT": f"{self.rasters.counts.valid_percent:.2f}",
            **further,
        }

    @property
    def abstract(self) -> str:
        """The same as text, for the GeoPackage."""
        scene, cloud = self.scene, self.percent(CLOUD)
        share = "no valid pixels" if cloud is None else f"{cloud:.1f} % cloud"
        names = {SHADOW: "cloud shadow", SNOW: "snow", CIRRUS: "thin cirrus"}
        shares = {names[code]: self.percent(code) for code in self.options.codes[2:]}
        share += "".join(f", {value:.1f} % {name}" for name, value in shares.items() if value is not None)
        when = f", acquired {scene.acquired:%Y-%m-%d %H:%M} UTC" if scene.acquired else ""
        how = f"geocloud {version('geocloud')}, model {self.model}, threshold {self.thresholds.cloud:g}"
        return f"{scene.name}{when}: {share}. {how}."

    def write(self, staging: Staging) -> int | None:
        """Writes all results. Returns the number of polygons; None: not requested."""
        polygon_count = self._write_polygons(staging)
        self._write_probability(staging)
        self._write_mask(staging)
        if self.plan.masked:
            write_masked(self.scene, staging.place(self.plan.mask), staging.place(self.plan.masked), self.tags)
        return polygon_count

    def result(self, polygon_count: int | None, seconds: float) -> MaskResult:
        """The return value of `mask_scene`."""
        scene, counts = self.scene, self.rasters.counts
        return MaskResult(
            source=scene.recipe.source,
            scene=scene.name,
            mask=self.plan.mask,
            polygons=self.plan.polygons,
            probability=self.plan.probability,
            masked=self.plan.masked,
            cloud_percent=counts.cloud_percent,
            valid_percent=counts.valid_percent,
            polygon_count=polygon_count,
            height=scene.grid.height,
            width=scene.grid.width,
            crs=scene.grid.crs,
            acquired=scene.acquired,
            model=self.model,
            threshold=self.thresholds.cloud,
            seconds=round(seconds, 3),
            shadow_percent=self.percent(SHADOW),
            shadow_threshold=self.thresholds.shadow,
            snow_percent=self.percent(SNOW),
            cirrus_percent=self.percent(CIRRUS),
            codes=self.options.codes,
            read=self.read,
        )

    def _write_polygons(self, staging: Staging) -> int | None:
        """Writes polygons of the mask, without small clouds and holes."""
        if self.plan.polygons is None:
            return None
        from geocloud.writers import polygons, vector  # importing geopandas takes longer than masking a small scene

        scene, mask, percent, least = self.scene, self.rasters.mask, self.rasters.percent, self.options.polygon_min_area
        assert percent is not None
        pixels = POLYGON_PIXELS if least is None else count_pixels(least, scene.grid)
        if pixels > 1:
            mask = staging.scratch(self.plan.mask, "simpler.tif")
            rewrite(self.rasters.mask, mask, partial(remove_small, grid=scene.grid, pixels=pixels), scene.grid, None)
        frame = polygons.trace_clouds(
            mask, percent, scene=scene.name, acquired=scene.acquired, codes=self.options.codes
        )
        title, qml = f"Clouds of {scene.name}", styles.polygons_qml(self.options.codes)
        metadata = {"layer": polygons.LAYER, "title": title, "abstract": self.abstract, "qml": qml}
        vector.write_layer([frame], staging.place(self.plan.polygons), **metadata)
        if self.plan.polygons in self.plan.styles:
            staging.place_text(self.plan.styles[self.plan.polygons], qml)
        return len(frame)

    def _write_probability(self, staging: Staging) -> None:
        if self.plan.probability is None:
            return
        assert self.rasters.percent is not None
        staging.place_text(self.plan.styles[self.plan.probability], styles.probability_qml())
        write_cog(
            self._as_stored(self.rasters.percent, staging),
            staging.place(self.plan.probability),
            descriptions=[f"cloud{more} probability, per cent" for more in ("", " shadow")[: self.thresholds.classes]],
            tags=self.tags,
            resampling=Resampling.average,
        )

    def _write_mask(self, staging: Staging) -> None:
        mask = self.plan.mask
        staging.place_text(self.plan.styles[mask], styles.mask_qml(self.options.codes))
        staging.place_text(mask.with_name(mask.name + ".aux.xml"), styles.mask_aux_xml(self.options.codes))
        write_cog(
            self._as_stored(self.rasters.mask, staging),
            staging.place(mask),
            descriptions=["cloud mask"],
            tags=self.tags,
            colours=styles.colours(self.options.codes),
        )

    def _as_stored(self, raster: Path, staging: Staging) -> Path:
        """The raster in the orientation of the scene's own file: south up if that is."""
        scene = self.scene
        if not scene.south_up:
            return raster
        flipped = staging.scratch(self.plan.mask, f"{raster.stem}-south-up.tif")
        flip_rows(raster, flipped, scene.grid.flip(), scene.area_or_point)
        return flipped


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
