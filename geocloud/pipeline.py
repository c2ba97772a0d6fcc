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
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geocloud import gdal, style
from geocloud.blend import Predict, ReadRows, Strip, blend, tile_rows
from geocloud.errors import BandError, OptionError, OutputError
from geocloud.grid import GeoBox, TileGrid
from geocloud.model import DEFAULT
from geocloud.mosaic import NONE, Counts, StripWriter, count, dilate, remove_small, to_mask, to_percent, write_cog
from geocloud.output import Staging
from geocloud.resample import Coarse, find_factor
from geocloud.scene import RasterScene, ReadOptions, Scene, SceneRecipe, find_recipe, reading_down

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
    """How a mask is made from probabilities.

    ``threshold``: cloud is what is above it (None: the model's own). ``min_area``: square metres below which clouds
    are dropped and holes filled. ``buffer``: metres by which cloud is grown, after that. ``polygon_min_area``: square
    metres below which clouds and holes make no polygon (None: nine pixels). ``tile_size`` (the largest side of a tile;
    None: what is quickest) and ``overlap`` in pixels that the model sees: they change the cost, hardly the mask.
    ``working_resolution``: metres of the pixels that the model sees, or "native" (None: scenes finer than 20 m are
    seen in the model's own, others as they are); the mask is on the scene's grid all the same.
    ``device``, ``precision`` and ``batch`` are for a model given by name; see `geocloud.predict.Predictor`.
    """

    threshold: float | None = None
    min_area: float = 0.0
    buffer: float = 0.0
    polygon_min_area: float | None = None
    tile_size: int | None = None
    overlap: int = 128
    working_resolution: float | str | None = None
    device: str = "auto"
    precision: str = "auto"
    batch: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise OptionError(f"threshold {self.threshold:g}: wanted more than 0 and less than 1")
        for name in ("min_area", "buffer", "polygon_min_area"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name.replace('_', ' ')} {value:g}: wanted 0 or more")


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
    model: str | Path | Predictor | Predict = DEFAULT,
    read: ReadOptions | None = None,
    options: MaskOptions | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> MaskResult:
    """Masks one scene: writes a cloud mask and, when asked, polygons and the probability.

    ``source`` is whatever `geocloud.open_scene` takes, or a recipe made of it. ``output`` becomes a Cloud Optimized
    GeoTIFF on the scene's own grid: uint8, 0 clear, 1 cloud, 255 no data; a ``.qml`` and an ``.aux.xml`` come with it.
    ``polygons`` becomes a GeoPackage with the layer ``clouds`` (or, by its ending, GeoJSON, FlatGeobuf or GeoParquet),
    ``probability`` a Cloud Optimized GeoTIFF in per cent,
    255 no data.

    ``model`` is a bundled model's name, a checkpoint's path, a `Predictor`, or any function from reflectance
    ``(N, 4, H, W)``, NaN where there is no data, to probability ``(N, H, W)``. ``watch`` sees the scene as it is read,
    from top to bottom.

    Every file appears whole, the mask last, once all of them are made; a failure leaves nothing half made. Raises a
    `geocloud.errors.GeocloudError`.
    """
    started = time.monotonic()
    options, read = options or MaskOptions(), read or ReadOptions()
    mask_path, polygon_path, probability_path = (
        Path(p) if p is not None else None for p in (output, polygons, probability)
    )
    assert mask_path is not None
    if polygon_path:
        from geocloud.vector import check_suffix

        check_suffix(polygon_path)
    recipe = source if isinstance(source, SceneRecipe) else find_recipe(source, read)
    with rasterio.Env(**gdal.OPTIONS), RasterScene(recipe, read) as scene:
        _refuse_source(scene, [mask_path, polygon_path, probability_path])
        wanted = [p for p in (mask_path, polygon_path, probability_path) if p is not None]
        styles = {p: p.with_suffix(".qml") for p in (mask_path, probability_path) if p is not None}
        if polygon_path and not _holds_style(polygon_path) and polygon_path.with_suffix(".qml") not in styles.values():
            styles[polygon_path] = polygon_path.with_suffix(".qml")
        with Staging([*wanted, *styles.values()], options.overwrite) as staging:
            _check_metres(scene.grid, options)
            mask, percent = staging.scratch(mask_path, "mask.tif"), None
            if polygon_path or probability_path:
                percent = staging.scratch(mask_path, "percent.tif")
            with reading_down(scene, READ_AHEAD) as rows:  # goes on while the model is loaded
                predict, name, threshold = _model(model, options)
                _check_bands(scene, predict, name)
                view = _View.of(scene, _watched(rows, watch), predict, options)
                counts = _predict(scene, view, predict, threshold, mask, percent, progress)
            if options.min_area or options.buffer:
                mask = _refine(staging, mask_path, scene, options, mask)
                counts = count(mask, STRIP)
            tags = _tags(scene, name, threshold, counts)

            frame = None
            if polygon_path:
                from geocloud import polygons as tracing  # geopandas takes longer to load than a small scene to mask
                from geocloud import vector

                assert percent is not None
                source_mask = _for_polygons(staging, mask_path, scene.grid, options, mask, STRIP)
                frame = tracing.trace_clouds(
                    source_mask, percent, scene=scene.name, acquired=scene.acquired, strip=STRIP
                )
                vector.write_layer(
                    frame,
                    staging.place(polygon_path),
                    layer=tracing.LAYER,
                    title=f"Clouds of {scene.name}",
                    abstract=_abstract(scene, name, threshold, counts),
                    qml=style.polygons_qml(),
                )
                if polygon_path in styles:
                    _place_text(staging, styles[polygon_path], style.polygons_qml())
            if probability_path:
                assert percent is not None
                _place_text(staging, styles[probability_path], style.probability_qml())
                write_cog(
                    percent,
                    staging.place(probability_path),
                    description="cloud probability, per cent",
                    tags=tags,
                    resampling="AVERAGE",
                )
            _place_text(staging, styles[mask_path], style.mask_qml())
            _place_text(staging, mask_path.with_name(mask_path.name + ".aux.xml"), style.mask_aux_xml())
            write_cog(mask, staging.place(mask_path), description="cloud mask", tags=tags, colours=style.COLOURS)
            staging.publish()
        return MaskResult(
            source=recipe.source,
            scene=scene.name,
            mask=mask_path,
            polygons=polygon_path,
            probability=probability_path,
            cloud_percent=counts.cloud_percent,
            valid_percent=counts.valid_percent,
            polygon_count=None if frame is None else len(frame),
            height=scene.grid.height,
            width=scene.grid.width,
            crs=scene.grid.crs.to_string() if scene.grid.crs else None,
            acquired=scene.acquired.isoformat() if scene.acquired else None,
            model=name,
            threshold=threshold,
            seconds=round(time.monotonic() - started, 3),
        )


