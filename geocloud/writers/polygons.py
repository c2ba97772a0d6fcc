"""Cloud polygons, vectorised from a mask on disk."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray

from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.masks.codes import CLOUD, SHADOW, STRIP
from geocloud.writers.styles import CLASSES

LAYER = "clouds"


def trace_clouds(
    mask: Path, probability: Path | None, *, scene: str, acquired: datetime | None, codes: tuple[int, ...] = (0, 1)
) -> geopandas.GeoDataFrame:
    """Polygons of all classes of a mask except clear: 4-connected pixels outlined along their edges, in the mask's CRS.

    Columns: ``id`` from 1; ``class`` (cloud, shadow, snow, cirrus) if there are several; ``area_m2`` (on the ellipsoid
    if the CRS is geographic; NaN without a CRS); ``mean_probability`` in [0, 1] if ``probability`` is given, a raster
    in whole per cent with a band per class; ``scene``; ``acquired``, UTC. Polygons are valid and do not overlap.
    """
    with open_quietly(mask) as dataset:
        band = rasterio.band(dataset, 1)
        traced: dict[int, list[Any]] = {code: [] for code in codes[1:]}
        for shape, value in rasterio.features.shapes(band, transform=dataset.transform):
            if value in traced:
                traced[value].append(shapely.geometry.shape(shape))
        grid = GeoBox.of(dataset)
    parts = [_valid_polygons(np.array(traced[value], dtype=object)) for value in codes[1:]]
    geometry = np.concatenate(parts)
    means = {}
    if probability is not None:
        bands = {CLOUD: 1, SHADOW: 2}
        part_means = [
            _mean_probability(part, probability, bands[code], grid) if code in bands else np.full(len(part), np.nan)
            for code, part in zip(codes[1:], parts, strict=True)
        ]
        means = {"mean_probability": np.concatenate(part_means)}
    kinds = np.repeat([CLASSES[code] for code in codes[1:]], [len(part) for part in parts])
    return geopandas.GeoDataFrame(
        {
            "id": np.arange(1, len(geometry) + 1, dtype="int64"),
            **({"class": pd.Series(kinds, dtype="str")} if len(parts) > 1 else {}),
            "area_m2": _areas(geometry, grid),
            **means,
            "scene": pd.Series([scene] * len(geometry), dtype="str"),
            "acquired": pd.Series([acquired] * len(geometry), dtype="datetime64[ms, UTC]"),
        },
        geometry=geometry,
        crs=grid.crs,
    )


def _valid_polygons(traced: NDArray[Any]) -> NDArray[Any]:
    """Splits self-touching rings, which tracing along pixel edges can produce."""
    if not len(traced):
        return traced
    parts = shapely.get_parts(np.where(shapely.is_valid(traced), traced, shapely.make_valid(traced)))
    polygons: NDArray[Any] = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return polygons


def _areas(geometry: NDArray[Any], grid: GeoBox) -> NDArray[np.float64]:
    """Areas in square metres: on the ellipsoid in a geographic CRS, else planar, corrected for projection scale."""
    if grid.pixel_size is None or grid.crs is None:
        return np.full(len(geometry), np.nan)
    if grid.crs.is_geographic:
        ellipsoid = pyproj.CRS.from_user_input(grid.crs).get_geod() or pyproj.Geod(ellps="WGS84")
        return np.array([abs(ellipsoid.geometry_area_perimeter(polygon)[0]) for polygon in geometry], "float64")
    true = grid.pixel_size[0] * grid.pixel_size[1]
    areas: NDArray[np.float64] = shapely.area(geometry) * (true / abs(grid.transform.determinant))
    return areas


def _mean_probability(geometry: NDArray[Any], probability: Path, band: int, grid: GeoBox) -> NDArray[np.float64]:
    """Mean of a band over the pixels of each polygon, in [0, 1], read strip by strip."""
    if not len(geometry):
        return np.empty(0)
    tree = shapely.STRtree(geometry)
    sums, pixels = np.zeros(len(geometry) + 1), np.zeros(len(geometry) + 1)
    with open_quietly(probability) as dataset:
        for window in grid.strips(STRIP):
            place = grid.crop(window)
            corners = (0, 0), (place.width, 0), (place.width, place.height), (0, place.height)
            here = tree.query(shapely.Polygon([place.transform @ corner for corner in corners]))
            if not len(here):
                continue
            labels = rasterio.features.rasterize(
                zip(geometry[here], (here + 1).tolist(), strict=True),
                out_shape=place.shape,
                transform=place.transform,
                dtype="int32",
            ).ravel()
            percent = dataset.read(band, window=window).ravel()
            sums += np.bincount(labels, percent, len(sums))
            pixels += np.bincount(labels, minlength=len(sums))
    return (sums / np.maximum(pixels, 1) / 100)[1:]
