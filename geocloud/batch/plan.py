"""The plan of a run: the scenes to mask, their names, and those that are done."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from geocloud.batch.find import Found, fingerprint
from geocloud.batch.job import BAD_INPUT
from geocloud.batch.options import BatchOptions
from geocloud.batch.state import DONE, FAILED, MAX_KEYS, Entries, manifests_in, select
from geocloud.errors import OutputError
from geocloud.io.remote import is_remote
from geocloud.readers.registry import RASTER

T = TypeVar("T")
RESERVED = ("collection", "footprints", "manifest", "report")
"""Base names of the files that describe the folder, which no scene may take."""
REMOTE, LOCAL = 16, 4
"""Threads that look at sources: servers are waited for, and at disks more of them only wait for each other."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run."""

    jobs: list[tuple[Found, str, str]]
    """Scenes to be masked, with their names and fingerprints."""
    before: int
    """Number of scenes finished in earlier runs."""
    refused: int
    """Number of scenes that failed for bad input, and are not tried again."""
    scenes: list[Found]
    """All scenes of the run."""

    @property
    def total(self) -> int:
        """Number of scenes of the run."""
        return len(self.scenes)

    def entries(self, manifest: Path) -> Entries:
        """The scenes of the run in its manifest, which may hold those of other runs too."""
        (row,) = select(manifest, "count(*) AS scenes")
        return Entries([manifest], None if row["scenes"] == self.total else frozenset(f.key for f in self.scenes))


def make_plan(everything: list[Found], folder: Path, options: BatchOptions) -> Plan:
    """The plan for the scenes of all shards. Reads the folder's manifests, writes nothing. Raises OutputError."""
    mine = [found for found in everything if options.shard.holds(found.key)] if options.shard.count > 1 else everything
    manifest, settings = folder / options.shard.manifest, options.settings.fingerprint()
    jobs, before, refused = [], 0, 0
    threads = REMOTE if any(is_remote(found.source) for found in mine) else LOCAL
    with ThreadPoolExecutor(threads) as pool:
        for some in _parts(mine, MAX_KEYS):
            known = _known(manifest, [found.key for found in some])
            paired = [(found, known.get(found.key)) for found in some]
            prints = chain.from_iterable(pool.map(_fingerprints, _parts(paired, MAX_KEYS // threads)))
            for (found, row), print_ in zip(paired, prints, strict=True):
                same = row and options.resume and (row["fingerprint"], row["settings"]) == (print_, settings)
                if row and same and row["state"] == DONE and _is_there(row, folder, options):
                    before += 1
                elif (
                    row and same and row["state"] == FAILED and row["failure"] == BAD_INPUT and not options.retry_failed
                ):
                    refused += 1
                else:
                    jobs.append((found, row["name"] if row else None, print_))
    new = [found for found, name, _ in jobs if name is None]
    shared = repeated(plain_name(found).lower() for found in everything) if new else set()
    names = make_names(new, shared, _taken(folder, new) if new else {})
    return Plan([(found, name or names[found.key], print_) for found, name, print_ in jobs], before, refused, mine)


def _parts(items: list[T], size: int) -> Iterator[list[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _fingerprints(paired: list[tuple[Found, sqlite3.Row | None]]) -> list[str]:
    """Fingerprints of scenes. A raster that was named and is masked is not opened to see what it is."""
    prints = []
    for found, row in paired:
        named = row and row["state"] == DONE and found.reader is None and not is_remote(found.source)
        print_ = fingerprint(found.source, RASTER if named else found.reader)
        if named and row and print_ != row["fingerprint"]:
            print_ = fingerprint(found.source)
        prints.append(print_)
    return prints


def plain_name(found: Found) -> str:
    """The name of a scene's product or file, as far as file names may have it."""
    return re.sub(r"[^\w.\-+ ]", "_", found.name)[:150].strip() or "scene"


def repeated(names: Iterable[str]) -> set[str]:
    """The names that come more than once."""
    seen: set[int] = set()  # hashes are smaller; a collision only lengthens a name
    again: set[str] = set()
    for name in names:
        mark = hash(name)
        if mark in seen:
            again.add(name)
        seen.add(mark)
    return again


def make_names(new: Iterable[Found], shared: set[str], taken: Mapping[str, str]) -> dict[str, str]:
    """The base name of each new scene's files, by key: its plain name, with a hash if that is not its alone.

    Args:
        new: Scenes without a name yet.
        shared: The plain names of several scenes, in lower case.
        taken: The names in use by all shards, in lower case → their keys.
    """
    names = {}
    for found in new:
        name = plain_name(found)
        lower = name.lower()
        if lower in shared or taken.get(lower, found.key) != found.key or lower in RESERVED:
            name += "-" + hashlib.sha256(found.key.encode()).hexdigest()[:8]
        names[found.key] = name
    return names


def _known(manifest: Path, keys: Sequence[str]) -> dict[str, sqlite3.Row]:
    """The rows of scenes in a manifest, by key."""
    if not manifest.exists():
        return {}
    columns = "key, name, state, failure, fingerprint, settings, files, uploaded"
    try:
        rows = select(manifest, columns, f"WHERE key IN ({', '.join('?' * len(keys))})", keys)
    except sqlite3.Error as error:
        raise OutputError(f"{manifest}: cannot be used as a manifest ({error})") from error
    return {row["key"]: row for row in rows}


def _taken(folder: Path, new: Iterable[Found]) -> dict[str, str]:
    """Names in all manifests of a folder that new scenes would like, in lower case → their keys."""
    wanted = {plain_name(found).lower() for found in new}
    taken: dict[str, str] = {}
    for path in manifests_in(folder):
        with suppress(sqlite3.Error):  # of another shard
            rows = ((row["name"].lower(), row["key"]) for row in Entries([path]).rows("key, name, state"))
            taken |= {name: key for name, key in rows if name in wanted}
    return taken


def _is_there(row: sqlite3.Row, folder: Path, options: BatchOptions) -> bool:
    """True if the results of a finished scene still exist."""
    if row["uploaded"] != options.settings.upload:
        return False
    if row["uploaded"] is not None and not options.settings.keep:
        return True
    there = f"{folder}{os.sep}"  # a Path for each of a million files takes three times as long
    return all(os.path.exists(there + name) for name in json.loads(row["files"]).values())  # noqa: PTH110