def _predict(
    scene: Scene,
    view: _View,
    predict: Predict,
    threshold: float,
    mask: Path,
    percent: Path | None,
    progress: Progress | None,
) -> Counts:
    """Fills the mask on disk, and the percentages where there is a path for them.

    Reading, predicting and writing go on at the same time, each a little ahead of the next.
    """
    counts = NONE
    with ExitStack() as stack:
        masks, percents = (
            stack.enter_context(StripWriter(path, scene.grid, scene.area_or_point)) if path else None
            for path in (mask, percent)
        )
        assert masks is not None
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
        return counts + written.result()


@dataclass(frozen=True, slots=True)
class _View:
    """How the model sees a scene: its tiles, and what brings them to larger pixels and back, where that is due."""

    grid: TileGrid
    read: ReadRows
    coarse: Coarse | None

    @classmethod
    def of(cls, scene: Scene, read: ReadRows, predict: Predict, options: MaskOptions) -> _View:
        height, width = scene.grid.shape
        trained = getattr(predict, "pixel_size", None)
        factor = find_factor(scene.grid.pixel_size, trained, options.working_resolution)
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


def _watched(read: ReadRows, watch: Watch | None) -> ReadRows:
    if watch is None:
        return read

    def read_and_show(first: int, out: NDArray[np.float32]) -> None:
        read(first, out)
        watch(first, out)

    return read_and_show


