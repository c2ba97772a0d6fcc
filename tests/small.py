"""A network small enough for tests, with random weights."""

import pytest
import torch

from geocloud.models.metadata import ModelMetadata
from geocloud.models.network import Network, build_body

CAPABILITIES = torch.cpu.get_capabilities()
needs_bfloat16 = pytest.mark.skipif(
    not (CAPABILITIES.get("avx512_bf16") or CAPABILITIES.get("amx_bf16")), reason="this CPU has no bfloat16"
)


def metadata(architecture="fast", **changes):
    fields = {
        "name": "small",
        "architecture": architecture,
        "mean": (0.1, 0.2, 0.3, 0.4),
        "std": (0.5, 0.6, 0.7, 0.8),
        "threshold": 0.42,
        "options": {"width": 4},
        "training": {"note": "for a test"},
    }
    fields |= changes
    options = fields["options"]
    fields.setdefault("shadow", (1,) if options.get("classes") == 2 else ())
    fields.setdefault("optional_nir", options.get("optional_nir", False))
    return ModelMetadata(**fields)


def small(architecture="fast", **changes):
    torch.manual_seed(5)
    facts = metadata(architecture, **changes)
    return Network(facts, build_body(architecture, **facts.options))


def used(architecture="fast", **options):
    """A small network with batch-norm statistics as after training."""
    network = small(architecture, options=options, clip=1.1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.2)
    return network
