"""Masking of one scene of a batch: a job, which is sent to a worker, and the entry that it returns.

Each mask comes with a STAC item, thumbnails and an optional quick-look.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import threading
import time
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.enums
import shapely
import shapely.geometry
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import CRSError
from rasterio.warp import transform_geom
from shapely.geometry.base import BaseGeometry

from geocloud import errors
from geocloud.batch.options import BatchOptions
from geocloud.batch.state import DONE, FAILED, PERCENTS, Entry
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.io.remote import upload
from geocloud.masks.codes import CLEAR, NO_DATA, SHADOW
from geocloud.pipeline import MaskResult, mask_scene
from geocloud.preview.render import Overview, Pixels, colour_mask, encode, overlay, render, side_by_side
from geocloud.writers import styles
from geocloud.writers.staging import Staging

if TYPE_CHECKING:
    from geocloud.tiling.tiles import Predict

log = logging.getLogger("geocloud")

QUICKLOOK, THUMBNAIL = 1024, 192
"""Longest side of each picture in a quick-look, and of a thumbnail, in pixels."""
SHARED = ("height", "width", "crs", "acquired", "model", "threshold", *PERCENTS)
"""Fields common to `MaskResult` and `Entry`."""
BAD_INPUT, LATER, PASSING = "bad input", "later", "passing"
"""Kinds of failure: retried when the source has changed, in the next run, or in the same run."""
ENDINGS = {
    "mask": "_cloudmask.tif",
    "polygons": "_clouds.gpkg",
    "probability": "_probability.tif",
    "quicklook": "_quicklook.jpg",
    "item": ".json",
}
"""Kind of file → ending of its name."""
COLLECTION, THUMBNAILS = "collection.json", "thumbnails"
EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
]
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
ASSETS = {
    "mask": ("Cloud mask", COG_TYPE, ["data", "cloud"]),
    "probability": ("Cloud probability, per cent", COG_TYPE, ["data"]),
    "polygons": ("Cloud polygons, layer 'clouds'", "application/geopackage+sqlite3", ["data"]),
    "quicklook": ("Scene and mask, side by side", "image/jpeg", ["overview"]),
}
"""Kind of file → title, media type and roles of its STAC asset."""


@dataclass(frozen=True, slots=True)
class Job:
    """A scene to be masked."""

    name: str  # base name of the scene's files
    source: str  # path or URL of the scene
    folder: Path  # folder of the results
    options: BatchOptions

    def files(self) -> dict[str, Path]:
        """Output files: kind → path. The STAC item is last, because it describes the others."""
        endings = {kind: ending for kind, ending in ENDINGS.items() if getattr(self.options, kind, True)}
        return {kind: self.folder / f"{self.name}{ending}" for kind, ending in endings.items()}

    def entry(self, state: str, **results: Any) -> Entry:
        """Entry with the outcome of the job, for `geocloud.batch.state.Manifest.finish`."""
        worker = f"{platform.node()}:{os.getpid()}"
        return Entry("", self.name, errors.without_secrets(self.source), state, worker=worker, **results)


def run_job(job: Job, predict: Predict) -> Entry:
    """Masks a scene and writes its STAC item and pictures. Raises nothing: errors are returned as a failed entry."""
    notes, thread, started = BufferingHandler(sys.maxsize), threading.get_ident(), time.monotonic()
    notes.setLevel(logging.WARNING)
    notes.addFilter(lambda record: record.thread == thread)
    log.addHandler(notes)
    try:
        entry = _mask(job, predict)
    except Exception as error:
        is_remote = isinstance(error, errors.SceneReadError) and "://" in str(error)
        is_bad = isinstance(error, errors.SceneError) and not isinstance(error, errors.SceneNotFoundError)
        known = BAD_INPUT if is_bad else LATER
        entry = failed(job, error, PASSING if is_remote or not isinstance(error, errors.GeocloudError) else known)
    finally:
        log.removeHandler(notes)
    lines = [errors.without_secrets(" ".join(record.getMessage().split())) for record in notes.buffer]
    return replace(entry, seconds=round(time.monotonic() - started, 3), notes="\n".join(lines) or None)


def failed(job: Job, error: BaseException | str, kind: str) -> Entry:
    """Entry of a failed job, with the error in one line."""
    text = errors.on_command_line(errors.without_secrets(" ".join(str(error).split())))
    if isinstance(error, BaseException) and not isinstance(error, errors.GeocloudError):
        text = f"{type(error).__name__}: {text}"
    return job.entry(FAILED, error=text, failure=kind)


def _mask(job: Job, predict: Predict) -> Entry:
    files, options = job.files(), job.options
    overview = Overview(QUICKLOOK if options.quicklook else QUICKLOOK // 4)
    result = mask_scene(
        job.source,
        files["mask"],
        polygons=files.get("polygons"),
        probability=files.get("probability"),
        model=predict,
        read=options.read,
        options=replace(options.mask, overwrite=True),
        watch=overview.take,
    )
    place = describe(result, overview, files, job.name)
    if options.upload:
        _upload(files, options.upload, options.keep)
    facts = {name: value for name, value in result.facts().items() if name in SHARED}
    size, names = result.height * result.width / 1e6, {kind: path.name for kind, path in files.items()}
    return job.entry(DONE, megapixels=size, files=names, uploaded=options.upload, **facts, **place)


def _upload(files: dict[str, Path], to: str, keep: bool) -> None:
    """Uploads a scene's files, each after its sidecars and the item last. Deletes local files unless ``keep``."""
    groups = [(path.with_suffix(".qml"), path.with_name(path.name + ".aux.xml"), path) for path in files.values()]
    sent = [file for group in groups for file in group if file.exists()]
    for file in sent:
        upload(file, f"{to.rstrip('/')}/{file.name}")
    for file in () if keep else sent:
        file.unlink()


