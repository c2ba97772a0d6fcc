"""Files that describe an output folder: a STAC collection, and tables of its scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pystac
import shapely

from geocloud.batch.describe import EXTENSIONS
from geocloud.batch.job import when
from geocloud.batch.manifest import DONE, Entry
from geocloud.errors import DependencyError, OutputError
from geocloud.outputs.staging import Staging

COLLECTION = "collection.json"
EXPORTS = (".csv", ".json", ".parquet")


def write_collection(entries: Sequence[Entry], folder: Path) -> Path:
    """Writes a STAC collection of the finished scenes, with links to their items. Returns its path."""
    done = [e for e in entries if e.state == DONE]
    boxes = [list(shapely.from_geojson(e.footprint).bounds) for e in done if e.footprint]
    whole = [f(v) for f, v in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)] if boxes else None
    times = sorted(t for e in done if (t := when(e.acquired)))
    collection = pystac.Collection(
        id=folder.resolve().name or "geocloud",
        description=f"Cloud masks of {len(done)} scenes, made by geocloud {version('geocloud')}.",
        license="other",
        extent=pystac.Extent(
            pystac.SpatialExtent([whole or [-180.0, -90.0, 180.0, 90.0]]),
            pystac.TemporalExtent([[times[0], times[-1]]] if times else [[None, datetime.now(UTC)]]),
        ),
        stac_extensions=EXTENSIONS[:1],
    )
    collection.add_link(pystac.Link("root", f"./{COLLECTION}", "application/json"))
    for entry in done:
        collection.add_link(pystac.Link("item", f"./{entry.files['item']}", "application/geo+json", entry.name))
    links = collection.to_dict(include_self_link=False, transform_hrefs=False)
    path = folder / COLLECTION
    _place(path, json.dumps(links, indent=1).encode())
    return path


def export(entries: Sequence[Entry], path: Path) -> None:
    """Writes the manifest as a table: .csv, .json or .parquet. Raises OutputError, DependencyError."""
    if path.suffix not in EXPORTS:
        raise OutputError(f"{path}: wanted a name that ends in {', '.join(EXPORTS)}")
    records = [entry.record() for entry in entries]
    if path.suffix == ".json":
        _place(path, json.dumps(records, indent=1).encode())
        return
    frame = pd.DataFrame(records)
    if path.suffix == ".csv":
        _place(path, frame.to_csv(index=False).encode())
        return
    with Staging([path], overwrite=True) as staging:
        try:
            frame.to_parquet(staging.place(path))
        except ImportError as error:
            raise DependencyError("Parquet needs pyarrow; run pip install 'geocloud[batch]'") from error
        staging.publish()


def _place(path: Path, data: bytes) -> None:
    with Staging([path], overwrite=True) as staging:
        staging.place(path).write_bytes(data)
        staging.publish()
