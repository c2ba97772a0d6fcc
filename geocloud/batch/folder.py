"""Files that describe an output folder as a whole: its STAC collection, and footprints for a GIS."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import geopandas
import pandas as pd
import pystac
import shapely
from shapely.geometry.base import BaseGeometry

from geocloud.batch.describe import EXTENSIONS
from geocloud.batch.state import DONE, Entry
from geocloud.writers import styles
from geocloud.writers.staging import Staging
from geocloud.writers.vector import write_layer

COLLECTION = "collection.json"
FOOTPRINTS = "footprints"
ROWS = 10_000
"""Scenes in memory at a time, and in a row group of GeoParquet."""


def write_collection(entries: Iterable[Entry], folder: Path) -> Path:
    """Writes a STAC collection of the finished scenes, with links to their items. Returns its path."""
    path = folder / COLLECTION
    with Staging([path], overwrite=True) as staging:
        links = staging.scratch(path, "links")  # pystac would hold all of them in memory
        bounds, times, count = _write_links(entries, links)
        interval: list[datetime | None] = [min(times), max(times)] if times else [None, datetime.now(UTC)]
        collection = pystac.Collection(
            id=folder.resolve().name or "geocloud",
            description=f"Cloud masks of {count} scenes, made by geocloud {version('geocloud')}.",
            license="other",
            extent=pystac.Extent(
                pystac.SpatialExtent([bounds or [-180.0, -90.0, 180.0, 90.0]]),
                pystac.TemporalExtent([interval]),
            ),
            stac_extensions=EXTENSIONS[:1],
        )
        text = collection.to_dict(include_self_link=False, transform_hrefs=False)
        del text["links"]
        text["links"] = [{"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}]  # now the last key
        head = json.dumps(text, indent=1).removesuffix("\n ]\n}")
        with staging.place(path).open("w") as file, links.open() as lines:
            file.write(head)
            shutil.copyfileobj(lines, file)
            file.write("\n ]\n}\n")
        staging.publish()
    return path


def _write_links(entries: Iterable[Entry], path: Path) -> tuple[list[float], set[datetime], int]:
    """Writes links to the items of finished scenes. Returns their bounds, their first and last time, their number."""
    extent: BaseGeometry = shapely.Polygon()
    times: set[datetime] = set()
    count = 0
    with path.open("w") as file:
        for entry in (e for e in entries if e.state == DONE):
            count += 1
            link = {"rel": "item", "href": f"./{entry.files['item']}", "type": "application/geo+json"}
            file.write(f",\n  {json.dumps(link | {'title': entry.name})}")
            if entry.footprint:
                extent = shapely.envelope(
                    shapely.union(extent, shapely.envelope(shapely.from_geojson(entry.footprint)))
                )
            if entry.acquired:
                times.add(datetime.fromisoformat(entry.acquired))
                times = {min(times), max(times)}
    return [] if extent.is_empty else list(extent.bounds), times, count


def write_footprints(entries: Iterable[Entry], folder: Path, form: str = "gpkg") -> Path:
    """Writes the footprints of the finished scenes, with dates, percentages of cloud, shadow and valid pixels, paths.

    The columns are always the same, so that the footprints of several folders fit together: what was not asked for is
    empty. ``form`` is gpkg (layer ``footprints``) or parquet; the geometry is in WGS 84. Returns the path. Raises
    DependencyError, OutputError.
    """
    path = folder / f"{FOOTPRINTS}.{form}"
    with Staging([path], overwrite=True) as staging:
        write_layer(
            _frames(entries),
            staging.place(path),
            layer=FOOTPRINTS,
            title=f"Scenes in {folder.resolve().name}",
            abstract=f"Scenes with their cloud percentage, masked by geocloud {version('geocloud')}",
            qml=styles.footprints_qml(),
            kind="Unknown",
        )
        staging.publish()
    return path


def _frames(entries: Iterable[Entry]) -> Iterator[geopandas.GeoDataFrame]:
    """The finished scenes, so many at a time; where there are none, one table without rows."""
    done = (entry for entry in entries if entry.state == DONE)
    yield _frame(list(islice(done, ROWS)))
    while some := list(islice(done, ROWS)):
        yield _frame(some)


def _frame(entries: list[Entry]) -> geopandas.GeoDataFrame:
    times = [e.acquired and datetime.fromisoformat(e.acquired) for e in entries]
    percents = ("cloud_percent", "shadow_percent", "valid_percent")
    places = ("mask", "polygons", "probability", "quicklook")
    columns = {
        "name": pd.Series([e.name for e in entries], dtype="str"),
        "acquired": pd.Series(times, dtype="datetime64[ms, UTC]"),
        **{name: pd.Series([getattr(e, name) for e in entries], dtype="float64") for name in percents},
        **{name: pd.Series([getattr(e, name) for e in entries], dtype="str") for name in ("model", "source")},
        **{kind: pd.Series([e.place(kind) for e in entries], dtype="str") for kind in places},
    }
    geometry = [shapely.from_geojson(e.footprint) if e.footprint else None for e in entries]
    return geopandas.GeoDataFrame(columns, geometry=geometry, crs="EPSG:4326")