def describe(result: MaskResult, overview: Overview, files: dict[str, Path], name: str) -> dict[str, Any]:
    """Writes the STAC item, thumbnails and quick-look of a mask. Returns ``transform`` and ``footprint`` of `Entry`."""
    with open_quietly(result.mask) as dataset:
        grid = GeoBox.of(dataset)
        seen = overview.reflectance
        mask = dataset.read(1, out_shape=seen.shape[1:], resampling=rasterio.enums.Resampling.nearest)
    if grid.south_up:  # the overview is north up
        mask = mask[::-1]
    footprint = outline(seen, overview.step, grid.flip() if grid.south_up else grid)
    picture = render(seen, clear=mask == CLEAR)
    with Staging([files[kind] for kind in ("quicklook", "item") if kind in files], overwrite=True) as staging:
        if "quicklook" in files:
            look = side_by_side([picture, overlay(picture, mask)])
            staging.write(files["quicklook"], encode(look, "jpeg"))
        staging.write(files["item"], json.dumps(make_item(result, grid, footprint, files, name), indent=1))
        staging.publish()
    write_thumbnails(files["item"].parent, name, picture, mask)
    return {"transform": tuple(grid.transform)[:6], "footprint": footprint and shapely.to_geojson(footprint)}


def write_thumbnails(folder: Path, name: str, picture: Pixels, mask: Pixels) -> None:
    """Writes thumbnails: a JPEG of the scene's picture ``(h, w, 4)`` and a PNG of its mask ``(h, w)``."""
    scene, classes = Image.fromarray(picture), Image.fromarray(mask)
    scene.thumbnail((THUMBNAIL, THUMBNAIL))
    classes = classes.resize(scene.size, Image.Resampling.NEAREST)
    shelf = folder / THUMBNAILS / shelf_of(name)
    shelf.mkdir(parents=True, exist_ok=True)
    (shelf / f"{name}.jpg").write_bytes(encode(np.asarray(scene), "jpeg"))
    (shelf / f"{name}.png").write_bytes(encode(colour_mask(np.asarray(classes)), "png"))


