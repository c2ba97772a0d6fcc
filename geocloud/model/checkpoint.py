"""A model on disk: weights, and all that is needed to use them, in one safetensors file.

safetensors holds arrays and text only: a file from a stranger can be wrong, but it cannot run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError
from geocloud.model.about import FORMAT, read_about
from geocloud.model.fast import FastUNet
from geocloud.model.unet import UNet

ARCHITECTURES: dict[str, Any] = {
    "fast": FastUNet,
    "unet": UNet,
    "attention-unet": lambda **options: UNet(attention=True, **options),
}
"""Every architecture by name: call it with its options to get a network with fresh weights."""


def build_network(architecture: str, **options: Any) -> nn.Module:
    """A network with fresh weights. Raises CheckpointError for a name or option that does not exist."""
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"no architecture {architecture!r}: there are {', '.join(ARCHITECTURES)}")
    try:
        network: nn.Module = ARCHITECTURES[architecture](**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"architecture {architecture!r} cannot be built with {options}: {error}") from error
    return network


def normalise(reflectance: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """What networks are fed: (reflectance − mean) / std, band by band, ``(N, 4, H, W)``.

    Where there is no data (NaN in any band) each band holds its mean over the rest of the tile, so that an edge of the
    data looks like nothing: a fixed value would be bright beside the sea and dark beside snow.
    """
    x = torch.addcmul(-mean / std, reflectance, 1 / std)
    missing = x.sum(1, keepdim=True).isnan()  # (N, 1, H, W)
    if not missing.any():
        return x
    known = (~missing).float()
    average = torch.where(missing, 0, x).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(missing, average, x)


def digest(weights: dict[str, Tensor]) -> str:
    """A SHA-256 of weights: names, types, shapes and bytes, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)} ".encode())
        found.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes() if weight.numel() else b"")
    return found.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Weights, architecture, bands, normalisation, threshold and where they come from.

    The network is fed what `normalise` makes of reflectance; a pixel is cloud where its probability is above
    ``threshold``. ``training`` tells how the weights came to be and what they score.
    """

    name: str
    architecture: str
    weights: dict[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    threshold: float
    options: dict[str, Any] = field(default_factory=dict)
    bands: tuple[str, ...] = BANDS
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(self.bands) != BANDS:
            raise CheckpointError(f"model {self.name!r} wants bands {list(self.bands)}: geocloud reads {list(BANDS)}")
        if len(self.mean) != len(BANDS) or len(self.std) != len(BANDS) or not all(s > 0 for s in self.std):
            raise CheckpointError(f"model {self.name!r}: wanted {len(BANDS)} means and as many positive deviations")
        if not 0 < self.threshold < 1:
            raise CheckpointError(f"model {self.name!r}: threshold {self.threshold} is not between 0 and 1")

    def network(self) -> nn.Module:
        """The network with these weights, in evaluation mode, float32, on the CPU."""
        network = build_network(self.architecture, **self.options)
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            problem = str(error).splitlines()[-1].strip()
            raise CheckpointError(
                f"model {self.name!r}: the weights do not fit {self.architecture!r}: {problem}"
            ) from error
        return network.eval()

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        from safetensors.torch import save_file

        about = {
            "format": FORMAT,
            "name": self.name,
            "architecture": self.architecture,
            "options": self.options,
            "bands": list(self.bands),
            "mean": list(self.mean),
            "std": list(self.std),
            "threshold": self.threshold,
            "training": self.training,
        }
        weights = {key: value.detach().cpu().contiguous() for key, value in self.weights.items()}
        about["sha256"] = digest(weights)
        save_file(weights, path, metadata={"geocloud": json.dumps(about, sort_keys=True)})
        path.chmod(0o644)  # safetensors makes it the owner's alone

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Reads a file that `save` wrote. Raises ModelNotFoundError or CheckpointError."""
        about = read_about(path)
        from safetensors.torch import load_file

        try:
            weights = load_file(path)
        except Exception as error:  # the header was well: what it says of the rest is not
            raise CheckpointError(f"{path}: damaged, its weights cannot be read ({error}); fetch it again") from error
        if about.get("sha256") not in (None, digest(weights)):
            raise CheckpointError(f"{path}: damaged or tampered with, its weights are not those it was saved with")
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
                training=dict(about["training"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: its description is incomplete or wrong ({error})") from error