def _refine(staging: Staging, near: Path, scene: RasterScene, options: MaskOptions, mask: Path) -> Path:
    """Drops what is small, then grows what is left."""
    if options.min_area:
        pixels = _pixels(options.min_area, scene.grid)
        sieved = staging.scratch(near, "sieved.tif")
        remove_small(mask, sieved, pixels, scene.grid, STRIP, scene.area_or_point)
        mask = sieved
    if options.buffer:
        grown = staging.scratch(near, "grown.tif")
        dilate(mask, grown, scene.grid, options.buffer, STRIP, scene.area_or_point)
        mask = grown
    return mask


def _for_polygons(staging: Staging, near: Path, grid: GeoBox, options: MaskOptions, mask: Path, strip: int) -> Path:
    """The mask that polygons are traced from: without clouds and holes too small to draw."""
    pixels = POLYGON_PIXELS if options.polygon_min_area is None else _pixels(options.polygon_min_area, grid)
    if pixels <= 1:
        return mask
    simpler = staging.scratch(near, "simpler.tif")
    remove_small(mask, simpler, pixels, grid, strip, None)
    return simpler


def _pixels(area: float, grid: GeoBox) -> int:
    """How many pixels it takes to cover so many square metres."""
    if area == 0:
        return 0
    assert grid.pixel_size is not None
    return math.ceil(area / (grid.pixel_size[0] * grid.pixel_size[1]) - 1e-9)


def _check_metres(grid: GeoBox, options: MaskOptions) -> None:
    if grid.pixel_size is None and (options.min_area or options.buffer or options.polygon_min_area):
        raise OptionError("sizes in metres need a scene whose CRS is known, and this one has none")


def _model(model: str | Path | Predictor | Predict, options: MaskOptions) -> tuple[Predict, str, float]:
    """A model as a function, with its name and the threshold to use."""
    predict: Any = model
    if isinstance(model, (str, Path)):
        from geocloud.predict import load_model  # torch: seconds to load

        predict = load_model(model, options.device, options.precision, options.batch)
    threshold = options.threshold if options.threshold is not None else float(getattr(predict, "threshold", 0.5))
    return predict, str(getattr(predict, "name", "custom")), threshold


def _check_bands(scene: RasterScene, predict: Predict, name: str) -> None:
    """A model that was not trained without near-infrared is not given a scene that has none."""
    if scene.bands == 3 and not getattr(predict, "optional_nir", True):
        raise BandError(
            f"{scene.recipe.source}: no near-infrared band, and model {name!r} was not trained without; "
            "name a band for it with --bands, or take the model 'fast'"
        )


def _tags(scene: Scene, model: str, threshold: float, counts: Counts) -> dict[str, str]:
    cloud = counts.cloud_percent
    return {
        "TIFFTAG_SOFTWARE": f"geocloud {version('geocloud')}",
        "GEOCLOUD_MODEL": model,
        "GEOCLOUD_THRESHOLD": f"{threshold:g}",
        "GEOCLOUD_SOURCE": scene.name,
        "GEOCLOUD_ACQUIRED": scene.acquired.isoformat() if scene.acquired else "unknown",
        "GEOCLOUD_CLOUD_PERCENT": "none" if cloud is None else f"{cloud:.2f}",
        "GEOCLOUD_VALID_PERCENT": f"{counts.valid_percent:.2f}",
    }


def _abstract(scene: Scene, model: str, threshold: float, counts: Counts) -> str:
    cloud = counts.cloud_percent
    share = "no valid pixels" if cloud is None else f"{cloud:.1f} % cloud"
    when = f", acquired {scene.acquired:%Y-%m-%d %H:%M} UTC" if scene.acquired else ""
    return f"{scene.name}{when}: {share}. geocloud {version('geocloud')}, model {model}, threshold {threshold:g}."


def _holds_style(path: Path) -> bool:
    return path.suffix.lower() == ".gpkg"


def _place_text(staging: Staging, destination: Path, text: str) -> None:
    try:
        staging.place(destination).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{destination}: cannot be written ({error.strerror})") from error


def _refuse_source(scene: RasterScene, outputs: list[Path | None]) -> None:
    sources = {Path(scene.recipe.source).resolve(), *(Path(band.label).resolve() for band in scene.recipe.bands)}
    for path in outputs:
        if path is not None and path.resolve() in sources:
            raise OutputError(f"{path}: is the scene itself; give the result another name")
