"""A model on disk: weights and everything needed to use them, in one safetensors file.

safetensors holds arrays and text only: an untrusted file can be wrong, but it cannot run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError
from geocloud.model.about import FORMAT, read_about

ARCHITECTURES = ("fast", "unet", "attention-unet")
"""Names of the networks; `geocloud.model.networks` holds them in torch, `geocloud.model.graph` for OpenVINO."""

Weights = dict[str, NDArray[Any]]
"""Arrays by name, as in a network's state dict."""

SEEN = "seen/"
"""What the names of `Checkpoint.seen` begin with in a file."""

HEAD = ("leave.0.weight", "leave.0.bias", "head.weight", "head.bias")
"""Parameters of the last layer of each architecture; their first axis runs over the classes, cloud first."""


def digest(weights: Weights) -> str:
    """The SHA-256 of weights: names, dtypes (as torch calls them), shapes and bytes, ordered by name."""
    found = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name]
        found.update(f"{name} torch.{weight.dtype} {tuple(weight.shape)} ".encode())
        found.update(weight.tobytes())
    return found.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A trained model: its weights, and everything needed to use them. Raises CheckpointError."""

    name: str
    """As shown to people, and in the tags of results."""
    architecture: str
    """One of `ARCHITECTURES`."""
    weights: Weights
    """The network's state dict."""
    mean: tuple[float, ...]
    """Mean reflectance of each band, for `normalise`."""
    std: tuple[float, ...]
    """Standard deviation of each band's reflectance, for `normalise`."""
    threshold: float
    """Pixels with a higher probability of cloud are cloud."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture."""
    bands: tuple[str, ...] = BANDS
    """Bands of the input, in order; geocloud reads no others."""
    clip: float | None = None
    """Highest reflectance that the network sees, see `normalise`; None: no limit."""
    pixel_size: float | None = None
    """Pixel size in metres that it was trained on; None: any."""
    shadow_threshold: float = 0.5
    """Pixels with a higher probability of shadow, the second class, are shadow."""
    training: dict[str, Any] = field(default_factory=dict)
    """How the weights were trained, and their scores."""
    seen: Weights = field(default_factory=dict)
    """Lowest, highest and mean value of each channel that a convolution sees ``(3, channels)``, by its name, for
    `geocloud.model.quantise`; empty: the network cannot compute in 8-bit integers."""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise CheckpointError(
                f"model {self.name!r}: no architecture {self.architecture!r}: wanted one of {', '.join(ARCHITECTURES)}"
            )
        if tuple(self.bands) != BANDS:
            raise CheckpointError(f"model {self.name!r} wants bands {list(self.bands)}: geocloud reads {list(BANDS)}")
        if len(self.mean) != len(BANDS) or len(self.std) != len(BANDS) or not all(s > 0 for s in self.std):
            raise CheckpointError(f"model {self.name!r}: wanted {len(BANDS)} means and as many positive deviations")
        for threshold in (self.threshold, self.shadow_threshold):
            if not 0 < threshold < 1:
                raise CheckpointError(f"model {self.name!r}: threshold {threshold} is not between 0 and 1")

    @property
    def optional_nir(self) -> bool:
        """Whether near-infrared may be missing."""
        return bool(self.options.get("optional_nir", False))

    @property
    def classes(self) -> int:
        """Number of probabilities per pixel: 1 cloud, 2 cloud and shadow."""
        return int(self.options.get("classes", 1))

    def cloud_alone(self) -> Checkpoint:
        """The same model without the shadow class, which then costs nothing."""
        if self.classes == 1:
            return self
        share = {name: len(self.weights[name]) // self.classes for name in HEAD if name in self.weights}
        weights = {name: w[: share[name]] if name in share else w for name, w in self.weights.items()}
        return replace(self, weights=weights, options={**self.options, "classes": 1})

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        from safetensors.numpy import save_file

        about = {
            "format": FORMAT,
            "name": self.name,
            "architecture": self.architecture,
            "options": self.options,
            "bands": list(self.bands),
            "mean": list(self.mean),
            "std": list(self.std),
            "threshold": self.threshold,
            "shadow_threshold": self.shadow_threshold,
            "clip": self.clip,
            "pixel_size": self.pixel_size,
            "training": self.training,
        }
        tensors = {**self.weights, **{SEEN + name: values for name, values in self.seen.items()}}
        tensors = {key: np.asarray(value, order="C") for key, value in tensors.items()}
        about["sha256"] = digest(tensors)
        save_file(tensors, path, metadata={"geocloud": json.dumps(about, sort_keys=True)})
        path.chmod(0o644)  # safetensors creates it readable by its owner only

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Reads a file that `save` wrote. Raises ModelNotFoundError or CheckpointError."""
        about = read_about(path)
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
        except Exception as error:  # the header was readable: the rest does not match it
            raise CheckpointError(f"{path}: damaged, its weights cannot be read ({error}); fetch it again") from error
        if about.get("sha256") not in (None, digest(tensors)):
            raise CheckpointError(f"{path}: damaged or tampered with, its weights are not those it was saved with")
        weights = {name: values for name, values in tensors.items() if not name.startswith(SEEN)}
        try:
            return cls(
                name=str(about["name"]),
                architecture=str(about["architecture"]),
                weights=weights,
                mean=tuple(float(v) for v in about["mean"]),
                std=tuple(float(v) for v in about["std"]),
                threshold=float(about["threshold"]),
                options=dict(about["options"]),
                bands=tuple(about["bands"]),
                clip=_number(about.get("clip")),
                pixel_size=_number(about.get("pixel_size")),
                shadow_threshold=float(about.get("shadow_threshold", 0.5)),
                training=dict(about["training"]),
                seen={name.removeprefix(SEEN): values for name, values in tensors.items() if name not in weights},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: its description is incomplete or wrong ({error})") from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
