"""Reading manifests: all scenes of a folder, whose shards have a manifest each, without holding them in memory."""

from __future__ import annotations

import heapq
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from geocloud.batch.manifest import COLUMNS, DONE, FAILED, Entry, entry_of, manifests_in, select
from geocloud.errors import SceneReadError

log = logging.getLogger(__name__)

AT_ONCE = 2000
"""Rows in memory at a time, of all manifests together."""


def read_entries(folder: Path) -> Entries:
    """The scenes in all manifests of a folder. Raises SceneReadError if there is none or its only one is none."""
    paths = manifests_in(folder)
    if not paths:
        raise SceneReadError(f"{folder}: no manifest there; 'geocloud batch SOURCE -o {folder}' makes one")
    readable = []
    for path in paths:
        try:
            select(path, "name", "LIMIT 1")
            readable.append(path)
        except sqlite3.Error as error:
            if len(paths) == 1:
                raise SceneReadError(f"{path}: cannot be read as a manifest ({error})") from error
            log.warning("%s: cannot be read now (%s); its scenes are left out", path, error)
    return Entries(readable)


class Entries:
    """The scenes in some manifests, each once, by name. They are read when they are asked for, a page at a time.

    A scene that is in several manifests, as shards of another count may have left it, is taken from one in which it is
    done, or else from the first.
    """

    def __init__(self, paths: list[Path], keys: frozenset[str] | None = None) -> None:
        """``keys``: the scenes to keep; None: all."""
        self._paths, self._keys = paths, keys
        counts = {re.sub(r"-\d+-of-", "-of-", path.name) for path in paths}
        self._apart = len(paths) <= 1 or (len(counts) == 1 and "-of-" in counts.pop())
        """Whether no scene can be in two of the manifests: they are the shards of one count."""

    def __iter__(self) -> Iterator[Entry]:
        return map(entry_of, self.rows(COLUMNS))

    def __len__(self) -> int:
        return self.counts().total()

    def illustrated(self) -> Iterator[tuple[Entry, bytes | None, bytes | None]]:
        """The scenes, each with its thumbnails: JPEG of the scene, PNG of the mask."""
        for row in self.rows(f"{COLUMNS}, scene_picture, mask_picture", size=AT_ONCE // 10):
            yield entry_of(row), row["scene_picture"], row["mask_picture"]

    def failures(self) -> Iterator[Entry]:
        """The scenes that failed."""
        if self._apart:
            return map(entry_of, self.rows(COLUMNS, f"state = '{FAILED}'"))
        return (entry for entry in self if entry.state == FAILED)

    def counts(self) -> Counter[str]:
        """State → number of scenes."""
        if self._apart and self._keys is None:
            found: Counter[str] = Counter()
            for path in self._paths:
                found.update(dict(map(tuple, select(path, "state, count(*)", "GROUP BY state"))))
            return found
        return Counter(row["state"] for row in self.rows("key, name, state"))

    def noted(self) -> int:
        """Number of scenes with notes."""
        return sum(1 for _ in self.rows("key, name, state", "notes IS NOT NULL"))

    def rows(self, what: str, where: str = "true", size: int = AT_ONCE) -> Iterator[sqlite3.Row]:
        size = max(10, size // max(1, len(self._paths)))
        merged = heapq.merge(*(_pages(path, what, where, size) for path in self._paths), key=itemgetter("name"))
        for _, same in groupby(merged, key=itemgetter("name")):
            rows = list(same)
            row = next((row for row in rows if row["state"] == DONE), rows[0])
            if self._keys is None or row["key"] in self._keys:
                yield row


def _pages(path: Path, what: str, where: str, size: int) -> Iterator[sqlite3.Row]:
    """Rows by name. Between pages nothing is open: a writer need not wait, and a thousand shards are no open files."""
    last = ""
    while rows := select(path, what, f"WHERE {where} AND name > ? ORDER BY name LIMIT {size}", [last]):
        yield from rows
        last = rows[-1]["name"]
