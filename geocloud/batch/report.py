"""Files that describe an output folder: a report for browsers, a STAC collection, and footprints for a GIS."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geocloud.batch.job import COLLECTION, THUMBNAILS, collection_id, shelf_of
from geocloud.batch.options import BatchOptions
from geocloud.batch.state import DONE, PERCENTS, Entries, Entry, read_entries
from geocloud.errors import OutputError
from geocloud.io.remote import upload
from geocloud.writers import styles
from geocloud.writers.staging import Staging

if TYPE_CHECKING:
    import geopandas

REPORT, PARTS, FOOTPRINTS = "report.html", "report", "footprints"
ROWS, PORTION = 10_000, 1000
"""Scenes in memory at a time: for footprints and overview, and for each script of the page."""
NUMBERS = {name.removesuffix("_percent"): name for name in (*PERCENTS, "seconds")}
"""Columns shown with one decimal: name in the page → name in the manifest."""
SHADES = ("#2b6ca8", "#6fa3cc", "#b9b6b0", "#e39a5f", "#d55e00", "#8a929b")
"""Colours of cloud cover in steps of 20 %; the last one is for unknown cloud cover."""
WIDTH, HEIGHT, MARGIN, SMALLEST = 880, 500, 24, 3
"""Maximum width and height of the overview, its margin, and minimum side of a scene's box, in pixels."""
STYLE = (
    "text{font:11px sans-serif;fill:#54616e}path{stroke:#0007;stroke-width:.5;fill-opacity:.8}"
    "@media(prefers-color-scheme:dark){text{fill:#a5b2bf}}"
)


def describe_folder(folder: Path, footprints: str = "gpkg", to: str | None = None) -> None:
    """Writes a folder's report, collection and footprints; uploads them to ``to`` if set. Raises OutputError."""
    entries = read_entries(folder)
    made = [write_report(entries, folder), write_collection(entries, folder)]
    made.append(write_footprints(entries, folder, footprints))
    if to:
        parts = chain.from_iterable((folder / name).rglob("*") for name in (PARTS, THUMBNAILS))
        paths = chain((path for path in parts if path.is_file()), made)
        with ThreadPoolExecutor(16) as pool:  # a report has many small files
            while some := list(islice(paths, 1000)):
                places = [f"{to.rstrip('/')}/{path.relative_to(folder).as_posix()}" for path in some]
                list(pool.map(upload, some, places))


def is_described(folder: Path, options: BatchOptions) -> bool:
    """True if the files describing a folder are newer than its manifest. False for uploads, which may have failed."""
    manifest, names = folder / options.shard.manifest, (REPORT, COLLECTION, f"{FOOTPRINTS}.{options.footprints}")
    if options.upload or not all((folder / name).exists() for name in (*names, PARTS)):
        return False
    return min((folder / name).stat().st_mtime_ns for name in names) > manifest.stat().st_mtime_ns


def write_collection(entries: Iterable[Entry], folder: Path) -> Path:
    """Writes a STAC collection of the finished scenes, with links to their items. Returns its path."""
    path, count = folder / COLLECTION, 0
    bounds: BaseGeometry = shapely.Polygon()
    times: set[datetime] = set()
    with Staging([path], overwrite=True) as staging:
        with staging.place(path).open("w") as file:  # pystac would hold all links in memory
            root = {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}
            file.write(f'{{"links": [\n  {json.dumps(root)}')
            for entry in _done(entries):
                count += 1
                link = {"rel": "item", "href": f"./{entry.files['item']}", "type": "application/geo+json"}
                file.write(f",\n  {json.dumps(link | {'title': entry.name})}")
                if entry.footprint:
                    bounds = shapely.envelope(shapely.union(bounds, shapely.from_geojson(entry.footprint)))
                if entry.acquired:
                    times.add(datetime.fromisoformat(entry.acquired))
                    times = {min(times), max(times)}
            first, last = (min(times), max(times)) if times else (None, datetime.now(UTC))
            box = [-180.0, -90.0, 180.0, 90.0] if bounds.is_empty else list(bounds.bounds)
            rest = {
                "type": "Collection",
                "stac_version": "1.1.0",
                "stac_extensions": [],
                "id": collection_id(folder),
                "description": f"Cloud masks of {count} scenes, made by geocloud {version('geocloud')}.",
                "license": "other",
                "extent": {
                    "spatial": {"bbox": [box]},
                    "temporal": {"interval": [[first and first.isoformat(), last.isoformat()]]},
                },
            }
            file.write(f"\n ],\n{json.dumps(rest, indent=1)[2:]}\n")
        staging.publish()
    return path


