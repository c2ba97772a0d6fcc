"""The whole story: scene → tiles → model → mosaic → polygons."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from numpy.typing import NDArray

from geocloud.errors import BandError, OptionError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.model import DEFAULT
from geocloud.outputs import styles
from geocloud.outputs.mask import NONE, Counts, StripWriter, count, dilate, remove_small, to_mask, to_percent, write_cog
from geocloud.outputs.plan import OutputPlan
from geocloud.outputs.staging import Staging
from geocloud.scene import RasterScene, ReadOptions, Scene, SceneRecipe, find_recipe, reading_down
from geocloud.tiling.blend import Function, Predict, ReadRows, Strip, as_predict, blend, tile_rows
from geocloud.tiling.resample import Coarse, find_factor
from geocloud.tiling.tiles import TileGrid

if TYPE_CHECKING:
    from geocloud.predict import Predictor

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the rows of tiles that are done, and how many there are."""

Watch = Callable[[int, NDArray[np.float32]], None]
"""Called, as a scene is read, with the first row and the reflectance ``(4, rows, width)``, NaN without data."""

READ_AHEAD = 6 * 2**20
"""Pixels of a scene that are read before they are needed."""

STRIP = 640
"""Rows of a mask that are refined, counted or traced at once."""

POLYGON_PIXELS = 9
"""Clouds and holes of fewer pixels make no polygon, unless a minimum is given."""


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How a mask is made from probabilities. Raises OptionError."""

    threshold: float | None = None
    """Cloud is what is above it; None: the model's own."""
    min_area: float = 0.0
    """Square metres below which clouds are dropped and holes filled."""
    buffer: float = 0.0
    """Metres by which cloud is grown, after that."""
    polygon_min_area: float | None = None
    """Square metres below which clouds and holes make no polygon; None: nine pixels."""
    tile_size: int | None = None
    """The largest side of a tile in pixels that the model sees, None: what is quickest. It changes the cost, hardly
    the mask, and so does ``overlap``."""
    overlap: int = 128
    """Pixels by which tiles overlap."""
    working_resolution: float | str | None = None
    """Metres of the pixels that the model sees, or "native". None: scenes finer than 20 m are seen in the model's own,
    others as they are. The mask is on the scene's grid all the same."""
    overwrite: bool = False
    """Whether results that are there are replaced."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise OptionError(f"threshold {self.threshold:g}: wanted more than 0 and less than 1")
        for name in ("min_area", "buffer", "polygon_min_area"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name.replace('_', ' ')} {value:g}: wanted 0 or more")


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """Where a model that is given by name computes; see `geocloud.predict.Predictor`."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto, float32, bfloat16 or float16."""
    batch: int | None = None
    """Tiles at a time; None: by device."""


@dataclass(frozen=True, slots=True)
class MaskResult:
    """What came of a scene. ``cloud_percent`` is of valid pixels, None where there are none."""

    source: str
    scene: str
    mask: Path
    polygons: Path | None
    probability: Path | None
    cloud_percent: float | None
    valid_percent: float
    polygon_count: int | None
    height: int
    width: int
    crs: str | None
    acquired: str | None
    model: str
    threshold: float
    seconds: float

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()})


