"""Losses by name, and weighted sums of them: "bce+jaccard", "tversky", "0.5*focal+dice".

A loss takes logits ``(N, classes, H, W)`` and targets ``(N, 2, H, W)``, cloud and shadow as in `Chip`, and returns a
scalar. Unknown pixels are ignored. Networks with one class are trained on cloud alone. Overlaps are computed over the
whole batch, because a single patch may contain no cloud.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from geocloud.errors import OptionError
from geocloud.training.data.chips import CLOUD, UNKNOWN

SHADOW_WEIGHT = 0.3
"""Weight of the shadow loss; the cloud loss has weight 1."""

Loss = Callable[[Tensor, Tensor], Tensor]


def _entropy(logits: Tensor, target: Tensor, known: Tensor, gamma: float = 0.0) -> Tensor:
    """Cross-entropy; with γ > 0 the focal loss of Lin et al. 2017, https://arxiv.org/abs/1708.02002, with α = ½."""
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    if gamma:
        each = (1 - torch.exp(-each)) ** gamma * each
    return (each * known).sum() / known.sum().clamp(min=1)


def _tversky(
    logits: Tensor, target: Tensor, known: Tensor, fp: float, fn: float, smooth: float = 1.0, power: float = 1.0
) -> Tensor:
    """Tversky loss of Salehi et al. 2017, https://arxiv.org/abs/1706.05721; ``fp`` and ``fn`` weight the errors."""
    probability, target = logits.sigmoid() * known, target * known
    hits = (probability * target).sum()
    mistakes = fp * (probability.sum() - hits) + fn * (target.sum() - hits)
    return (1 - (hits + smooth) / (hits + mistakes + smooth)) ** power


TERMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bce": _entropy,
    "focal": partial(_entropy, gamma=2.0),
    "jaccard": partial(_tversky, fp=1.0, fn=1.0),
    "dice": partial(_tversky, fp=0.5, fn=0.5, smooth=0.5),  # Milletari et al. 2016, https://arxiv.org/abs/1606.04797
    "tversky": partial(_tversky, fp=0.3, fn=0.7),
    # Abraham and Khan 2018, https://arxiv.org/abs/1810.07842, with γ = 4/3.
    "focal-tversky": partial(_tversky, fp=0.3, fn=0.7, power=0.75),
}
"""Losses by name. Each takes logits, target and known, all float32 ``(N, H, W)``."""


def parse_loss(text: str) -> Loss:
    """The loss given by a name or a weighted sum of names. Raises OptionError."""
    terms = []
    for part in text.split("+"):
        found = re.fullmatch(r"\s*(?:(\d+(?:\.\d+)?)\s*\*)?\s*([a-z-]+)\s*", part)
        if not found or found[2] not in TERMS:
            raise OptionError(
                f"loss {text!r}: wanted {', '.join(TERMS)}, or a sum such as bce+jaccard or 0.5*focal+dice"
            )
        terms.append((float(found[1] or 1), TERMS[found[2]]))

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        total = torch.zeros((), device=logits.device)
        for index, importance in zip(range(logits.shape[1]), (1.0, SHADOW_WEIGHT), strict=False):
            known = (target[:, index] != UNKNOWN).float()
            share = target[:, index].float() / CLOUD * known
            for weight, term in terms:
                total = total + importance * weight * term(logits[:, index].float(), share, known)
        return total

    return loss
