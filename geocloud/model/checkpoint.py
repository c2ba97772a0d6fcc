"""A model on disk: weights, and all that is needed to use them, in one safetensors file.

safetensors holds arrays and text only: a file from a stranger can be wrong, but it cannot run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
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


HEAD = ("leave.0.weight", "leave.0.bias", "head.weight", "head.bias")
"""Weights of the last layer of every architecture, whose rows are the classes, cloud first."""


def build_network(architecture: str, **options: Any) -> nn.Module:
    """A network with fresh weights. Raises CheckpointError for a name or option that does not exist."""
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"no architecture {architecture!r}: there are {', '.join(ARCHITECTURES)}")
    try:
        network: nn.Module = ARCHITECTURES[architecture](**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"architecture {architecture!r} cannot be built with {options}: {error}") from error
    return network


def normalise(
    reflectance: Tensor, mean: Tensor, std: Tensor, clip: float | None = None, optional_nir: bool = False
) -> Tensor:
    """What networks are fed: (reflectance − mean) / std, band by band, ``(N, 4, H, W)``.

    Reflectance above ``clip`` counts as ``clip``. Where there is no data (NaN in any band) each band holds its mean
    over the rest of the tile, so that an edge of the data looks like nothing: a fixed value would be bright beside the
    sea and dark beside snow. With ``optional_nir`` there is a fifth band: 1 all over an image whose near-infrared is
    NaN everywhere, where red stands in for it, else 0. ``mean`` and ``std``: ``(1, 4, 1, 1)``.
    """
    count, bands, height, width = reflectance.shape
    x = reflectance.new_empty(count, bands + optional_nir, height, width)
    seen = x[:, :bands]
    torch.addcmul(-mean / std, reflectance, 1 / std, out=seen)
    if optional_nir:
        absent = reflectance[:, 3, ::16, ::16].isnan().flatten(1).all(1)  # (N,): a glance, as a rule enough
        if absent.any():
            absent = reflectance[:, 3].isnan().flatten(1).all(1)
        for i in torch.nonzero(absent)[:, 0]:
            seen[i, 3] = (reflectance[i, 0] - mean[0, 3]) / std[0, 3]
        x[:, bands] = absent[:, None, None]
    if clip is not None:
        torch.minimum(seen, (clip - mean) / std, out=seen)
    missing = seen.sum(1, keepdim=True).isnan()  # (N, 1, H, W)
    if not missing.any():
        return x
    known = (~missing).float()
    average = torch.where(missing, 0, seen).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    torch.where(missing, average, seen, out=seen)
    return x


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
    ``threshold``, and shadow where its second probability, if it has one, is above ``shadow_threshold``, of pixels
    whose side is about ``pixel_size`` metres (None: any). ``clip``: see `normalise`. ``training`` tells how the weights
    came to be and what they score.
    """

    name: str
    architecture: str
    weights: dict[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    threshold: float
    options: dict[str, Any] = field(default_factory=dict)
    bands: tuple[str, ...] = BANDS
    clip: float | None = None
    pixel_size: float | None = None
    shadow_threshold: float = 0.5
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
        """How many probabilities come out: 1 cloud, 2 cloud and shadow."""
        return int(self.options.get("classes", 1))

    def cloud_alone(self) -> Checkpoint:
        """The same model without its probability of shadow, which need not be computed then."""
        if self.classes == 1:
            return self
        share = {name: len(self.weights[name]) // self.classes for name in HEAD if name in self.weights}
        weights = {name: w[: share[name]] if name in share else w for name, w in self.weights.items()}
        return replace(self, weights=weights, options={**self.options, "classes": 1})

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
            "shadow_threshold": self.shadow_threshold,
            "clip": self.clip,
            "pixel_size": self.pixel_size,
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
                clip=_number(about.get("clip")),
                pixel_size=_number(about.get("pixel_size")),
                shadow_threshold=float(about.get("shadow_threshold", 0.5)),
                training=dict(about["training"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: its description is incomplete or wrong ({error})") from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
