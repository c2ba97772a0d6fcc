"""A checkpoint small enough for tests, with random weights."""

import torch

from geocloud.model.checkpoint import Checkpoint
from geocloud.model.networks import build_network, to_arrays


def checkpoint(architecture="fast", **changes):
    torch.manual_seed(5)
    options = {"width": 4}
    fields = {
        "name": "small",
        "architecture": architecture,
        "weights": to_arrays(build_network(architecture, **options).state_dict()),
        "mean": (0.1, 0.2, 0.3, 0.4),
        "std": (0.5, 0.6, 0.7, 0.8),
        "threshold": 0.42,
        "options": options,
        "training": {"note": "for a test"},
    }
    return Checkpoint(**{**fields, **changes})
