"""The networks: blocks, shapes, and a learning test."""

import pytest
import torch
from torch import nn

from geocloud.errors import CheckpointError
from geocloud.models.metadata import ARCHITECTURES
from geocloud.models.network import NETWORKS, build_body
from geocloud.models.unet import AttentionGate, UNet, contract_block, expand_block


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (7, 3), (5, 2)])
def test_a_contracting_block_halves(kernel, padding):
    block = contract_block(4, 32, kernel, padding)
    assert isinstance(block, nn.Sequential)
    kinds = [type(layer) for layer in block]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [nn.MaxPool2d]
    assert block(torch.zeros(2, 4, 48, 64)).shape == (2, 32, 24, 32)


def test_an_expanding_block_doubles():
    block = expand_block(128, 64, 3, 1)
    assert isinstance(block, nn.Sequential)
    kinds = [type(layer) for layer in block]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [nn.ConvTranspose2d]
    assert block(torch.zeros(1, 128, 6, 8)).shape == (1, 64, 12, 16)


def test_the_unet_is_the_seed_projects():
    convolutions = [m for m in UNet().modules() if isinstance(m, nn.Conv2d)]
    first = convolutions[0]
    assert (first.in_channels, first.out_channels, first.kernel_size) == (4, 32, (7, 7))
    assert [m.out_channels for m in convolutions[:6:2]] == [32, 64, 128]


def test_each_architecture_has_a_network():
    assert tuple(NETWORKS) == ARCHITECTURES


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (384, 384)])
def test_logits_have_the_inputs_resolution(name, size):
    network = build_body(name).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 4, *size)).shape == (1, 1, *size)
    assert size[0] % network.stride == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_flip_of_the_image_is_not_a_flip_of_the_mask_elsewhere(name):
    """A changed pixel changes the logits most around it: nothing is transposed or mirrored."""
    torch.manual_seed(3)
    network = build_body(name).eval()
    image = torch.rand(1, 4, 64, 96)
    other = image.clone()
    other[:, :, 10:14, 70:74] += 2
    with torch.inference_mode():
        change = (network(other) - network(image)).abs()[0, 0]
    rows, cols = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    centre = (change * rows).sum() / change.sum(), (change * cols).sum() / change.sum()
    assert abs(centre[0] - 12) < 12
    assert abs(centre[1] - 72) < 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_learn_what_is_bright(name):
    torch.manual_seed(0)
    options = {"width": 8} if name == "fast" else {"width": 4}
    network = build_body(name, **options)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    coarse = torch.rand(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    image = nn.functional.interpolate(coarse, scale_factor=16) - 0.5
    target = (image[:, :1] > 0).float()
    for _ in range(40):
        value = nn.functional.binary_cross_entropy_with_logits(network(image), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert ((network(image) > 0) == (target > 0)).float().mean() > 0.95


def test_a_closed_gate_lets_nothing_through():
    gate = AttentionGate(8).eval()
    skip = torch.rand(1, 8, 4, 4)
    with torch.no_grad():
        gate.attend[0].bias.fill_(-50)
        assert gate(skip, torch.rand(1, 8, 4, 4)).abs().max() < 1e-6
        gate.attend[0].bias.fill_(50)
        torch.testing.assert_close(gate(skip, torch.rand(1, 8, 4, 4)), skip)


def test_names_and_options_that_do_not_exist():
    with pytest.raises(CheckpointError, match="fast, unet, attention-unet"):
        build_body("resnet")
    with pytest.raises(CheckpointError, match="depth"):
        build_body("fast", depth=3)
