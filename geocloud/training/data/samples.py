"""Augmented training samples, each determined by its index and the seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from geocloud.training.data.augment import METRES, Augment
from geocloud.training.data.chips import Chips

Group = tuple[float, Chips]
"""A share of the samples, and the chips they are drawn from."""


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Samples by index: reflectance ``(4, size, size)`` and target ``(2, size, size)``.

    A sample does not depend on the process or the time at which it is drawn, so that runs resume exactly. A group is
    drawn at random according to its share, then one of its chips. Finer chips are averaged to ``metres`` per pixel.
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
    """Sample indices of each batch of a process, from step ``first`` on. Processes share the samples of a step."""
    starts = [(step * size + rank) * batch for step in range(first, steps)]
    return [list(range(start, start + batch)) for start in starts]
