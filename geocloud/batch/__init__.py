"""Batches of scenes: search, local processes or a dask cluster, a manifest of what is done, and a report."""

from __future__ import annotations

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