def write_footprints(entries: Iterable[Entry], folder: Path, form: str = "gpkg") -> Path:
    """Writes the footprints of the finished scenes, with dates, class percentages and paths. Returns the file's path.

    The columns do not depend on the options, so that footprints of several folders can be merged. ``form`` is gpkg
    (layer ``footprints``) or parquet; geometries are in WGS 84. Raises DependencyError, OutputError.
    """
    from geocloud.writers.vector import write_layer  # imports geopandas: only after workers have started

    path = folder / f"{FOOTPRINTS}.{form}"
    with Staging([path], overwrite=True) as staging:
        write_layer(
            _frames(_done(entries)),
            staging.place(path),
            layer=FOOTPRINTS,
            title=f"Scenes in {folder.resolve().name}",
            abstract=f"Scenes with their cloud percentage, masked by geocloud {version('geocloud')}",
            qml=styles.footprints_qml(),
            kind="Unknown",
        )
        staging.publish()
    return path


def _done(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if entry.state == DONE)


def _frames(done: Iterator[Entry]) -> Iterator[geopandas.GeoDataFrame]:
    """Tables of up to ``ROWS`` scenes; one empty table if there are no scenes."""
    import geopandas
    import pandas as pd

    some = list(islice(done, ROWS))
    while True:
        values: dict[str, list[Any]] = {
            "name": [e.name for e in some],
            "acquired": [e.acquired and datetime.fromisoformat(e.acquired) for e in some],
            **{name: [getattr(e, name) for e in some] for name in (*PERCENTS, "model", "source")},
            **{kind: [e.place(kind) for e in some] for kind in ("mask", "polygons", "probability", "quicklook")},
        }
        kinds = {"acquired": "datetime64[ms, UTC]"} | dict.fromkeys(PERCENTS, "float64")
        columns = {name: pd.Series(column, dtype=kinds.get(name, "str")) for name, column in values.items()}
        geometry = [e.footprint and shapely.from_geojson(e.footprint) for e in some]
        yield geopandas.GeoDataFrame(columns, geometry=geometry, crs="EPSG:4326")
        if not (some := list(islice(done, ROWS))):
            return


def write_report(entries: Entries, folder: Path) -> Path:
    """Writes the page and its folder's files, replacing earlier ones. Returns the page's path. Raises OutputError.

    A page opened from disk cannot fetch files, but can load scripts and pictures. The data are therefore scripts,
    written while the manifest is read. The thumbnails are those written by `write_thumbnails`.
    """
    path, parts = folder / REPORT, folder / PARTS
    page = files("geocloud.batch").joinpath("page")
    with Staging([path], overwrite=True) as staging:
        made = staging.scratch(path, PARTS)
        try:
            made.mkdir()
            for name in ("report.css", "report.js"):
                (made / name).write_bytes(page.joinpath(name).read_bytes())
            rows, count = entries.rows(), 0
            while some := list(islice(rows, PORTION)):
                _script(made / f"scenes-{count}.js", "scenes", {"portion": count} | _columns(some, folder))
                count += 1
            if picture := _overview(entries):
                (made / "overview.svg").write_text(picture, encoding="utf-8")
            about = {"title": folder.resolve().name, "version": version("geocloud"), "portions": count}
            about |= {"states": entries.counts(), "portion": PORTION, "overview": bool(picture)}
            _script(made / "about.js", "about", about)
            staging.write(path, page.joinpath(REPORT).read_bytes())
            parts.mkdir(exist_ok=True)
            for old in (*parts.glob("scenes-*.js"), parts / "overview.svg"):
                old.unlink(missing_ok=True)
            for new in made.iterdir():
                new.replace(parts / new.name)
        except OSError as error:
            raise OutputError(f"{parts}: cannot be written ({error})") from error
        staging.publish()
    return path


