"""The footprints of an output folder's scenes, for a GIS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import geopandas
import pandas as pd
import shapely

from geocloud.batch.job import when
from geocloud.batch.manifest import DONE, Entry
from geocloud.writers import styles
from geocloud.writers.staging import Staging
from geocloud.writers.vector import write_layer

FOOTPRINTS = "footprints"
ROWS = 10_000
"""Scenes in memory at a time, and in a row group of GeoParquet."""


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
    texts = {
        "name": [e.name for e in entries],
        "model": [e.model for e in entries],
        "source": [e.source for e in entries],
        **{kind: [e.place(kind) for e in entries] for kind in ("mask", "polygons", "probability", "quicklook")},
    }
    percents = ("cloud_percent", "shadow_percent", "valid_percent")
    columns = {
        "acquired": pd.Series([when(e.acquired) for e in entries], dtype="datetime64[ms, UTC]"),
        **{name: pd.Series([getattr(e, name) for e in entries], dtype="float64") for name in percents},
        **{name: pd.Series(values, dtype="str") for name, values in texts.items()},
    }
    order = ["name", "acquired", *percents, *list(texts)[1:]]
    geometry = [shapely.from_geojson(e.footprint) if e.footprint else None for e in entries]
    return geopandas.GeoDataFrame({name: columns[name] for name in order}, geometry=geometry, crs="EPSG:4326")