def mask_scene(
    source: str | Path | SceneRecipe,
    output: str | Path,
    *,
    polygons: str | Path | None = None,
    probability: str | Path | None = None,
    model: str | Path | Predictor | Predict | Function = DEFAULT,
    read: ReadOptions | None = None,
    options: MaskOptions | None = None,
    compute: ComputeOptions | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> MaskResult:
    """Masks one scene: writes a cloud mask and, when asked, polygons and the probability.

    Every file appears whole, the mask last, once all of them are made; a failure leaves nothing half made.

    Args:
        source: Whatever `geocloud.open_scene` takes, or a recipe made of it.
        output: Becomes a Cloud Optimized GeoTIFF on the scene's own grid: uint8, 0 clear, 1 cloud, 255 no data; a
            ``.qml`` and an ``.aux.xml`` come with it.
        polygons: Becomes a GeoPackage with the layer ``clouds`` (or, by its ending, GeoJSON, FlatGeobuf, GeoParquet).
        probability: Becomes a Cloud Optimized GeoTIFF in per cent, 255 no data.
        model: A bundled model's name, a checkpoint's path, a `Predictor`, or any function from reflectance
            ``(N, 4, H, W)``, NaN where there is no data, to the probability of cloud ``(N, H, W)``.
        read: What is known of the source.
        options: How the mask is made.
        compute: Where a model that is given by name computes.
        progress: Called after each row of tiles.
        watch: Sees the scene as it is read, from top to bottom.

    Returns:
        What came of it.

    Raises:
        GeocloudError: One of its kinds, see `geocloud.errors`.
    """
    started = time.monotonic()
    options, read = options or MaskOptions(), read or ReadOptions()
    plan = OutputPlan.of(output, polygons, probability)
    recipe = source if isinstance(source, SceneRecipe) else find_recipe(source, read)
    with rasterio.Env(**gdal.OPTIONS), RasterScene(recipe, read) as scene:
        plan.refuse([recipe.source, *(band.label for band in recipe.bands)])
        _check_metres(scene.grid, options)
        with Staging(plan.files, options.overwrite) as staging:
            with reading_down(scene, READ_AHEAD) as rows:  # goes on while the model is loaded
                predict = _load(model, compute)
                _check_bands(scene, predict)
                threshold = predict.threshold if options.threshold is None else options.threshold
                view = _View.of(scene, _watched(rows, watch), predict, options)
                drawn = _draw(scene, view, predict, threshold, staging, plan, progress)
            drawn = _refine(drawn, scene, options, staging, plan)
            made = _Made(scene, predict.name, threshold, drawn)
            polygon_count = _write_polygons(made, options, staging, plan)
            _write_probability(made, staging, plan)
            _write_mask(made, staging, plan)
            staging.publish()
        return made.result(plan, polygon_count, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Rasters in the making: the mask, the probability in per cent where it is needed, and what is in the mask."""

    mask: Path
    percent: Path | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class _Made:
    """A scene, how it was masked, and what came of it."""

    scene: RasterScene
    model: str
    threshold: float
    drawn: _Drawn

    @property
    def tags(self) -> dict[str, str]:
        """What rasters say of themselves."""
        scene, cloud = self.scene, self.drawn.counts.cloud_percent
        return {
            "TIFFTAG_SOFTWARE": f"geocloud {version('geocloud')}",
            "GEOCLOUD_MODEL": self.model,
            "GEOCLOUD_THRESHOLD": f"{self.threshold:g}",
            "GEOCLOUD_SOURCE": scene.name,
            "GEOCLOUD_ACQUIRED": scene.acquired.isoformat() if scene.acquired else "unknown",
            "GEOCLOUD_CLOUD_PERCENT": "none" if cloud is None else f"{cloud:.2f}",
            "GEOCLOUD_VALID_PERCENT": f"{self.drawn.counts.valid_percent:.2f}",
        }

    @property
    def abstract(self) -> str:
        """The same in a sentence."""
        scene, cloud = self.scene, self.drawn.counts.cloud_percent
        share = "no valid pixels" if cloud is None else f"{cloud:.1f} % cloud"
        when = f", acquired {scene.acquired:%Y-%m-%d %H:%M} UTC" if scene.acquired else ""
        how = f"geocloud {version('geocloud')}, model {self.model}, threshold {self.threshold:g}"
        return f"{scene.name}{when}: {share}. {how}."

    def result(self, plan: OutputPlan, polygon_count: int | None, seconds: float) -> MaskResult:
        """What `mask_scene` returns."""
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
            threshold=self.threshold,
            seconds=round(seconds, 3),
        )


@dataclass(frozen=True, slots=True)
class _View:
    """How the model sees a scene: its tiles, and what brings them to larger pixels and back, where that is due."""

    grid: TileGrid
    read: ReadRows
    coarse: Coarse | None

    @classmethod
    def of(cls, scene: Scene, read: ReadRows, predict: Predict, options: MaskOptions) -> _View:
        height, width = scene.grid.shape
        factor = find_factor(scene.grid.pixel_size, predict.pixel_size, options.working_resolution)
        coarse = Coarse(read, height, width, factor) if factor > 1 else None
        if coarse:
            (height, width), read = coarse.shape, coarse.read
        return cls(TileGrid.fitted(height, width, options.tile_size, options.overlap), read, coarse)

    def strips(self, predict: Predict, progress: Progress | None) -> Iterator[Strip]:
        """Probabilities of the scene's own pixels, from top to bottom."""

        def shown() -> Iterator[Strip]:
            for done, strip in enumerate(blend(self.grid, tile_rows(self.grid, self.read), predict), 1):
                if progress:
                    progress(done, self.grid.rows)
                yield strip

        return self.coarse.enlarge(shown()) if self.coarse else shown()


def _draw(
    scene: RasterScene,
    view: _View,
    predict: Predict,
    threshold: float,
    staging: Staging,
    plan: OutputPlan,
    progress: Progress | None,
) -> _Drawn:
    """Draws the mask on disk, and the percentages where something is made of them.

    Reading, predicting and writing go on at the same time, each a little ahead of the next.
    """
    counts, mask, percent = NONE, staging.scratch(plan.mask, "mask.tif"), None
    if plan.polygons or plan.probability:
        percent = staging.scratch(plan.mask, "percent.tif")
    with ExitStack() as stack:
        masks = stack.enter_context(StripWriter(mask, scene.grid, scene.area_or_point))
        percents = percent and stack.enter_context(StripWriter(percent, scene.grid, scene.area_or_point))
        writer = stack.enter_context(ThreadPoolExecutor(1))

        def write(strip: Strip) -> Counts:
            values = to_mask(strip.probability[0], threshold)
            masks.write(strip.first_row, values)
            if percents:
                percents.write(strip.first_row, to_percent(strip.probability[0]))
            return Counts.of(values)

        written = writer.submit(Counts, 0, 0, 0)
        for strip in view.strips(predict, progress):
            counts += written.result()
            written = writer.submit(write, strip)
        return _Drawn(mask, percent, counts + written.result())


def _watched(read: ReadRows, watch: Watch | None) -> ReadRows:
    if watch is None:
        return read

    def read_and_show(first: int, out: NDArray[np.float32]) -> None:
        read(first, out)
        watch(first, out)

    return read_and_show


def _refine(drawn: _Drawn, scene: RasterScene, options: MaskOptions, staging: Staging, plan: OutputPlan) -> _Drawn:
    """Drops what is small, then grows what is left."""
    mask = drawn.mask
    if options.min_area:
        pixels, sieved = _pixels(options.min_area, scene.grid), staging.scratch(plan.mask, "sieved.tif")
        remove_small(mask, sieved, pixels, scene.grid, STRIP, scene.area_or_point)
        mask = sieved
    if options.buffer:
        grown = staging.scratch(plan.mask, "grown.tif")
        dilate(mask, grown, scene.grid, options.buffer, STRIP, scene.area_or_point)
        mask = grown
    return drawn if mask == drawn.mask else _Drawn(mask, drawn.percent, count(mask, STRIP))


def _write_polygons(made: _Made, options: MaskOptions, staging: Staging, plan: OutputPlan) -> int | None:
    """Traces the mask, without clouds and holes too small to draw; returns how many polygons there are."""
    if plan.polygons is None:
        return None
    from geocloud.outputs import polygons as tracing  # geopandas takes longer to load than a small scene to mask
    from geocloud.outputs import vector

    scene, mask, percent = made.scene, made.drawn.mask, made.drawn.percent
    assert percent is not None
    least = options.polygon_min_area
    pixels = POLYGON_PIXELS if least is None else _pixels(least, scene.grid)
    if pixels > 1:
        mask = staging.scratch(plan.mask, "simpler.tif")
        remove_small(made.drawn.mask, mask, pixels, scene.grid, STRIP, None)
    frame = tracing.trace_clouds(mask, percent, scene=scene.name, acquired=scene.acquired, strip=STRIP)
    title, qml = f"Clouds of {scene.name}", styles.polygons_qml()
    about = {"layer": tracing.LAYER, "title": title, "abstract": made.abstract, "qml": qml}
    vector.write_layer(frame, staging.place(plan.polygons), **about)
    if plan.polygons in plan.styles:
        staging.place_text(plan.styles[plan.polygons], qml)
    return len(frame)


def _write_probability(made: _Made, staging: Staging, plan: OutputPlan) -> None:
    if plan.probability is None:
        return
    assert made.drawn.percent is not None
    staging.place_text(plan.styles[plan.probability], styles.probability_qml())
    destination = staging.place(plan.probability)
    what = "cloud probability, per cent"
    write_cog(made.drawn.percent, destination, description=what, tags=made.tags, resampling="AVERAGE")


def _write_mask(made: _Made, staging: Staging, plan: OutputPlan) -> None:
    staging.place_text(plan.styles[plan.mask], styles.mask_qml())
    staging.place_text(plan.mask.with_name(plan.mask.name + ".aux.xml"), styles.mask_aux_xml())
    destination = staging.place(plan.mask)
    write_cog(made.drawn.mask, destination, description="cloud mask", tags=made.tags, colours=styles.COLOURS)


def _pixels(area: float, grid: GeoBox) -> int:
    """How many pixels it takes to cover so many square metres."""
    if area == 0:
        return 0
    assert grid.pixel_size is not None
    return math.ceil(area / (grid.pixel_size[0] * grid.pixel_size[1]) - 1e-9)


def _check_metres(grid: GeoBox, options: MaskOptions) -> None:
    if grid.pixel_size is None and (options.min_area or options.buffer or options.polygon_min_area):
        raise OptionError("sizes in metres need a scene whose CRS is known, and this one has none")


def _load(model: str | Path | Predictor | Predict | Function, compute: ComputeOptions | None) -> Predict:
    """A model that is given by name, loaded; or the one that is given. Raises OptionError."""
    if isinstance(model, (str, Path)):
        from geocloud.predict import load_model  # torch: seconds to load

        return load_model(model, **asdict(compute or ComputeOptions()), cloud_alone=True)
    if compute is not None:
        raise OptionError("where to compute is for a model given by name; a loaded one knows it already")
    return as_predict(model)


def _check_bands(scene: RasterScene, predict: Predict) -> None:
    """A model that was not trained without near-infrared is not given a scene that has none."""
    if scene.bands == 3 and not predict.optional_nir:
        raise BandError(
            f"{scene.recipe.source}: no near-infrared band, and model {predict.name!r} was not trained without; "
            "name a band for it with --bands, or take the model 'fast'"
        )
