"""Augmented training samples, each of which depends only on its index and the seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from geocloud.training.data.augment import METRES, Augment
from geocloud.training.data.chips import Chips

Group = tuple[float, Chips]
"""(share of the samples, chips)."""


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Samples by index: reflectance ``(4, size, size)`` and target ``(2, size, size)``.

    A sample is the same whenever and in whichever process it is drawn, so that a run can resume exactly. A group is
    drawn at random by its share, then one of its chips; finer chips are averaged to pixels of ``metres``.
    """

    def __init__(self, groups: Sequence[Group], augment: Augment, seed: int, metres: float = METRES) -> None:
        self.groups = [(share, chips) for share, chips in groups if len(chips)]
        self.augment = augment
        self.seed = seed
        self.metres = metres
        shares = np.array([share for share, _ in self.groups])
        self.shares = shares / shares.sum()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        _, chips = self.groups[rng.choice(len(self.shares), p=self.shares)]
        image, target = self.augment.sample(chips[int(rng.integers(len(chips)))], rng, self.metres)
        return torch.from_numpy(image), torch.from_numpy(target)


def batches(first: int, steps: int, batch: int, rank: int = 0, size: int = 1) -> list[list[int]]:
    """Indices of the samples in each batch, from step ``first`` on; processes share the samples of a step."""
    starts = [(step * size + rank) * batch for step in range(first, steps)]
    return [list(range(start, start + batch)) for start in starts]
