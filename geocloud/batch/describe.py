"""Files beside a mask: a STAC item, a quick-look and thumbnails; and the footprint of the scene's data."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.enums
import shapely
import shapely.geometry
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import CRSError
from rasterio.warp import transform_geom
from shapely.geometry.base import BaseGeometry

from geocloud.batch.folder import COLLECTION, collection_id
from geocloud.batch.report import write_thumbnail
from geocloud.batch.state import PERCENTS
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.masks.codes import CLEAR, NO_DATA, SHADOW
from geocloud.pipeline import MaskResult
from geocloud.preview.render import Overview, Pixels, colour_mask, encode, overlay, render, side_by_side
from geocloud.writers import styles
from geocloud.writers.staging import Staging

THUMBNAIL = 192
"""Longest side of a thumbnail in pixels."""

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
    "quicklook": ("The scene beside its mask", "image/jpeg", ["overview"]),
}
"""Kind of file → title, media type and roles of its STAC asset."""


def describe(result: MaskResult, overview: Overview, files: dict[str, Path], name: str) -> dict[str, Any]:
    """Writes the STAC item, thumbnails and quick-look of a mask. Returns the fields of `Entry` that it lacks."""
    with open_quietly(result.mask) as dataset:
        grid = GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs)
        seen = overview.reflectance
        mask = dataset.read(1, out_shape=seen.shape[1:], resampling=rasterio.enums.Resampling.nearest)
    footprint = outline(seen, overview.step, grid)
    picture = render(seen, clear=mask == CLEAR)
    with Staging([files[kind] for kind in ("quicklook", "item") if kind in files], overwrite=True) as staging:
        if "quicklook" in files:
            look = side_by_side([picture, overlay(picture, mask)])
            staging.place(files["quicklook"]).write_bytes(encode(look, "jpeg"))
        staging.place_text(files["item"], json.dumps(make_item(result, grid, footprint, files, name), indent=1))
        staging.publish()
    write_thumbnails(files["item"].parent, name, picture, mask)
    return {"transform": tuple(grid.transform)[:6], "footprint": footprint and shapely.to_geojson(footprint)}


def write_thumbnails(folder: Path, name: str, picture: Pixels, mask: Pixels) -> None:
    """Writes a JPEG of a picture of the scene ``(h, w, 4)``, and a PNG of its mask ``(h, w)``. Raises OutputError."""
    scene, classes = Image.fromarray(picture), Image.fromarray(mask)
    scene.thumbnail((THUMBNAIL, THUMBNAIL))
    classes = classes.resize(scene.size, Image.Resampling.NEAREST)
    write_thumbnail(folder, f"{name}.jpg", encode(np.asarray(scene), "jpeg"))
    write_thumbnail(folder, f"{name}.png", encode(colour_mask(np.asarray(classes)), "png"))


def outline(seen: NDArray[np.float32], step: int, grid: GeoBox) -> BaseGeometry | None:
    """The convex hull of a scene's data in WGS 84, split at the antimeridian; None without a CRS or data.

    ``seen`` is reflectance ``(4, h, w)`` of every ``step``-th pixel: the outline is accurate to ``step`` pixels.
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
    except Exception:  # rasterio raises many kinds; without a transformation to WGS 84 there is no footprint
        return None
    shape = shapely.make_valid(shapely.geometry.shape(turned))
    return shape if shape.area and np.isfinite(shape.bounds).all() else None


def make_item(
    result: MaskResult, grid: GeoBox, footprint: BaseGeometry | None, files: dict[str, Path], name: str
) -> dict[str, Any]:
    """A STAC 1.1 item of a mask, with links relative to the item.

    Without a time of acquisition ``datetime`` is when the item is made, and ``geocloud:undated`` is true.
    """
    percents = {column: getattr(result, column) for column in PERCENTS}
    cloud = percents.pop("cloud_percent")
    source = result.source if "://" in result.source else str(Path(result.source).absolute())
    try:
        code = ":".join(grid.crs.to_authority() or ()) if grid.crs else ""
    except CRSError:  # a custom CRS
        code = ""
    properties: dict[str, Any] = {
        "datetime": (result.acquired or datetime.now(UTC)).isoformat(),
        **({} if result.acquired else {"geocloud:undated": True}),
        "proj:code": code or None,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(tuple(grid.transform)[:6]),
        "geocloud:source": result.source,
        "geocloud:model": result.model,
        "geocloud:threshold": result.threshold,
        **{f"geocloud:{column}": round(value, 2) for column, value in percents.items() if value is not None},
    }
    if grid.crs and not code:
        properties["proj:wkt2"] = grid.crs.to_wkt()
    if cloud is not None:
        properties["eo:cloud_cover"] = round(cloud, 2)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
        "id": name,
        "geometry": footprint and shapely.geometry.mapping(footprint),
        **({"bbox": [round(value, 6) for value in footprint.bounds]} if footprint else {}),
        "properties": properties,
        "collection": collection_id(files["item"].parent),
        "links": [
            {"rel": "collection", "href": f"./{COLLECTION}", "type": "application/json"},
            {"rel": "derived_from", "href": source},
        ],
        "assets": {
            kind: {
                "href": f"./{files[kind].name}",
                "title": title,
                "type": media,
                "roles": roles,
                **_bands(kind, result.codes),
            }
            for kind, (title, media, roles) in ASSETS.items()
            if kind in files
        },
    }


def _bands(kind: str, codes: tuple[int, ...]) -> dict[str, Any]:
    byte = {"data_type": "uint8", "nodata": NO_DATA}
    if kind == "probability":
        names = ["probability", "shadow_probability"][: 1 + (SHADOW in codes)]
        return {"bands": [{"name": name, **byte, "unit": "%"} for name in names]}
    if kind != "mask":
        return {}
    classes: list[dict[str, Any]] = [
        {
            "value": value,
            "name": label,
            "title": label.capitalize(),
            "color_hint": "{:02X}{:02X}{:02X}".format(*styles.colours()[value][:3]),
        }
        for value, label in styles.classes(codes).items()
    ]
    classes.append({"value": NO_DATA, "name": "no_data", "title": "No data", "nodata": True})
    return {"bands": [{"name": "mask", **byte, "classification:classes": classes}]}
