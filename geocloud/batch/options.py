"""Options of a batch, and its division into shards."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec

from geocloud.errors import DependencyError, OptionError
from geocloud.models import model_files
from geocloud.pipeline import ComputeOptions, MaskOptions
from geocloud.readers import ReadOptions


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` disjoint parts of a batch, each masked by a separate run."""

    number: int = 1  # from 1 to ``count``
    count: int = 1  # number of shards

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parses text such as ``3/100``. Raises OptionError."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise OptionError(f"shard {text!r}: wanted NUMBER/COUNT, such as 3/100")
        return cls(int(match[1]), int(match[2]))

    @property
    def manifest(self) -> str:
        """File name of the manifest. Each shard has its own, because machines cannot share an SQLite database."""
        return "manifest.sqlite" if self.count == 1 else f"manifest-{self.number:05}-of-{self.count:05}.sqlite"

    def holds(self, key: str) -> bool:
        """True if the scene with this key is in this shard. The answer is the same on every machine."""
        return int(hashlib.sha256(key.encode()).hexdigest(), 16) % self.count == self.number - 1


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a batch. Raises OptionError, DependencyError."""

    model: str = "fast"
    """Name of a bundled model, or path of a checkpoint."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """Options for reading scenes."""
    mask: MaskOptions = field(default_factory=MaskOptions)
    """Options for masking."""
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    """Device and precision of the model."""
    polygons: bool = False
    """True also writes cloud polygons (GeoPackage)."""
    probability: bool = False
    """True also writes the probability of cloud, and of shadow if requested."""
    quicklook: bool = False
    """True also writes a picture of each scene and its mask, side by side."""
    upload: str | None = None
    """Object store URL to which results are uploaded; None: no upload."""
    keep: bool = True
    """False deletes uploaded results from the output folder."""
    workers: int | None = None
    """Number of processes on this machine; None: two, or two per CUDA device."""
    scheduler: str | None = None
    """Address of a dask scheduler to use instead of processes on this machine."""
    shard: Shard = field(default_factory=Shard)
    """Shard masked by this run."""
    resume: bool = True
    """True skips finished scenes; False masks all scenes again."""
    retry_failed: bool = False
    """True retries scenes that failed for bad input, even if unchanged."""
    footprints: str = "gpkg"
    """Format of the footprints: gpkg or parquet."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"workers {self.workers}: wanted 1 or more")
        if self.footprints == "parquet" and not find_spec("pyarrow"):
            raise DependencyError("Parquet needs pyarrow; run pip install 'geocloud[batch]'")

    def fingerprint(self) -> str:
        """Hash of everything that affects results: the model's weights and the options, but not the device."""
        mask = {name: value for name, value in asdict(self.mask).items() if name != "overwrite"}
        model = hashlib.sha256(b"".join(file.read_bytes() for file in model_files(self.model))).hexdigest()
        files = {name: getattr(self, name) for name in ("polygons", "probability", "quicklook")}
        parts = [model, mask, self.compute.precision, asdict(self.read), files]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
