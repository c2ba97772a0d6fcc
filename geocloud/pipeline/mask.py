"""Masking of one scene, from source to output files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, overload

import numpy as np
import rasterio
from numpy.typing import NDArray

from geocloud.errors import BandError, GridError, OptionError
from geocloud.io import gdal
from geocloud.masks.codes import Mask, Thresholds
from geocloud.masks.refine import refinements
from geocloud.models import DEFAULT, read_metadata
from geocloud.models.predictor import Function, Predictor, load_model
from geocloud.options import ComputeOptions, MaskOptions
from geocloud.pipeline.result import MaskResult
from geocloud.pipeline.run import MaskRun, further_layers
from geocloud.readers import RasterScene, ReadOptions, SceneRecipe, find_recipe, reading_down
from geocloud.tiling.mosaic import Progress, mosaic
from geocloud.tiling.resample import COARSEST, find_factors
from geocloud.tiling.tiles import Predict
from geocloud.writers.staging import OutputPlan, Staging

log = logging.getLogger(__name__)

READ_AHEAD = 3 * 2**20
"""Number of pixels of a scene that are prefetched."""

Model = str | Path | Predict | Function
"""A model: its name or path, a loaded model, or a plain function."""

Place = str | Path | None

Watch = Callable[[int, NDArray[np.float32]], None]
"""Called as a scene is read, with the first row and reflectance ``(4, rows, width)``, NaN where there is no data."""


@overload
def mask_scene(
    source: str | Path | SceneRecipe | RasterScene,
    output: str | Path,
    *,
    polygons: Place = None,
    probability: Place = None,
    masked: Place = None,
    model: Model = DEFAULT,
    read: ReadOptions | None = None,
    options: MaskOptions | None = None,
    compute: ComputeOptions | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    **changes: Any,
) -> MaskResult: ...
@overload
def mask_scene(source: str | Path | SceneRecipe | RasterScene, output: None = None, **options: Any) -> Mask: ...
def mask_scene(
    source: str | Path | SceneRecipe | RasterScene,
    output: Place = None,
    *,
    polygons: Place = None,
    probability: Place = None,
    masked: Place = None,
    model: Model = DEFAULT,
    read: ReadOptions | None = None,
    options: MaskOptions | None = None,
    compute: ComputeOptions | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    **changes: Any,
) -> MaskResult | Mask:
    """Masks one scene: writes a cloud mask and, on request, polygons and the probability; or returns the mask.

    Files appear only when all of them are complete, the mask last. A failure leaves no partial files.

    Args:
        source: Any source that `geocloud.open_scene` takes, its recipe, or an open scene.
        output: The mask to write, a Cloud Optimized GeoTIFF on the scene's own grid: uint8, 0 clear, 1 cloud, 2 cloud
            shadow if requested, 255 no data. A ``.qml`` and an ``.aux.xml`` are written beside it. None: nothing is
            written, and the mask is returned.
        polygons: GeoPackage to write, with the layer ``clouds`` (or, by its suffix, GeoJSON, FlatGeobuf, GeoParquet).
        probability: Cloud Optimized GeoTIFF to write, in per cent, 255 no data: cloud and, if requested, shadow.
        masked: Cloud Optimized GeoTIFF to write: the scene's own pixels, with cloud, shadow (if requested) and no data
            set to nodata. It has all bands of a scene in a single file, otherwise red, green, blue and nir.
        model: A bundled model's name, a model file's path, a `Predictor`, or any function from reflectance
            ``(N, 4, H, W)``, NaN where there is no data, to the probability of cloud ``(N, H, W)``.
        read: Options for reading the source, such as units and bands.
        options: Options of the mask.
        compute: Device, precision and batch of a model given by name.
        progress: Called after each row of tiles.
        watch: Called with each strip of the scene as it is read, from top to bottom.
        changes: Fields of `MaskOptions` that differ from ``options``, such as ``shadows=True``.

    Returns:
        The files written, and a summary of the scene and its cloud cover; without ``output`` the mask ``(h, w)``, on
        the grid of the scene, north up.

    Raises:
        GeocloudError: One of its subclasses, see `geocloud.errors`.
    """
    started = time.monotonic()
    options, read = (options or MaskOptions()).changed(changes), read or ReadOptions()
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**gdal.OPTIONS))
        if output is None and (polygons or probability or masked):
            raise OptionError("polygons, probability and masked are written beside a mask; name an output for it")
        place = Path(stack.enter_context(TemporaryDirectory()), "mask.tif") if output is None else output
        plan = OutputPlan(place, polygons, probability, masked)
        if isinstance(source, RasterScene):
            scene = source
        else:
            recipe = source if isinstance(source, SceneRecipe) else find_recipe(source, read)
            scene = stack.enter_context(RasterScene(recipe, read))
        plan.refuse([scene.recipe.source, *(band.label for band in scene.recipe.bands)])
        if plan.polygons:
            from geocloud.writers.vector import check_place  # imports geopandas

            check_place(plan.polygons, scene.grid.has_place)
        options, take, layers = stack.enter_context(further_layers(scene, options))
        steps = refinements(options, scene.grid, scene.sun)
        label, size = scene.recipe.source, scene.grid.pixel_size
        if size and max(size) > COARSEST and options.working_resolution != "native":
            raise GridError(
                f"{label}: pixels of {max(size):.0f} m, and the models were trained at 30 to 60 m; take at most "
                f"{COARSEST:g} m, or set MaskOptions(working_resolution='native') to mask it anyway"
            )
        factors = find_factors(size, trained_at(model), options.working_resolution)
        staging = stack.enter_context(Staging([*plan.results, *plan.styles.values()], options.overwrite))
        level = scene.coarsest(int(min(factors)))
        with reading_down(scene, READ_AHEAD, level) as rows:  # continues while the model is loaded
            predict = load(model, compute)
            if scene.bands == 3 and not predict.optional_nir:
                raise BandError(
                    f"{label}: no near-infrared band, and model {predict.name!r} was not trained without it; "
                    "name a band for it with ReadOptions(bands=…), or take the model 'fast'"
                )
            run = MaskRun(scene, read, predict.name, find_thresholds(predict, options), options, plan, staging)

            def read_rows(first: int, out: NDArray[np.float32]) -> None:
                rows(first, out)
                take(first, out)
                if watch:
                    watch(first, out)

            strips = mosaic(
                read_rows,
                scene.grid.shape,
                predict,
                options,
                classes=run.thresholds.classes,
                factors=factors,
                progress=progress,
            )
            run.stage(strips, layers)
        run.refine(steps)
        if output is None:
            return run.read()
        result = run.write()
        staging.publish()
        for path in plan.outdated:
            log.warning("%s: these polygons are of an earlier mask; delete them or write them again", path)
        return replace(result, seconds=round(time.monotonic() - started, 3))


def trained_at(model: Model) -> float | None:
    """Pixel size in metres that a model was trained on; None: any. Raises as `load` does.

    A model given by name is not loaded, so that the scene can be read meanwhile.
    """
    return read_metadata(model).pixel_size if isinstance(model, (str, Path)) else load(model).pixel_size


def load(model: Model, compute: ComputeOptions | None = None) -> Predict:
    """Loads a model given by name; returns a loaded model unchanged.

    Raises OptionError if ``compute`` is given with a loaded model, and the errors of `load_model`.
    """
    if isinstance(model, (str, Path)):
        return load_model(model, **asdict(compute or ComputeOptions()))
    if compute is not None:
        raise OptionError("compute options are for a model given by name; a loaded one has its own")
    return cast(Predict, model) if hasattr(model, "classes") else Predictor(model)


def find_thresholds(predict: Predict, options: MaskOptions) -> Thresholds:
    """The requested thresholds, or the model's own. Raises OptionError for shadow if the model has no shadow class."""
    cloud = predict.threshold if options.threshold is None else options.threshold
    if not options.shadows:
        return Thresholds(cloud)
    if predict.classes < 2:
        raise OptionError(f"model {predict.name!r} detects no shadow; leave MaskOptions(shadows=True) out")
    return Thresholds(cloud, options.shadow_threshold or predict.shadow_threshold)
