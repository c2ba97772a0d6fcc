"""The plan of a run: the scenes to mask, their names, and those that are done."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from geocloud.batch.find import Found, fingerprint
from geocloud.batch.job import BAD_INPUT
from geocloud.batch.options import BatchOptions
from geocloud.batch.state import DONE, FAILED, OTHER, Entries, Manifest, manifests_in
from geocloud.io.remote import is_remote
from geocloud.readers.registry import RASTER

RESERVED = ("collection", "footprints", "manifest", "report")
"""Base names of the files that describe the folder, which no scene may take."""
REMOTE, LOCAL = 16, 4
"""Threads that look at sources: servers are waited for, and at disks more of them only wait for each other."""
PART = 512
"""Scenes that are looked up together: SQLite takes 999 values in a query."""
COLUMNS = ("key", "name", "state", "failure", "fingerprint", "settings", "files", "uploaded")


class Plan(NamedTuple):
    """The plan of a run."""

    jobs: list[tuple[Found, str, str]]  # scenes to be masked, with their names and fingerprints
    scenes: list[Found]  # all scenes of the run
    others: list[tuple[Found, str]]  # rasters that turned out to be no scenes, with their fingerprints
    before: int = 0  # scenes finished in earlier runs
    refused: int = 0  # scenes that failed for bad input, and are not tried again
    outdated: int = 0  # scenes among the jobs that are done, but with another model or other options


def make_plan(candidates: list[Found], folder: Path, options: BatchOptions) -> Plan:
    """The plan for the candidates of all shards. Reads the folder's manifests, writes nothing. Raises OutputError."""
    shard, settings = options.shard, options.fingerprint()
    mine = candidates if shard.count == 1 else [found for found in candidates if shard.holds(found.key)]
    plan, counts = Plan([], [], []), Counter[str]()
    threads = REMOTE if any(is_remote(found.source) for found in mine) else LOCAL
    with ThreadPoolExecutor(threads) as pool:
        for part in _parts(mine, PART):
            rows = _known(folder / shard.manifest, [found.key for found in part])
            look = partial(_look, rows=rows, settings=settings, folder=folder, options=options)
            looks = chain.from_iterable(pool.map(look, _parts(part, PART // threads)))
            for found, (print_, answer) in zip(part, looks, strict=True):
                counts[answer] += 1
                if answer == "other":
                    plan.others.append((found, print_))
                elif answer != "ignored":
                    plan.scenes.append(found)
                if answer in ("new", "outdated"):
                    row = rows.get(found.key)
                    plan.jobs.append((found, row["name"] if row and row["state"] != OTHER else "", print_))
    new = [found for found, name, _ in plan.jobs if not name]
    names = make_names(new, plan.scenes if shard.count == 1 else candidates, _taken(folder, new)) if new else {}
    plan.jobs[:] = [(found, name or names[found.key], print_) for found, name, print_ in plan.jobs]
    return plan._replace(before=counts["before"], refused=counts["refused"], outdated=counts["outdated"])


def _parts(items: list[Found], size: int) -> Iterator[list[Found]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _known(path: Path, keys: list[str]) -> dict[str, sqlite3.Row]:
    """The rows of a manifest with one of these keys."""
    if not path.exists():
        return {}
    with Manifest(path, "rw") as manifest:
        rows = manifest.select(COLUMNS, f"WHERE key IN ({', '.join('?' * len(keys))})", keys)
    return {row["key"]: row for row in rows}


def _look(
    part: list[Found], rows: Mapping[str, sqlite3.Row], settings: str, folder: Path, options: BatchOptions
) -> list[tuple[str, str]]:
    """The fingerprint of each and how it stands. Rasters that are known and unchanged are not opened.

    before: done; outdated: done with other options; refused: bad input; other: no scene; ignored: known to be none; new
    """
    looks = []
    for found in part:
        row = rows.get(found.key)
        known = row["fingerprint"] if row and row["state"] in (DONE, OTHER) else None
        is_quick = known is not None and not is_remote(found.source)
        print_ = fingerprint(found.source, RASTER if is_quick else found.reader)
        if is_quick and found.reader is None and print_ != known:  # it is more than a raster, or has changed
            print_ = fingerprint(found.source)
        if row and print_ == known and row["state"] == OTHER:
            answer = "ignored"
        elif print_ != known and not found.is_scene:
            answer = "other"
        elif row is None or not options.resume or row["fingerprint"] != print_:
            answer = "new"
        elif row["settings"] != settings:
            answer = "outdated" if row["state"] == DONE else "new"
        elif row["state"] == FAILED and row["failure"] == BAD_INPUT and not options.retry_failed:
            answer = "refused"
        else:
            answer = "before" if row["state"] == DONE and _is_there(row, folder, options) else "new"
        looks.append((print_, answer))
    return looks


def _is_there(row: sqlite3.Row, folder: Path, options: BatchOptions) -> bool:
    """True if the results of a finished scene still exist."""
    if row["uploaded"] != options.upload:
        return False
    start = f"{folder}{os.sep}"  # a Path for each of a million files takes three times as long
    files = json.loads(row["files"]).values() if row["uploaded"] is None or options.keep else ()
    return all(os.path.exists(start + name) for name in files)  # noqa: PTH110


def plain_name(found: Found) -> str:
    """The name of a scene's product or file, as far as file names may have it."""
    return re.sub(r"[^\w.\-+ ]", "_", found.name)[:150].strip() or "scene"


def make_names(new: Iterable[Found], every: Iterable[Found], taken: Mapping[str, str]) -> dict[str, str]:
    """The base name of each new scene's files, by key: its plain name, with a hash if that is not its alone.

    ``every`` are all that may take a name, of all shards, ``taken`` the names in use, in lower case → their keys.
    """
    count = Counter(hash(plain_name(found).lower()) for found in every)  # smaller; a collision only lengthens a name
    names = {}
    for found in new:
        name = plain_name(found)
        lower = name.lower()
        if count[hash(lower)] > 1 or taken.get(lower, found.key) != found.key or lower in RESERVED:
            name += "-" + hashlib.sha256(found.key.encode()).hexdigest()[:8]
        names[found.key] = name
    return names


def _taken(folder: Path, new: list[Found]) -> dict[str, str]:
    """Names in all manifests of a folder that new scenes would like, in lower case → their keys."""
    wanted = {plain_name(found).lower() for found in new}
    rows = ((row["name"].lower(), row["key"]) for row in Entries(manifests_in(folder)).rows(("key", "name")))
    return {name: key for name, key in rows if name in wanted}
