"""Files that describe an output folder: a STAC collection, and footprints for a GIS."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import geopandas
import pandas as pd
import pystac
import shapely
from shapely.geometry.base import BaseGeometry

from geocloud.batch.describe import EXTENSIONS
from geocloud.batch.job import when
from geocloud.batch.manifest import DONE, Entry
from geocloud.outputs import styles
from geocloud.outputs.staging import Staging
from geocloud.outputs.vector import write_layer

COLLECTION = "collection.json"
FOOTPRINTS = "footprints"


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


def write_footprints(entries: Iterable[Entry], folder: Path, form: str = "gpkg") -> Path:
    """Writes the footprints of the finished scenes, with dates, percentages of cloud, shadow and valid pixels, paths.

    ``form`` is gpkg (layer ``footprints``) or parquet; the geometry is in WGS 84. Returns the path. Raises
    DependencyError, OutputError.
    """
    done = [e for e in entries if e.state == DONE]
    geometry = [shapely.from_geojson(e.footprint) if e.footprint else None for e in done]
    columns = {
        "name": pd.Series([e.name for e in done], dtype="str"),
        "acquired": pd.Series([when(e.acquired) for e in done], dtype="datetime64[ms, UTC]"),
        "cloud_percent": pd.Series([e.cloud_percent for e in done], dtype="float64"),
        **(
            {"shadow_percent": pd.Series([e.shadow_percent for e in done], dtype="float64")}
            if any(e.shadow_percent is not None for e in done)
            else {}
        ),
        "valid_percent": pd.Series([e.valid_percent for e in done], dtype="float64"),
        "model": pd.Series([e.model for e in done], dtype="str"),
        "source": pd.Series([e.source for e in done], dtype="str"),
    }
    for kind in ("mask", "polygons", "probability", "quicklook"):
        if kind == "mask" or any(kind in e.files for e in done):
            columns[kind] = pd.Series([e.place(kind) for e in done], dtype="str")
    frame = geopandas.GeoDataFrame(columns, geometry=geometry, crs="EPSG:4326")
    path = folder / f"{FOOTPRINTS}.{form}"
    with Staging([path], overwrite=True) as staging:
        write_layer(
            frame,
            staging.place(path),
            layer=FOOTPRINTS,
            title=f"Scenes in {folder.resolve().name}",
            abstract=f"{len(done)} scenes with their cloud percentage, masked by geocloud {version('geocloud')}",
            qml=styles.footprints_qml(),
            kind="Unknown",
        )
        staging.publish()
    return path
