"""Measures what a trained network's convolutions see, so that it can compute in 8-bit integers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from geocloud.model.checkpoint import Checkpoint, Weights
from geocloud.model.fast import FastUNet
from geocloud.model.networks import load_network, to_arrays
from geocloud.model.normalise import normalise

COUNT = 100
"""Number of samples, unless it is said."""

TAIL = 1e-3
"""Share of an image's pixels that a channel's range leaves out at either end; they are cut off."""


def observed(checkpoint: Checkpoint, samples: Dataset[tuple[Tensor, Tensor]], count: int = COUNT) -> Checkpoint:
    """The model with what it sees in the first ``count`` training samples; with nothing if it cannot be quantised."""
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    images = (normalise(samples[i][0][None], mean, std, checkpoint.clip, checkpoint.optional_nir) for i in range(count))
    return replace(checkpoint, seen=observe(load_network(checkpoint), images))


@torch.no_grad()
def observe(network: nn.Module, images: Iterable[Tensor]) -> Weights:
    """What a network's convolutions see in images, each an input of the network ``(1, C, H, W)``.

    Lowest and highest are those of any image, but for `TAIL` of its pixels. Empty for a network that cannot be
    quantised: any but a `FastUNet` of several levels, without ratios.
    """
    if not isinstance(network, FastUNet) or network.ratios or len(network.down) < 2:
        return {}
    found: dict[str, list[Tensor]] = {}

    def see(name: str, _: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].float().transpose(0, 1).flatten(1)  # (channels, pixels)
        few = max(1, round(TAIL * values.shape[1]))
        low, high = -(-values).topk(few).values[:, -1], values.topk(few).values[:, -1]
        found.setdefault(name, []).append(torch.stack([low, high, values.mean(1)]))

    hooks = [
        module.register_forward_pre_hook(partial(see, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    for image in images:
        network(image)
    for hook in hooks:
        hook.remove()
    every = {name: torch.stack(rows) for name, rows in found.items()}
    return to_arrays(
        {name: torch.stack([r[:, 0].amin(0), r[:, 1].amax(0), r[:, 2].mean(0)]) for name, r in every.items()}
    )
