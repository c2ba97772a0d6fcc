"""Losses by name, and weighted sums of them: "bce+jaccard", "tversky", "0.5*focal+dice".

All take logits ``(N, classes, H, W)`` and targets ``(N, 2, H, W)``, cloud and shadow as in `Chip`, and return a scalar.
Unknown pixels are ignored. For a network with one class only cloud counts. Soft scores are taken over the whole batch,
as a single patch may hold no cloud at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from geocloud.errors import OptionError
from geocloud.training.data.chips import CLOUD, UNKNOWN

SHADOW_WEIGHT = 0.3
"""Weight of the shadow loss; cloud's is 1."""

Loss = Callable[[Tensor, Tensor], Tensor]
Term = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, target, known: all (N, H, W) float32


def _entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def _focal(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Lin et al. 2017, https://arxiv.org/abs/1708.02002, with γ = 2, α = ½."""
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each * known).sum() / known.sum().clamp(min=1)


def _counts(logits: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft counts of hits, false alarms and misses."""
    probability, target = logits.sigmoid() * known, target * known
    hits = (probability * target).sum()
    return hits, probability.sum() - hits, target.sum() - hits


def _jaccard(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    hits, alarms, misses = _counts(logits, target, known)
    return 1 - (hits + 1) / (hits + alarms + misses + 1)


def _dice(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Milletari et al. 2016, https://arxiv.org/abs/1606.04797."""
    hits, alarms, misses = _counts(logits, target, known)
    return 1 - (2 * hits + 1) / (2 * hits + alarms + misses + 1)


def _tversky(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Salehi et al. 2017, https://arxiv.org/abs/1706.05721: a miss costs 0.7, a false alarm 0.3."""
    hits, alarms, misses = _counts(logits, target, known)
    return 1 - (hits + 1) / (hits + 0.3 * alarms + 0.7 * misses + 1)


def _focal_tversky(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Abraham and Khan 2018, https://arxiv.org/abs/1810.07842, with γ = 4/3."""
    return _tversky(logits, target, known) ** 0.75


TERMS: dict[str, Term] = {
    "bce": _entropy,
    "focal": _focal,
    "jaccard": _jaccard,
    "dice": _dice,
    "tversky": _tversky,
    "focal-tversky": _focal_tversky,
}


def parse_loss(text: str) -> Loss:
    """The loss of a name, or of a weighted sum of names. Raises OptionError."""
    terms: list[tuple[float, Term]] = []
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
            scores, values = logits[:, index].float(), target[:, index]
            known = (values != UNKNOWN).float()
            share = values.float() / CLOUD * known
            for weight, term in terms:
                total = total + importance * weight * term(scores, share, known)
        return total

    return loss
