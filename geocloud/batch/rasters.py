"""Which rasters of a folder are scenes: those of several bands, as manifests remember, or else the files tell."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from geocloud.batch.fingerprint import fingerprint
from geocloud.batch.manifest import DONE, manifests_in, select
from geocloud.errors import OutputError, SceneReadError
from geocloud.readers.registry import RASTER
from geocloud.readers.source import count_bands


class Rasters:
    """Tells scenes from single bands such as masks. What manifests know is opened again only when it has changed.

    Unreadable files count as scenes, so that masking reports them.
    """

    others: list[tuple[str, str]]
    """The rasters that were opened and are no scenes, for the manifest: key and fingerprint."""

    def __init__(self, folder: Path | None) -> None:
        """``folder``: the folder of results, with manifests in it; None: nothing is known."""
        self._manifests = manifests_in(folder) if folder else []
        self.others = []

    def scenes(self, rasters: Sequence[tuple[str, str]]) -> set[str]:
        """The paths of those that are scenes, of at most `MOST_KEYS` rasters: key and path."""
        prints = [(key, fingerprint(path, RASTER)) for key, path in rasters]
        keys = {key for key, _ in rasters}
        masked = set(self._known(keys, "scenes", f"state = '{DONE}' AND ")) if keys else set()
        others = set(self._known(keys, "others")) if keys else set()
        found = set()
        for known, (_, path) in zip(prints, rasters, strict=True):
            if known in masked or (known not in others and self._is_scene(path, known)):
                found.add(path)
        return found

    def _known(self, keys: set[str], table: str, where: str = "") -> Iterator[tuple[str, str]]:
        """The rows of all manifests with one of these keys: key and fingerprint."""
        then = f"WHERE {where}key IN ({', '.join('?' * len(keys))})"
        for manifest in self._manifests:
            with suppress(sqlite3.Error, OutputError):  # planning reports it
                yield from map(tuple, select(manifest, "key, fingerprint", then, list(keys), table))

    def _is_scene(self, path: str, known: tuple[str, str]) -> bool:
        try:
            if count_bands(path) > 1:
                return True
        except SceneReadError:
            return True
        self.others.append(known)
        return False
