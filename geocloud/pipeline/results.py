"""From the temporary mask to the results: GeoTIFFs, polygons, and the summary for the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from rasterio.enums import Resampling

from geocloud.outputs import styles
from geocloud.outputs.mask import Thresholds, flip_rows, remove_small, write_cog
from geocloud.outputs.plan import OutputPlan
from geocloud.outputs.staging import Staging
from geocloud.pipeline.draw import STRIP, Drawn, pixels_of
from geocloud.pipeline.options import MaskOptions
from geocloud.pipeline.result import MaskResult
from geocloud.readers import RasterScene, ReadOptions

POLYGON_PIXELS = 9
"""Clouds and holes of fewer pixels are left out of the polygons, unless another minimum is given."""


@dataclass(frozen=True, slots=True)
class Made:
    """A scene that has been masked, from which the results are written."""

    scene: RasterScene
    """The scene, still open."""
    model: str
    """Name of the model."""
    thresholds: Thresholds
    """The thresholds that were applied."""
    drawn: Drawn
    """The temporary rasters."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """What was said of the source."""

    @property
    def shadows(self) -> bool:
        """Whether shadow was requested."""
        return self.thresholds.shadow is not None

    @property
    def shadow_percent(self) -> float | None:
        """Per cent of the valid pixels that are shadow; None if not requested, or if there are no valid pixels."""
        return self.drawn.counts.shadow_percent if self.shadows else None

    @property
    def tags(self) -> dict[str, str]:
        """Metadata tags of the output rasters."""
        scene, cloud, of_shadow = self.scene, self.drawn.counts.cloud_percent, {}
        if self.thresholds.shadow is not None:
            of_shadow = {
                "GEOCLOUD_SHADOW_THRESHOLD": f"{self.thresholds.shadow:g}",
                "GEOCLOUD_SHADOW_PERCENT": "none" if self.shadow_percent is None else f"{self.shadow_percent:.2f}",
            }
        return {
            "TIFFTAG_SOFTWARE": f"geocloud {version('geocloud')}",
            "GEOCLOUD_MODEL": self.model,
            "GEOCLOUD_THRESHOLD": f"{self.thresholds.cloud:g}",
            "GEOCLOUD_SOURCE": scene.name,
            "GEOCLOUD_ACQUIRED": scene.acquired.isoformat() if scene.acquired else "unknown",
            "GEOCLOUD_CLOUD_PERCENT": "none" if cloud is None else f"{cloud:.2f}",
            "GEOCLOUD_VALID_PERCENT": f"{self.drawn.counts.valid_percent:.2f}",
            **of_shadow,
        }

    @property
    def abstract(self) -> str:
        """The same as text, for the GeoPackage."""
        scene, cloud = self.scene, self.drawn.counts.cloud_percent
        share = "no valid pixels" if cloud is None else f"{cloud:.1f} % cloud"
        share += "" if self.shadow_percent is None else f", {self.shadow_percent:.1f} % cloud shadow"
        when = f", acquired {scene.acquired:%Y-%m-%d %H:%M} UTC" if scene.acquired else ""
        how = f"geocloud {version('geocloud')}, model {self.model}, threshold {self.thresholds.cloud:g}"
        return f"{scene.name}{when}: {share}. {how}."

    def result(self, plan: OutputPlan, polygon_count: int | None, seconds: float) -> MaskResult:
        """The return value of `mask_scene`."""
        scene, counts = self.scene, self.drawn.counts
        return MaskResult(
            source=scene.recipe.source,
            scene=scene.name,
            mask=plan.mask,
            polygons=plan.polygons,
            probability=plan.probability,
            cloud_percent=counts.cloud_percent,
            valid_percent=counts.valid_percent,
            polygon_count=polygon_count,
            height=scene.grid.height,
            width=scene.grid.width,
            crs=scene.grid.crs.to_string() if scene.grid.crs else None,
            acquired=scene.acquired.isoformat() if scene.acquired else None,
            model=self.model,
            threshold=self.thresholds.cloud,
            seconds=round(seconds, 3),
            shadow_percent=self.shadow_percent,
            shadow_threshold=self.thresholds.shadow,
            read=self.read,
        )


def write_polygons(made: Made, options: MaskOptions, staging: Staging, plan: OutputPlan) -> int | None:
    """Writes polygons of the mask, without small clouds and holes. Returns their number; None: not requested."""
    if plan.polygons is None:
        return None
    from geocloud.outputs import polygons as tracing  # importing geopandas takes longer than masking a small scene
    from geocloud.outputs import vector

    scene, mask, percent = made.scene, made.drawn.mask, made.drawn.percent
    assert percent is not None
    least = options.polygon_min_area
    pixels = POLYGON_PIXELS if least is None else pixels_of(least, scene.grid)
    if pixels > 1:
        mask = staging.scratch(plan.mask, "simpler.tif")
        remove_small(made.drawn.mask, mask, pixels, scene.grid, STRIP, None)
    frame = tracing.trace_clouds(
        mask, percent, scene=scene.name, acquired=scene.acquired, strip=STRIP, shadows=made.shadows
    )
    title, qml = f"Clouds of {scene.name}", styles.polygons_qml(made.shadows)
    about = {"layer": tracing.LAYER, "title": title, "abstract": made.abstract, "qml": qml}
    vector.write_layer([frame], staging.place(plan.polygons), **about)
    if plan.polygons in plan.styles:
        staging.place_text(plan.styles[plan.polygons], qml)
    return len(frame)


def write_probability(made: Made, staging: Staging, plan: OutputPlan) -> None:
    if plan.probability is None:
        return
    assert made.drawn.percent is not None
    staging.place_text(plan.styles[plan.probability], styles.probability_qml())
    destination = staging.place(plan.probability)
    what = [f"cloud{more} probability, per cent" for more in ("", " shadow")[: made.thresholds.classes]]
    write_cog(
        _as_stored(made, made.drawn.percent, staging, plan),
        destination,
        descriptions=what,
        tags=made.tags,
        resampling=Resampling.average,
    )


def write_mask(made: Made, staging: Staging, plan: OutputPlan) -> None:
    staging.place_text(plan.styles[plan.mask], styles.mask_qml(made.shadows))
    staging.place_text(plan.mask.with_name(plan.mask.name + ".aux.xml"), styles.mask_aux_xml(made.shadows))
    destination = staging.place(plan.mask)
    what, colours = ["cloud mask"], styles.colours(made.shadows)
    write_cog(
        _as_stored(made, made.drawn.mask, staging, plan),
        destination,
        descriptions=what,
        tags=made.tags,
        colours=colours,
    )


def _as_stored(made: Made, raster: Path, staging: Staging, plan: OutputPlan) -> Path:
    """The raster in the orientation of the scene's own file: south up if that is."""
    scene = made.scene
    if not scene.south_up:
        return raster
    flipped = staging.scratch(plan.mask, f"{raster.stem}-south-up.tif")
    flip_rows(raster, flipped, scene.grid.flip(), STRIP, scene.area_or_point)
    return flipped
