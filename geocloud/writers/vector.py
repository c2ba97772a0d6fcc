"""Vector files: GeoPackage with a title and a style, GeoJSON, FlatGeobuf, GeoParquet."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd

from geocloud.errors import DependencyError, OptionError, OutputError
from geocloud.writers.staging import GEOPACKAGE, check_suffix

_LAYER_STYLES = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT, f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
    description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""


def read_layer(path: Path, layer: str) -> geopandas.GeoDataFrame:
    """Reads features that `write_layer` wrote."""
    if path.suffix.lower() == ".parquet":
        return geopandas.read_parquet(path)
    return geopandas.read_file(path, layer=layer if path.suffix.lower() == GEOPACKAGE else None)


def check_place(path: Path, has_place: bool) -> None:
    """Raises OptionError for GeoJSON, which is in WGS 84 (RFC 7946), if the CRS does not locate the scene on Earth."""
    if path.suffix.lower() == ".geojson" and not has_place:
        raise OptionError(f"{path.name}: GeoJSON is in WGS 84, and this scene's CRS has no place on Earth; take .gpkg")


def write_layer(
    frames: Iterable[geopandas.GeoDataFrame],
    path: Path,
    *,
    layer: str,
    title: str,
    abstract: str,
    qml: str,
    kind: str = "Polygon",
) -> None:
    """Writes features from one or several tables with the same columns, in the format of the path's suffix.

    GeoPackage and GeoParquet are written table by table, so that only one is in memory (GeoParquet: one row group per
    table); other formats are written at once. GeoJSON is in WGS 84, as RFC 7946 demands, and needs a CRS. A GeoPackage
    also holds the title, the abstract, and the style, which QGIS applies automatically. Raises GeocloudError.
    """
    check_suffix(path)
    form = path.suffix.lower()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
            if form == GEOPACKAGE:
                mode = "w"
                for frame in frames:
                    frame.to_file(
                        path,
                        layer=layer,
                        driver="GPKG",
                        engine="pyogrio",
                        mode=mode,
                        geometry_type=kind,
                        dataset_options={"VERSION": "1.2"},
                        layer_options={"IDENTIFIER": title, "DESCRIPTION": abstract},
                    )
                    mode = "a"
                _add_style(path, layer, qml)
                return
            if form == ".parquet":
                _write_parquet(frames, path)
                return
            frame = pd.concat(list(frames))
            if form == ".geojson":
                check_place(path, frame.crs is not None)
                frame.to_crs(4326).to_file(path, driver="GeoJSON", engine="pyogrio", RFC7946="YES")
            else:
                frame.to_file(path, layer=layer, driver="FlatGeobuf", engine="pyogrio", geometry_type=kind)
    except ImportError as error:
        raise DependencyError("GeoParquet needs pyarrow; run pip install 'geocloud[batch]'") from error
    except (OSError, RuntimeError, sqlite3.Error) as error:
        raise OutputError(f"{path.name}: cannot be written ({error}); is the disk full?") from error


def _write_parquet(frames: Iterable[geopandas.GeoDataFrame], path: Path) -> None:
    """Writes GeoParquet 1.0, https://geoparquet.org/releases/v1.0.0/; geopandas can only write whole tables."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    kinds, boxes, writer = set[str](), [], None
    for frame in frames:
        table = pyarrow.table(frame.to_arrow(index=False, geometry_encoding="WKB"))
        if writer is None:
            writer = ParquetWriter(path, table.schema)
        writer.write_table(table)
        kinds |= set(frame.geom_type.dropna())
        boxes.append(frame.total_bounds)
    assert writer is not None
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(kinds),
        "crs": frame.crs and frame.crs.to_json_dict(),
    }
    if not np.isnan(boxes).all():
        column["bbox"] = [*np.nanmin(boxes, 0)[:2].tolist(), *np.nanmax(boxes, 0)[2:].tolist()]
    name = frame.geometry.name
    geo = {"version": "1.0.0", "primary_column": name, "columns": {name: column}}
    writer.add_key_value_metadata({"geo": json.dumps(geo)})
    writer.close()


def _add_style(path: Path, layer: str, qml: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_LAYER_STYLES)
        (geometry_column,) = database.execute("SELECT column_name FROM gpkg_geometry_columns").fetchone()
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, "
            "styleName, styleQML, styleSLD, useAsDefault, description, owner) "
            "VALUES ('', '', ?, ?, ?, ?, '', 1, 'Made by geocloud', '')",
            (layer, geometry_column, layer, qml),
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles', 0)"
        )
