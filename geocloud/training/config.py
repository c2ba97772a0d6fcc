"""Everything that decides how a training run goes: one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from geocloud.errors import OptionError
from geocloud.model.checkpoint import ARCHITECTURES
from geocloud.training.data.augment import Augment
from geocloud.training.data.split import SPLITS
from geocloud.training.losses import parse_loss

PRECISIONS = ("auto", "float32", "bfloat16")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a run goes. The checkpoint carries it, and ``config.toml`` in the run's folder.

    ``steps``: optimizer steps, each of ``batch`` samples (on every process of a distributed run). ``options`` of the
    architecture. ``average``: how much of the running mean of the weights stays at each step; that mean is what is
    saved. ``clip``: largest norm of the gradient. ``validate_every`` in steps. ``mean`` and ``std`` of reflectance,
    one for all bands, so that colours keep their proportions; what is brighter than ``brightest`` counts as that.
    ``pixel_size``: metres of the pixels that the model is to see. ``threshold``: cloud is what is above it.
    ``precision`` "auto": bfloat16 where the device is fast at it. ``workers``: processes that make samples.
    """

    architecture: str = "fast"
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 12_000
    batch: int = 8
    loss: str = "bce+dice"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: int = 200
    average: float = 0.998
    clip: float = 1.0
    validate_every: int = 500
    precision: str = "auto"
    compile: bool = False
    workers: int = 1
    seed: int = 0
    mean: float = 0.25
    std: float = 0.25
    brightest: float = 1.1
    pixel_size: float = 30.0
    threshold: float = 0.5
    split: str = "scenes"
    val_patches: int = 1000
    informative: bool = True
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        _choose("architecture", self.architecture, tuple(ARCHITECTURES))
        _choose("precision", self.precision, PRECISIONS)
        _choose("split", self.split, SPLITS)
        parse_loss(self.loss)
        for name in ("steps", "batch", "warmup", "validate_every", "val_patches", "learning_rate", "clip", "std"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} {getattr(self, name)}: wanted more than 0")
        for name in ("average", "threshold"):
            if not 0 < getattr(self, name) < 1:
                raise OptionError(f"{name} {getattr(self, name)}: wanted more than 0 and less than 1")
        if self.workers < 0:
            raise OptionError(f"workers {self.workers}: wanted 0 or more")

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Reads a TOML file; what it leaves out stays as it is by default. Raises OptionError."""
        try:
            return update(cls(), tomllib.loads(path.read_text(encoding="utf-8")), str(path))
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise error if isinstance(error, OptionError) else OptionError(f"{path}: no TOML ({error})") from error

    def save(self, path: Path) -> None:
        """Writes the TOML file that `load` reads."""
        import tomli_w

        path.write_text(tomli_w.dumps(asdict(self)), encoding="utf-8")


def update(config: T, changes: dict[str, Any], source: str) -> T:
    """The same configuration with other values, tables within tables. Raises OptionError for a wrong name or type."""
    known = {f.name: getattr(config, f.name) for f in fields(config)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise OptionError(f"{source}: no setting {name!r}; there are {', '.join(known)}")
        old = known[name]
        if is_dataclass(old) and isinstance(value, dict):
            values[name] = update(old, value, f"{source}: {name}")
        elif isinstance(old, float) and type(value) in (int, float):
            values[name] = float(value)
        elif type(value) is type(old):
            values[name] = value
        else:
            raise OptionError(f"{source}: {name} is {value!r}, wanted {type(old).__name__} such as {old!r}")
    return replace(config, **values)  # type: ignore[type-var]


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{name} {value!r}: wanted {', '.join(choices)}")
