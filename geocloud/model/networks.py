"""The networks of checkpoints, in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geocloud.errors import CheckpointError
from geocloud.model.checkpoint import Checkpoint, Weights
from geocloud.model.fast import FastUNet
from geocloud.model.unet import UNet

NETWORKS: dict[str, Any] = {
    "fast": FastUNet,
    "unet": UNet,
    "attention-unet": lambda **options: UNet(attention=True, **options),
}
"""Each of `geocloud.model.checkpoint.ARCHITECTURES`: call it with its options to get a network with random weights."""


def build_network(architecture: str, **options: Any) -> nn.Module:
    """A network with random weights. Raises CheckpointError for an unknown name or option."""
    if architecture not in NETWORKS:
        raise CheckpointError(f"no architecture {architecture!r}: wanted one of {', '.join(NETWORKS)}")
    try:
        network: nn.Module = NETWORKS[architecture](**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"architecture {architecture!r} cannot be built with {options}: {error}") from error
    return network


def load_network(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint, in evaluation mode, float32, on the CPU. Raises CheckpointError."""
    network = build_network(checkpoint.architecture, **checkpoint.options)
    try:
        network.load_state_dict({name: torch.tensor(weight) for name, weight in checkpoint.weights.items()})
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"model {checkpoint.name!r}: the weights do not fit {checkpoint.architecture!r}: {problem}"
        ) from error
    return network.eval()


def to_arrays(tensors: Mapping[str, Tensor]) -> Weights:
    """Copies of tensors, such as those of a state dict, for a `Checkpoint`."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