def outline(seen: NDArray[np.float32], step: int, grid: GeoBox) -> BaseGeometry | None:
    """Convex hull of a scene's valid pixels in WGS 84, split at the antimeridian; None without a CRS or valid pixels.

    ``seen`` is the reflectance ``(4, h, w)`` of every ``step``-th pixel, so the hull is accurate to ``step`` pixels.
    """
    valid: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(seen))
    rows = np.flatnonzero(valid.any(1))
    if grid.crs is None or not len(rows):
        return None
    left, right = valid[rows].argmax(1), valid.shape[1] - valid[rows, ::-1].argmax(1)
    corners = np.concatenate([np.stack([cols, rows + down], 1) for cols in (left, right) for down in (0, 1)]) * step
    corners = np.minimum(corners, [grid.width, grid.height])
    hull = shapely.convex_hull(shapely.linestrings(corners))
    hull = shapely.segmentize(hull, max(grid.width, grid.height) / 8)  # straight lines in one CRS are curves in another
    placed = shapely.transform(hull, lambda xy: np.stack(grid.transform @ tuple(xy.T), 1))
    try:
        turned = transform_geom(grid.crs, "EPSG:4326", shapely.geometry.mapping(placed), antimeridian_cutting=True)
    except Exception:  # rasterio raises various errors if there is no transformation to WGS 84
        return None
    shape = shapely.make_valid(shapely.geometry.shape(turned))
    return shape if shape.area and np.isfinite(shape.bounds).all() else None


def make_item(
    result: MaskResult, grid: GeoBox, footprint: BaseGeometry | None, files: dict[str, Path], name: str
) -> dict[str, Any]:
    """STAC 1.1 item of a mask. Paths of its assets are relative to the item.

    If the acquisition time is unknown, ``datetime`` is the time of writing and ``geocloud:undated`` is true.
    """
    percents = {column: round(value, 2) for column in PERCENTS if (value := getattr(result, column)) is not None}
    cloud = percents.pop("cloud_percent", None)
    source = result.source if "://" in result.source else str(Path(result.source).absolute())
    try:
        code = ":".join(grid.crs.to_authority() or ()) if grid.crs else ""
    except CRSError:  # a custom CRS
        code = ""
    properties: dict[str, Any] = {
        "datetime": (result.acquired or datetime.now(UTC)).isoformat(),
        "proj:code": code or None,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(tuple(grid.transform)[:6]),
        "geocloud:source": result.source,
        "geocloud:model": result.model,
        "geocloud:threshold": result.threshold,
        **{f"geocloud:{column}": value for column, value in percents.items()},
    }
    properties |= {"geocloud:undated": True} if result.acquired is None else {}
    properties |= {"proj:wkt2": grid.crs.to_wkt()} if grid.crs and not code else {}
    properties |= {} if cloud is None else {"eo:cloud_cover": cloud}
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
        "id": name,
        "geometry": footprint and shapely.geometry.mapping(footprint),
        "properties": properties,
        "collection": collection_id(files["item"].parent),
        "links": [
            {"rel": "collection", "href": f"./{COLLECTION}", "type": "application/json"},
            {"rel": "derived_from", "href": source},
        ],
        "assets": {kind: _asset(kind, files[kind].name, result.codes) for kind in ASSETS if kind in files},
    }
    return item | ({"bbox": [round(value, 6) for value in footprint.bounds]} if footprint else {})


def _asset(kind: str, name: str, codes: tuple[int, ...]) -> dict[str, Any]:
    title, media_type, roles = ASSETS[kind]
    asset: dict[str, Any] = {"href": f"./{name}", "title": title, "type": media_type, "roles": roles}
    byte = {"data_type": "uint8", "nodata": NO_DATA}
    if kind == "probability":
        names = ["probability", "shadow_probability"][: 1 + (SHADOW in codes)]
        asset["bands"] = [{"name": name, **byte, "unit": "%"} for name in names]
    if kind == "mask":
        colours = styles.colours()
        classes: list[dict[str, Any]] = [
            {
                "value": value,
                "name": label,
                "title": label.capitalize(),
                "color_hint": bytes(colours[value][:3]).hex().upper(),
            }
            for value, label in styles.classes(codes).items()
        ]
        classes.append({"value": NO_DATA, "name": "no_data", "title": "No data", "nodata": True})
        asset["bands"] = [{"name": "mask", **byte, "classification:classes": classes}]
    return asset


def collection_id(folder: Path) -> str:
    """ID of the STAC collection of an output folder."""
    return folder.resolve().name or "geocloud"


def shelf_of(name: str) -> str:
    """Subfolder of a scene's thumbnails, one of 1000, because a folder of a million files is slow."""
    return f"{zlib.crc32(name.encode()) % 1000:03}"
