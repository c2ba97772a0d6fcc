"""The STAC collection of an output folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pystac
import shapely
from shapely.geometry.base import BaseGeometry

from geocloud.batch.describe import EXTENSIONS
from geocloud.batch.job import when
from geocloud.batch.manifest import DONE, Entry
from geocloud.writers.staging import Staging

COLLECTION = "collection.json"


def write_collection(entries: Iterable[Entry], folder: Path) -> Path:
    """Writes a STAC collection of the finished scenes, with links to their items. Returns its path."""
    path = folder / COLLECTION
    with Staging([path], overwrite=True) as staging:
        links = staging.scratch(path, "links")  # pystac would hold all of them in memory
        whole, times, count = _write_links(entries, links)
        collection = pystac.Collection(
            id=folder.resolve().name or "geocloud",
            description=f"Cloud masks of {count} scenes, made by geocloud {version('geocloud')}.",
            license="other",
            extent=pystac.Extent(
                pystac.SpatialExtent([whole or [-180.0, -90.0, 180.0, 90.0]]),
                pystac.TemporalExtent([times or [None, datetime.now(UTC)]]),
            ),
            stac_extensions=EXTENSIONS[:1],
        )
        about = collection.to_dict(include_self_link=False, transform_hrefs=False)
        del about["links"]
        about["links"] = [{"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}]  # now the last key
        head = json.dumps(about, indent=1).removesuffix("\n ]\n}")
        with staging.place(path).open("w") as file, links.open() as lines:
            file.write(head)
            shutil.copyfileobj(lines, file)
            file.write("\n ]\n}\n")
        staging.publish()
    return path


def _write_links(entries: Iterable[Entry], path: Path) -> tuple[list[float] | None, list[datetime | None] | None, int]:
    """Writes the links to the items of finished scenes. Returns these scenes' bounds, first and last time, and number.

    Bounds or times are None if none is known.
    """
    whole: BaseGeometry = shapely.Polygon()
    first, last, count = None, None, 0
    with path.open("w") as file:
        for entry in (e for e in entries if e.state == DONE):
            count += 1
            link = {"rel": "item", "href": f"./{entry.files['item']}", "type": "application/geo+json"}
            file.write(f",\n  {json.dumps(link | {'title': entry.name})}")
            if entry.footprint:
                whole = shapely.envelope(shapely.union(whole, shapely.envelope(shapely.from_geojson(entry.footprint))))
            if time := when(entry.acquired):
                first, last = min(first or time, time), max(last or time, time)
    return None if whole.is_empty else list(whole.bounds), [first, last] if first else None, count
