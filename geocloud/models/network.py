"""Trained networks in torch, for training and GPUs: weights and metadata in one safetensors file.

safetensors holds arrays and text only: an untrusted file can be wrong, but it cannot run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError
from geocloud.models.fast import FastUNet
from geocloud.models.metadata import KEY, ModelMetadata, read_safetensors
from geocloud.models.prepare import prepare
from geocloud.models.unet import UNet

NETWORKS: dict[str, Any] = {
    "fast": FastUNet,
    "unet": UNet,
    "attention-unet": lambda **options: UNet(attention=True, **options),
}
"""Each of `geocloud.models.metadata.ARCHITECTURES`: call it with its options to get a network with random weights."""

CALIBRATION = "seen/"
"""Prefix of arrays in files of format 1 that are no weights."""


class Network(nn.Module):
    """A trained network with its metadata, in evaluation mode: reflectance → probability.

    Args:
        metadata: Its metadata.
        body: A network of `NETWORKS`.

    Raises:
        CheckpointError: The metadata do not fit the network.
    """

    def __init__(self, metadata: ModelMetadata, body: nn.Module) -> None:
        super().__init__()
        if metadata.bands != BANDS or not metadata.mean or metadata.input != "reflectance":
            raise CheckpointError(
                f"model {metadata.name!r}: wanted reflectance of bands {list(BANDS)}, with mean and std; "
                f"found {metadata.input} {list(metadata.bands)}"
            )
        self.metadata, self.body = metadata, body
        self.mean, self.std = (nn.Buffer(torch.tensor(v).view(1, 4, 1, 1)) for v in (metadata.mean, metadata.std))
        self.stride = int(body.stride)  # type: ignore[arg-type]
        self.eval()

    def forward(self, reflectance: Tensor) -> Tensor:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``, float32."""
        metadata = self.metadata
        x, no_nir = prepare(reflectance, self.mean, self.std, metadata.clip, metadata.optional_nir)
        probability: Tensor = self.body(x, no_nir).float().sigmoid()
        return probability

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        from safetensors.torch import save_file

        weights = {name: value.detach().cpu().contiguous() for name, value in self.body.state_dict().items()}
        metadata = replace(self.metadata, sha256=digest(weights))
        save_file(weights, path, metadata={KEY: metadata.to_json()})
        path.chmod(0o644)  # safetensors creates it readable by its owner only

    @classmethod
    def load(cls, path: Path) -> Network:
        """Reads a file that `save`, or an earlier geocloud, wrote. Raises ModelNotFoundError or CheckpointError."""
        from safetensors.torch import load_file

        metadata = read_safetensors(path)
        try:
            tensors = load_file(path)
        except Exception as error:  # the header was readable: the rest does not match it
            raise CheckpointError(f"{path}: damaged, its weights cannot be read ({error}); fetch it again") from error
        if metadata.sha256 not in ("", digest(tensors)):
            raise CheckpointError(f"{path}: damaged or tampered with, its weights are not those it was saved with")
        weights = {name: value for name, value in tensors.items() if not name.startswith(CALIBRATION)}
        return cls(replace(metadata, sha256=digest(weights)), load_body(metadata, weights))


def build_body(architecture: str, **options: Any) -> nn.Module:
    """A network with random weights. Raises CheckpointError for an unknown name or option."""
    if architecture not in NETWORKS:
        raise CheckpointError(f"no architecture {architecture!r}: wanted one of {', '.join(NETWORKS)}")
    try:
        body: nn.Module = NETWORKS[architecture](**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"architecture {architecture!r} cannot be built with {options}: {error}") from error
    return body


def load_body(metadata: ModelMetadata, weights: Mapping[str, Tensor]) -> nn.Module:
    """A network with these weights, in float32 on the CPU. Raises CheckpointError if they do not fit."""
    body = build_body(metadata.architecture, **metadata.options)
    try:
        body.load_state_dict(weights)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"model {metadata.name!r}: the weights do not fit {metadata.architecture!r}: {problem}"
        ) from error
    if metadata.options.get("classes", 1) != metadata.classes:
        raise CheckpointError(f"model {metadata.name!r}: its options and its metadata differ in the number of classes")
    return body


def digest(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of weights: names, dtypes, shapes and bytes, ordered by name."""
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().cpu().contiguous()
        sha256.update(f"{name} {weight.dtype} {tuple(weight.shape)} ".encode())
        sha256.update(weight.numpy().tobytes())
    return sha256.hexdigest()
