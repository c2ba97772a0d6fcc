"""Readers of satellite products: each opens a source as a `RasterScene`."""

from __future__ import annotations

from pathlib import Path

from geocloud.readers.band_names import find_bands as bands_by_name
from geocloud.readers.registry import READERS, find_reader, find_recipe
from geocloud.readers.scene import RasterScene, read_filled, reading_down
from geocloud.readers.source import Candidate, Reader, ReadOptions, SceneRecipe, Source
from geocloud.readers.stack import open_raster

__all__ = [
    "READERS",
    "Candidate",
    "RasterScene",
    "ReadOptions",
    "Reader",
    "Scene",
    "SceneRecipe",
    "Source",
    "bands_by_name",
    "find_reader",
    "find_recipe",
    "open_raster",
    "open_scene",
    "read_filled",
    "reading_down",
]

Scene = RasterScene  # an open scene


def open_scene(source: str | Path, options: ReadOptions | None = None) -> RasterScene:
    """Opens a source as a `RasterScene`; close it, or use it in a ``with`` block.

    Args:
        source: A path, a URL or a GDAL name; see the table in docs/sources.md.
        options: Facts about the source; those not given are detected.

    Raises:
        SceneError: The source cannot be read as a scene.
    """
    return RasterScene(find_recipe(source, options), options)
