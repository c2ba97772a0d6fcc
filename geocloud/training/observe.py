"""Measures what a trained network's convolutions see, so that it can compute in 8-bit integers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.data import Dataset

from geocloud.model.checkpoint import Checkpoint, normalise
from geocloud.model.int8 import observe

COUNT = 100
"""Number of samples, unless it is said."""


def observed(
    checkpoint: Checkpoint, samples: Dataset[tuple[torch.Tensor, torch.Tensor]], count: int = COUNT
) -> Checkpoint:
    """The model with what it sees in the first ``count`` training samples; with nothing if it cannot be quantised."""
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    images = (normalise(samples[i][0][None], mean, std, checkpoint.clip, checkpoint.optional_nir) for i in range(count))
    return replace(checkpoint, seen=observe(checkpoint.network(), images))