def _columns(rows: list[sqlite3.Row], folder: Path) -> dict[str, list[Any]]:
    """Columns of the page for some scenes. Dates, numbers and notes are left out if all of them are missing."""
    columns: dict[str, list[Any]] = {
        key: [None if row[name] is None else round(row[name], 1) for row in rows] for key, name in NUMBERS.items()
    }
    columns["day"] = [row["acquired"] and row["acquired"][:10] for row in rows]
    columns["notes"] = [row["notes"] for row in rows]
    start = f"{folder}{os.sep}"  # creating a Path for each of a million files is three times slower
    return {
        "name": [row["name"] for row in rows],
        "state": [row["state"] for row in rows],
        "error": [row["error"] for row in rows],
        "shelf": [shelf_of(row["name"]) if row["state"] == DONE else None for row in rows],
        "is_here": [int(os.path.exists(f"{start}{row['name']}.json")) for row in rows],  # noqa: PTH110
        **{key: values for key, values in columns.items() if any(value is not None for value in values)},
    }


def _script(path: Path, call: str, value: Any) -> None:
    """Writes a script that passes a value to ``report.js`` as a JSON string, which browsers parse faster than code."""
    path.write_text(f"report.{call}({json.dumps(json.dumps(value, separators=(',', ':')))});\n")


def _overview(entries: Entries) -> str | None:
    """SVG map of the finished scenes in longitude and latitude, coloured by cloud percentage; None without footprints.

    Each scene is a box of the scenes' median size. Scenes less than half a box apart share one, coloured by their mean.
    """
    rows = entries.rows(("key", "name", "footprint", "cloud_percent"), f"footprint IS NOT NULL AND state = '{DONE}'")
    boxes, clouds = [np.empty((0, 4))], [np.empty(0)]
    while some := list(islice(rows, ROWS)):
        parts, of = shapely.get_parts(shapely.from_geojson([row["footprint"] for row in some]), return_index=True)
        boxes.append(shapely.bounds(parts))
        clouds.append(np.array([row["cloud_percent"] for row in some], float)[of])
    bounds, cloud = np.concatenate(boxes), np.concatenate(clouds)
    if not len(bounds):
        return None
    (left, bottom), (right, top) = bounds[:, :2].min(0), bounds[:, 2:].max(0)
    squeeze = max(0.2, np.cos(np.deg2rad((bottom + top) / 2)))
    spread = np.maximum([(right - left) * squeeze, top - bottom], 1e-6)
    scale = float(np.min((np.array([WIDTH, HEIGHT]) - 2 * MARGIN) / spread))  # pixels per degree of latitude
    width, height = (scale * spread + 2 * MARGIN).astype(int)
    low, high = ((bounds[:, at] - [left, top]) * [scale * squeeze, -scale] + MARGIN for at in ([0, 3], [2, 1]))
    size, centres = np.maximum(np.median(high - low, axis=0), SMALLEST), (low + high) / 2
    _, of = np.unique(centres // (size / 2), axis=0, return_inverse=True)
    known = np.flatnonzero(~np.isnan(cloud))
    with np.errstate(invalid="ignore"):
        means = np.bincount(of[known], cloud[known], of.max() + 1) / np.bincount(of[known], minlength=of.max() + 1)
    places = np.stack([np.bincount(of, centre) for centre in centres.T], 1) / np.bincount(of)[:, None] - size / 2
    paths = dict.fromkeys(SHADES, "")
    for (x, y), mean in zip(places, means, strict=True):
        shade = SHADES[-1 if np.isnan(mean) else min(4, int(mean // 20))]
        paths[shade] += f"M{x:.1f} {y:.1f}h{size[0]:.1f}v{size[1]:.1f}h-{size[0]:.1f}z"
    ends = (left, top), (right, bottom)
    filled = "".join(f'<path fill="{shade}" d="{path}"/>' for shade, path in paths.items() if path)
    first, last = (f"{abs(x):.2f}°{'WE'[int(x >= 0)]} {abs(y):.2f}°{'SN'[int(y >= 0)]}" for x, y in ends)
    corners = f'<text x="3" y="14">{first}</text><text x="{width - 3}" y="{height - 6}" text-anchor="end">{last}</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    return f"{svg}<style>{STYLE}</style>{filled}{corners}</svg>\n"
