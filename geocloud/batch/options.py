"""Options of a batch, and the part of all scenes that it masks."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from importlib.util import find_spec

from geocloud.batch.job import Settings
from geocloud.errors import DependencyError, OptionError


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of all scenes that a run masks."""

    number: int = 1
    """Number of the part, from 1 to ``count``."""
    count: int = 1
    """Number of parts."""

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From text such as ``3/100``. Raises OptionError."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise OptionError(f"shard {text!r}: wanted NUMBER/COUNT, such as 3/100")
        return cls(int(found[1]), int(found[2]))

    @property
    def manifest(self) -> str:
        """File name of the manifest. Each shard has its own, as machines cannot share an SQLite database."""
        return "manifest.sqlite" if self.count == 1 else f"manifest-{self.number:05}-of-{self.count:05}.sqlite"

    def holds(self, key: str) -> bool:
        """True if the scene of a key is in this part; the same on every machine."""
        return int(hashlib.sha256(key.encode()).hexdigest(), 16) % self.count == self.number - 1


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a batch. Raises OptionError, DependencyError."""

    settings: Settings = field(default_factory=Settings)
    """Options of each mask."""
    workers: int | None = None
    """Processes on this machine; None: one, or one per CUDA device."""
    scheduler: str | None = None
    """Address of a dask scheduler to use instead of processes on this machine."""
    shard: Shard = field(default_factory=Shard)
    """The part of all scenes that this run masks."""
    resume: bool = True
    """True keeps finished scenes; False masks all again."""
    retry_failed: bool = False
    """True tries scenes again that failed for bad input and have not changed since."""
    footprints: str = "gpkg"
    """gpkg or parquet."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"workers {self.workers}: wanted 1 or more")
        if self.footprints == "parquet" and not find_spec("pyarrow"):
            raise DependencyError("Parquet needs pyarrow; run pip install 'geocloud[batch]'")
