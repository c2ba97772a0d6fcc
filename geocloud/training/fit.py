"""The training loop: chips and a configuration in, weights out."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from geocloud.model.checkpoint import Checkpoint, build_network, normalise
from geocloud.training.augment import Augment
from geocloud.training.chips import CLOUD, IGNORE, Chip

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitConfig:
    """Everything that decides how a run goes; it is written into the checkpoint."""

    architecture: str = "fast"
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 12_000
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    warmup: int = 200
    average: float = 0.998
    seed: int = 0
    mean: float = 0.25
    std: float = 0.25
    threshold: float = 0.4
    augment: Augment = field(default_factory=Augment)


class Samples(IterableDataset[tuple[Tensor, Tensor]]):
    """An endless stream of augmented samples; ``groups`` are chips with the share of samples drawn from each."""

    def __init__(self, groups: Sequence[tuple[float, Sequence[Chip]]], config: FitConfig) -> None:
        self.groups = [(share, chips) for share, chips in groups if chips]
        self.config = config

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng(self.config.seed)
        shares = np.array([share for share, _ in self.groups])
        while True:
            _, chips = self.groups[rng.choice(len(shares), p=shares / shares.sum())]
            image, label = self.config.augment.sample(chips[int(rng.integers(len(chips)))], rng)
            yield torch.from_numpy(image), torch.from_numpy(label)


def loss(logits: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Jaccard over the batch: logits (N, 1, H, W), label (N, H, W) with IGNORE."""
    logits = logits.float()[:, 0]
    known = (label != IGNORE).float()
    target = (label == CLOUD).float()
    count = known.sum().clamp(min=1)
    entropy = (nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known).sum() / count
    probability = logits.sigmoid() * known
    both = (probability * target).sum()
    either = (probability + target * known - probability * target).sum()
    return entropy + 1 - (both + 1) / (either + 1)


def fit(groups: Sequence[tuple[float, Sequence[Chip]]], config: FitConfig, name: str = "fast") -> Checkpoint:
    """Trains a network on groups of chips and returns it as a checkpoint (the running mean of the weights)."""
    torch.manual_seed(config.seed)
    network = build_network(config.architecture, **config.options).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)

    def rate(step: int) -> float:
        rest = (step - config.warmup) / max(config.steps - config.warmup, 1)
        return min((step + 1) / config.warmup, 0.5 + 0.5 * math.cos(math.pi * min(max(rest, 0), 1)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    loader = DataLoader(Samples(groups, config), batch_size=config.batch, num_workers=1, prefetch_factor=8)
    started, running = time.monotonic(), 0.0
    mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    for step, (image, label) in enumerate(loader, 1):
        image = normalise(image, mean, std)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image.to(memory_format=torch.channels_last))
        value = loss(logits, label)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += float(value.detach())
        with torch.no_grad():
            decay = min(config.average, step / (step + 10))
            for slow, fast in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
                if slow.is_floating_point():
                    slow.lerp_(fast, 1 - decay)
        if step % 200 == 0:
            log.info("%s step %d loss %.4f, %.0f s", name, step, running / 200, time.monotonic() - started)
            running = 0.0
        if step >= config.steps:
            break
    summary = {"config": asdict(config), "minutes": round((time.monotonic() - started) / 60, 1)}
    return Checkpoint(
        name=name,
        architecture=config.architecture,
        weights=averaged.state_dict(),
        mean=(config.mean,) * 4,
        std=(config.std,) * 4,
        threshold=config.threshold,
        options=config.options,
        training=summary,
    )


@torch.inference_mode()
def probabilities(checkpoint: Checkpoint, chip: Chip) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The cloud probability ``(h, w)`` of one whole chip."""
    network = checkpoint.network()
    stride = int(network.stride)  # type: ignore[arg-type]
    height, width = chip.label.shape
    padded = torch.full((1, 4, -(-height // stride) * stride, -(-width // stride) * stride), torch.nan)
    padded[0, :, :height, :width] = torch.from_numpy(chip.reflectance)
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    logits = network(normalise(padded, mean, std))[0, 0, :height, :width]
    return logits.sigmoid().numpy()
