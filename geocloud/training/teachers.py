"""Teaching a network by the probabilities of others, beside the labels: distillation.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531. Teachers see the very samples that the network sees, as Beyer et
al. 2022 advise, https://arxiv.org/abs/2106.05237, but not saturated: the network learns to see through that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from geocloud.errors import CheckpointError
from geocloud.model.checkpoint import Checkpoint
from geocloud.model.networks import load_network
from geocloud.model.normalise import normalise

LABELS = 0.5
"""What the labels' loss counts where there are teachers, whose cloud counts 1."""

IMPORTANCE = (1.0, 0.5)
"""What the teachers' cloud and shadow count."""


class Teachers:
    """Models whose mean probability is taught wherever there is data, labelled or not.

    Raises CheckpointError for a model that needs near-infrared, as samples may have none.
    """

    def __init__(self, models: Sequence[Checkpoint], device: torch.device, dtype: torch.dtype) -> None:
        for model in models:
            if not model.optional_nir:
                raise CheckpointError(f"model {model.name!r} cannot teach: it needs near-infrared, which samples lack")
        self.models = models
        self.networks: list[nn.Module] = [load_network(model).to(device) for model in models]
        self.device, self.dtype = device, dtype

    @torch.no_grad()
    def __call__(self, reflectance: Tensor) -> Tensor:
        """Reflectance ``(N, 4, H, W)``, NaN where there is no data → mean probability ``(N, classes, H, W)``.

        It has as many classes as all of the models have.
        """
        found = []
        for model, network in zip(self.models, self.networks, strict=True):
            mean, std = (torch.tensor(v, device=self.device).view(1, 4, 1, 1) for v in (model.mean, model.std))
            x = normalise(reflectance, mean, std, model.clip, True)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
                found.append(network(x).float().sigmoid())
        classes = min(each.shape[1] for each in found)
        return torch.stack([each[:, :classes] for each in found]).mean(0)

    def loss(self, logits: Tensor, reflectance: Tensor) -> Tensor:
        """Cross entropy of logits ``(N, classes, H, W)`` against the teachers' probability of what they saw."""
        known = (~reflectance[:, :3].isnan().any(1)).float()
        taught = self(reflectance)
        total = torch.zeros((), device=logits.device)
        for index, importance in zip(range(min(logits.shape[1], taught.shape[1])), IMPORTANCE, strict=False):
            each = binary_cross_entropy_with_logits(logits[:, index].float(), taught[:, index], reduction="none")
            total = total + importance * (each * known).sum() / known.sum().clamp(min=1)
        return total
