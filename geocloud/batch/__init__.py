"""Batch processing of scenes: search, workers on this machine or a dask cluster, a manifest and a report.

Names are imported on first use, so that reading manifests does not import raster libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geocloud.batch.find import Found, find_scenes
    from geocloud.batch.options import BatchOptions, Shard
    from geocloud.batch.report import describe_folder
    from geocloud.batch.run import Status, plan_batch, run_batch
    from geocloud.batch.state import Entries, Entry, read_entries

__all__ = [
    "BatchOptions",
    "Entries",
    "Entry",
    "Found",
    "Shard",
    "Status",
    "describe_folder",
    "find_scenes",
    "plan_batch",
    "read_entries",
    "run_batch",
]

_HOMES = {"BatchOptions": "options", "Shard": "options", "Found": "find", "find_scenes": "find"}
_HOMES |= {"Entries": "state", "Entry": "state", "read_entries": "state", "describe_folder": "report"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"geocloud.batch.{_HOMES.get(name, 'run')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
