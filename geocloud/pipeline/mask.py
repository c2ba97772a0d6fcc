"""From a scene to its output files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from geocloud.errors import BandError, GridError
from geocloud.io import gdal
from geocloud.masks.refine import reclassify, refinements
from geocloud.models import DEFAULT
from geocloud.options import ComputeOptions, MaskOptions
from geocloud.pipeline.load import Model, find_thresholds, load, trained_at
from geocloud.pipeline.result import MaskResult
from geocloud.pipeline.results import MaskRun
from geocloud.pipeline.staged import FurtherLayers, refine_staged, stage
from geocloud.readers import RasterScene, ReadOptions, SceneRecipe, find_recipe, reading_down
from geocloud.readers.further import further_band
from geocloud.tiling.blend import ReadRows
from geocloud.tiling.model import Predict
from geocloud.tiling.mosaic import Progress, mosaic
from geocloud.tiling.resample import find_factors
from geocloud.writers.cog import rows_of
from geocloud.writers.plan import OutputPlan
from geocloud.writers.staging import Staging

log = logging.getLogger(__name__)

READ_AHEAD = 3 * 2**20
"""Pixels of a scene that are prefetched."""

COARSEST = 300.0
"""Largest accepted pixel size in metres; clouds are unresolved beyond it."""

WITHOUT = {"swir1": ("at 1.6 µm (swir1)", "snow"), "cirrus": ("at 1.37 µm (cirrus)", "thin cirrus")}
"""The band, and the class that needs it."""

Watch = Callable[[int, NDArray[np.float32]], None]
"""Called as a scene is read, with the first row and reflectance ``(4, rows, width)``, NaN where there is no data."""


def mask_scene(
    source: str | Path | SceneRecipe,
    output: str | Path,
    *,
    polygons: str | Path | None = None,
    probability: str | Path | None = None,
    masked: str | Path | None = None,
    model: Model = DEFAULT,
    read: ReadOptions | None = None,
    options: MaskOptions | None = None,
    compute: ComputeOptions | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> MaskResult:
    """Masks one scene: writes a cloud mask and, on request, polygons and the probability.

    Files appear only when all of them are complete, the mask last. A failure leaves no partial files.

    Args:
        source: Whatever `geocloud.open_scene` takes, or a recipe made from it.
        output: The mask to write, a Cloud Optimized GeoTIFF on the scene's own grid: uint8, 0 clear, 1 cloud, 2 cloud
            shadow if requested, 255 no data. A ``.qml`` and an ``.aux.xml`` are written beside it.
        polygons: GeoPackage to write, with the layer ``clouds`` (or, by its suffix, GeoJSON, FlatGeobuf, GeoParquet).
        probability: Cloud Optimized GeoTIFF to write, in per cent, 255 no data: cloud and, if requested, shadow.
        masked: Cloud Optimized GeoTIFF to write: the scene's own pixels, with cloud, shadow (if requested) and no data
            set to nodata. It holds all bands of a scene in one file, otherwise red, green, blue and nir.
        model: A bundled model's name, a model file's path, a `Predictor`, or any function from reflectance
            ``(N, 4, H, W)``, NaN where there is no data, to the probability of cloud ``(N, H, W)``.
        read: What is known of the source.
        options: How the mask is made.
        compute: Where and how a model given by name computes.
        progress: Called after each row of tiles.
        watch: Called with each strip of the scene as it is read, from top to bottom.

    Returns:
        The files written, and a summary of the scene and its cloud cover.

    Raises:
        GeocloudError: One of its subclasses, see `geocloud.errors`.
    """
    started = time.monotonic()
    options, read = options or MaskOptions(), read or ReadOptions()
    plan = OutputPlan.of(output, polygons, probability, masked)
    recipe = source if isinstance(source, SceneRecipe) else find_recipe(source, read)
    with rasterio.Env(**gdal.OPTIONS), RasterScene(recipe, read) as scene:
        plan.refuse([recipe.source, *(band.label for band in recipe.bands)])
        if plan.polygons:
            from geocloud.writers.vector import check_place  # imports geopandas

            check_place(plan.polygons, scene.grid.has_place)
        options = with_available(scene, options)
        steps = refinements(options, scene.grid, scene.sun)
        _check_pixels(scene, options)
        factors = find_factors(scene.grid.pixel_size, trained_at(model), options.working_resolution)
        with Staging(plan.files, options.overwrite) as staging:
            level = scene.coarsest(int(min(factors)))
            further = FurtherLayers(scene, options.further, staging, plan)
            with reading_down(scene, READ_AHEAD, level) as rows, further:  # continues while the model is loaded
                predict = load(model, compute)
                _check_bands(scene, predict)
                thresholds = find_thresholds(predict, options)
                strips = mosaic(
                    watched(watched(rows, watch), further.take if options.further else None),
                    scene.grid.shape,
                    predict,
                    classes=thresholds.classes,
                    factors=factors,
                    tile_size=options.tile_size,
                    overlap=options.overlap,
                    progress=progress,
                )
                rasters = stage(strips, scene, thresholds, staging, plan, bool(options.further))
            if options.further:
                assert rasters.percent is not None
                steps = [*reclassify(options, scene.grid, further.layers, rows_of(rasters.percent)), *steps]
            rasters = refine_staged(rasters, steps, scene, staging, plan)
            run = MaskRun(scene, predict.name, thresholds, rasters, options, read, plan)
            polygon_count = run.write(staging)
            staging.publish()
        return run.result(polygon_count, time.monotonic() - started)


def with_available(scene: RasterScene, options: MaskOptions) -> MaskOptions:
    """The options without the classes for which a scene lacks the band, with a note."""
    for name, fields in (("swir1", {"snow": False, "reject_snow": False}), ("cirrus", {"cirrus": False})):
        if name in options.further:
            with further_band(scene, name) as band:
                if band is None:
                    log.warning(
                        "%s: no band %s with a known scale; %s is not told", scene.recipe.source, *WITHOUT[name]
                    )
                    options = replace(options, **fields)
    return options


def watched(read: ReadRows, watch: Watch | None) -> ReadRows:
    """``read``, which also calls ``watch`` with what it reads."""
    if watch is None:
        return read

    def read_and_show(first: int, out: NDArray[np.float32]) -> None:
        read(first, out)
        watch(first, out)

    return read_and_show


def _check_pixels(scene: RasterScene, options: MaskOptions) -> None:
    """Raises GridError for pixels larger than clouds, unless the user insists."""
    size = scene.grid.pixel_size
    if size and max(size) > COARSEST and options.working_resolution != "native":
        raise GridError(
            f"{scene.recipe.source}: pixels of {max(size):.0f} m, and the models were trained at 30 to 60 m; take "
            f"pixels of at most {COARSEST:g} m, or say --working-resolution native to have a mask all the same"
        )


def _check_bands(scene: RasterScene, predict: Predict) -> None:
    """Refuses a scene without near-infrared if the model needs that band."""
    if scene.bands == 3 and not predict.optional_nir:
        raise BandError(
            f"{scene.recipe.source}: no near-infrared band, and model {predict.name!r} was not trained without it; "
            "name a band for it with --bands, or take the model 'fast'"
        )
