"""Configuration of a training run, stored in one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from geocloud.errors import OptionError
from geocloud.models.metadata import ARCHITECTURES, ModelMetadata
from geocloud.training.data.augment import Augment
from geocloud.training.losses import parse_loss

CHOICES = {
    "architecture": ARCHITECTURES,
    "precision": ("auto", "float32", "bfloat16"),
    "split": ("scenes", "patches"),
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Configuration of a run, saved in the checkpoint and in the run's ``config.toml``. Raises OptionError."""

    architecture: str = "fast"  # one of `geocloud.models.metadata.ARCHITECTURES`
    options: dict[str, Any] = field(default_factory=dict)  # options of the architecture
    steps: int = 12_000
    batch: int = 8  # samples per step, in each process of a distributed run
    loss: str = "bce+dice"  # see `geocloud.training.losses`
    learning_rate: float = 3e-3  # after `warmup`; constant until `decay`
    weight_decay: float = 1e-2  # weight decay of AdamW
    warmup: int = 200  # steps over which the learning rate rises linearly
    decay: float = 0.3  # share of the steps, at the end, over which the learning rate falls linearly to zero
    average: float = 0.998  # decay per step of the moving average of the weights; the average is saved
    clip: float = 1.0  # maximum gradient norm
    validate_every: int = 500  # steps between validations
    precision: str = "auto"  # auto (bfloat16 where it is fast), float32 or bfloat16
    compile: bool = False  # compile the network with `torch.compile`
    workers: int = 1  # processes that prepare samples; 0: the training process prepares them
    seed: int = 0  # seed of the weights, the samples and the validation split
    mean: float = 0.25  # mean and standard deviation for normalising reflectance, the same for all bands,
    std: float = 0.25  # which keeps the ratios between bands
    brightest: float = 1.1  # maximum reflectance; higher values are clipped
    pixel_size: float = 30.0  # pixel size in metres at which the model works
    threshold: float = 0.5  # threshold of cloud, used in validation and saved in the checkpoint
    shadow_threshold: float = 0.5  # threshold of shadow, saved in the checkpoint
    split: str = "scenes"  # hold out whole scenes for validation, or single patches, whose scores are too good
    val_patches: int = 1000  # approximate number of chips held out, at most a fifth
    informative: bool = True  # leave out chips with little data, see `DataSet.worth_training`
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} {getattr(self, name)!r}: wanted {', '.join(choices)}")
        parse_loss(self.loss)
        for name in ("steps", "batch", "warmup", "validate_every", "val_patches", "learning_rate", "clip", "std"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} {getattr(self, name)}: wanted more than 0")
        for name in ("average", "decay", "threshold", "shadow_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise OptionError(f"{name} {getattr(self, name)}: wanted more than 0 and less than 1")
        if self.workers < 0:
            raise OptionError(f"workers {self.workers}: wanted 0 or more")

    @classmethod
    def like(cls, model: ModelMetadata) -> TrainConfig:
        """Defaults for a run that starts from a model, with the model's architecture, normalisation and thresholds."""
        return cls(
            architecture=model.architecture,
            options=model.options,
            mean=model.mean[0],
            std=model.std[0],
            brightest=cls().brightest if model.clip is None else model.clip,
            pixel_size=model.pixel_size or cls().pixel_size,
            threshold=model.threshold,
            shadow_threshold=model.shadow_threshold,
        )

    @classmethod
    def load(cls, path: Path, base: TrainConfig | None = None) -> TrainConfig:
        """Reads a TOML file. Missing settings come from ``base``, or the defaults. Raises OptionError."""
        try:
            changes = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise OptionError(f"{path}: invalid TOML ({error})") from error
        return update(base or cls(), changes, str(path))

    def save(self, path: Path) -> None:
        """Writes the TOML file that `load` reads."""
        import tomli_w

        path.write_text(tomli_w.dumps(asdict(self)), encoding="utf-8")


def update(config: T, changes: dict[str, Any], source: str) -> T:
    """A copy of a configuration with some values replaced, also in nested tables. Raises OptionError."""
    known: tuple[str, ...] = config.__slots__  # type: ignore[attr-defined]
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise OptionError(f"{source}: no setting {name!r}; there are {', '.join(known)}")
        old = getattr(config, name)
        if is_dataclass(old) and isinstance(value, dict):
            values[name] = update(old, value, f"{source}: {name}")
        elif type(value) is type(old) or (isinstance(old, float) and type(value) is int):
            values[name] = type(old)(value)
        else:
            raise OptionError(f"{source}: {name} is {value!r}, wanted {type(old).__name__} such as {old!r}")
    return replace(config, **values)  # type: ignore[type-var]
