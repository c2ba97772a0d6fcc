"""The original U-Net of geocloud, and its attention-gated variant.

Both take the output of `geocloud.models.network.prepare`, with H and W multiples of eight, and return logits
``(N, classes, H, W)``: positive means cloud.

U-Net: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597
Attention gate: Oktay et al. 2018, https://arxiv.org/abs/1804.03999
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def convolve_twice(in_channels: int, out_channels: int, kernel_size: int, padding: int) -> list[nn.Module]:
    """Convolution, batch norm, ReLU, twice: (N, in, H, W) → (N, out, H, W) where padding = kernel_size // 2."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size, padding=padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def contract_block(in_channels: int, out_channels: int, kernel_size: int, padding: int) -> nn.Sequential:
    """Two convolutions, then a 2×2 max pool: (N, in, H, W) → (N, out, H/2, W/2)."""
    return nn.Sequential(*convolve_twice(in_channels, out_channels, kernel_size, padding), nn.MaxPool2d(2))


def expand_block(in_channels: int, out_channels: int, kernel_size: int, padding: int) -> nn.Sequential:
    """Two convolutions, then a transposed convolution: (N, in, H, W) → (N, out, 2H, 2W)."""
    return nn.Sequential(
        *convolve_twice(in_channels, out_channels, kernel_size, padding),
        nn.ConvTranspose2d(out_channels, out_channels, kernel_size=2, stride=2),
    )


class AttentionGate(nn.Module):
    """Weights a skip connection by features of the coarser path (additive attention).

    ``skip`` and ``gate`` are ``(N, C, H, W)``. Returns ``skip · α``, with one α in (0, 1) per pixel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = max(channels // 2, 1)
        self.from_skip = nn.Sequential(nn.Conv2d(channels, between, 1, bias=False), nn.BatchNorm2d(between))
        self.from_gate = nn.Sequential(nn.Conv2d(channels, between, 1, bias=False), nn.BatchNorm2d(between))
        self.attend = nn.Sequential(nn.Conv2d(between, 1, 1), nn.Sigmoid())

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        return skip * self.attend(torch.relu(self.from_skip(skip) + self.from_gate(gate)))


class UNet(nn.Module):
    """Three contracting and three expanding blocks, joined by concatenated skips; logits at the input's resolution."""

    stride = 8

    def __init__(self, width: int = 32, classes: int = 1, optional_nir: bool = False, attention: bool = False) -> None:
        super().__init__()
        c1, c2, c3 = width, 2 * width, 4 * width
        self.contract1 = contract_block(4 + optional_nir, c1, 7, 3)
        self.contract2 = contract_block(c1, c2, 3, 1)
        self.contract3 = contract_block(c2, c3, 3, 1)
        self.expand3 = expand_block(c3, c2, 3, 1)
        self.expand2 = expand_block(2 * c2, c1, 3, 1)
        self.expand1 = expand_block(2 * c1, c1, 3, 1)
        self.head = nn.Conv2d(c1, classes, 1)
        self.gate2 = AttentionGate(c2) if attention else None
        self.gate1 = AttentionGate(c1) if attention else None

    def forward(self, x: Tensor) -> Tensor:
        half = self.contract1(x.to(self.head.weight.dtype))  # (N, c1, H/2, W/2)
        quarter = self.contract2(half)  # (N, c2, H/4, W/4)
        eighth = self.contract3(quarter)  # (N, c3, H/8, W/8)
        up = self.expand3(eighth)  # (N, c2, H/4, W/4)
        up = self.expand2(torch.cat([up, self.gate2(quarter, up) if self.gate2 else quarter], 1))  # (N, c1, H/2, W/2)
        up = self.expand1(torch.cat([up, self.gate1(half, up) if self.gate1 else half], 1))  # (N, c1, H, W)
        return self.head(up)  # (N, classes, H, W)
