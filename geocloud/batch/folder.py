"""Files that describe an output folder as a whole: report, STAC collection, and footprints for a GIS."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import shapely
from shapely.geometry.base import BaseGeometry

from geocloud.batch.options import BatchOptions
from geocloud.batch.report import PARTS, REPORT, THUMBNAILS, write_report, write_thumbnail
from geocloud.batch.state import DONE, PAGE, PERCENTS, Entry, manifests_in, read_entries
from geocloud.io.remote import upload
from geocloud.writers import styles
from geocloud.writers.staging import Staging

if TYPE_CHECKING:
    import geopandas

log = logging.getLogger(__name__)

COLLECTION, FOOTPRINTS = "collection.json", "footprints"
TIME = "datetime64[ms, UTC]"
ROWS = 10_000
"""Scenes in memory at a time, and in a row group of GeoParquet."""


def describe_folder(folder: Path, footprints: str = "gpkg", to: str | None = None) -> None:
    """Writes the files that describe a folder, from its manifests; uploads them to ``to``. Raises OutputError."""
    unpack_thumbnails(folder)
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
    """True if all that describes a folder is there and later than its only manifest.

    Other manifests may be written to at the same time, and an upload may have failed.
    """
    manifests, names = manifests_in(folder), (REPORT, COLLECTION, f"{FOOTPRINTS}.{options.footprints}")
    if options.upload or len(manifests) > 1 or not all((folder / name).exists() for name in (*names, PARTS)):
        return False
    return min((folder / name).stat().st_mtime_ns for name in names) > manifests[0].stat().st_mtime_ns


def write_collection(entries: Iterable[Entry], folder: Path) -> Path:
    """Writes a STAC collection of the finished scenes, with links to their items. Returns its path."""
    path, count = folder / COLLECTION, 0
    bounds: BaseGeometry = shapely.Polygon()
    times: set[datetime] = set()
    with Staging([path], overwrite=True) as staging:
        with staging.place(path).open("w") as file:  # link by link: pystac would hold all of them in memory
            root = {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}
            file.write(f'{{"links": [\n  {json.dumps(root)}')
            for entry in (entry for entry in entries if entry.state == DONE):
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
            interval = [first and first.isoformat(), last.isoformat()]
            rest = {
                "type": "Collection",
                "stac_version": "1.1.0",
                "stac_extensions": [],
                "id": collection_id(folder),
                "description": f"Cloud masks of {count} scenes, made by geocloud {version('geocloud')}.",
                "license": "other",
                "extent": {
                    "spatial": {"bbox": [box]},
                    "temporal": {"interval": [interval]},
                },
            }
            file.write(f"\n ],\n{json.dumps(rest, indent=1)[2:]}\n")
        staging.publish()
    return path


def collection_id(folder: Path) -> str:
    """The id of the STAC collection of an output folder."""
    return folder.resolve().name or "geocloud"


def write_footprints(entries: Iterable[Entry], folder: Path, form: str = "gpkg") -> Path:
    """Writes the footprints of the finished scenes, with dates, percentages of each class and of valid pixels, paths.

    The columns are always the same, so that the footprints of several folders fit together: what was not asked for is
    empty. ``form`` is gpkg (layer ``footprints``) or parquet; the geometry is in WGS 84. Returns the path. Raises
    DependencyError, OutputError.
    """
    from geocloud.writers.vector import write_layer  # imports geopandas: only after workers have started

    path = folder / f"{FOOTPRINTS}.{form}"
    with Staging([path], overwrite=True) as staging:
        write_layer(
            _frames(entry for entry in entries if entry.state == DONE),
            staging.place(path),
            layer=FOOTPRINTS,
            title=f"Scenes in {folder.resolve().name}",
            abstract=f"Scenes with their cloud percentage, masked by geocloud {version('geocloud')}",
            qml=styles.footprints_qml(),
            kind="Unknown",
        )
        staging.publish()
    return path


def _frames(done: Iterator[Entry]) -> Iterator[geopandas.GeoDataFrame]:
    """So many scenes at a time; where there are none, one table without rows."""
    import geopandas
    import pandas as pd

    some = list(islice(done, ROWS))
    while True:
        columns = {
            "name": pd.Series([e.name for e in some], dtype="str"),
            "acquired": pd.Series([e.acquired and datetime.fromisoformat(e.acquired) for e in some], dtype=TIME),
            **{name: pd.Series([getattr(e, name) for e in some], dtype="float64") for name in PERCENTS},
            **{name: pd.Series([getattr(e, name) for e in some], dtype="str") for name in ("model", "source")},
            **{
                kind: pd.Series([e.place(kind) for e in some], dtype="str")
                for kind in ("mask", "polygons", "probability", "quicklook")
            },
        }
        geometry = [e.footprint and shapely.from_geojson(e.footprint) for e in some]
        yield geopandas.GeoDataFrame(columns, geometry=geometry, crs="EPSG:4326")
        if not (some := list(islice(done, ROWS))):
            return


def unpack_thumbnails(folder: Path) -> None:
    """Makes files of the thumbnails that an earlier version kept in a database beside each manifest."""
    query = "SELECT name, scene_picture, mask_picture FROM scenes JOIN beside.pictures USING (key) WHERE name > ?"
    for manifest in manifests_in(folder):
        store = manifest.with_name(manifest.name.replace("manifest", "thumbnails", 1))
        if not store.exists():
            continue
        log.warning("%s: an earlier version's thumbnails; they become files, and the database is deleted", store)
        with closing(sqlite3.connect(manifest)) as database:
            database.execute("ATTACH ? AS beside", (str(store),))
            last = ""
            while rows := database.execute(f"{query} ORDER BY name LIMIT {PAGE // 10}", (last,)).fetchall():
                for name, *pictures in rows:
                    for picture, ending in zip(pictures, (".jpg", ".png"), strict=True):
                        if picture:
                            write_thumbnail(folder, f"{name}{ending}", picture, overwrite=False)
                last = rows[-1][0]
        store.unlink()
