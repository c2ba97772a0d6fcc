"""The default network: a U-Net that works at half resolution, for a quarter of the arithmetic.

The image enters by a 2×2 space-to-depth and leaves by a pixel shuffle (Shi et al. 2016,
https://arxiv.org/abs/1609.05158), so that nothing but those two touches full resolution. Each level halves the
resolution and doubles the channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geocloud.model.unet import convolve_twice


class FastUNet(nn.Module):
    """(N, 4, H, W) normalised reflectance → (N, 1, H, W) logits; H and W multiples of ``stride``."""

    def __init__(self, bands: int = 4, width: int = 24, levels: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.stride = 2**levels
        self.enter = nn.PixelUnshuffle(2)
        self.down = nn.ModuleList(
            nn.Sequential(*convolve_twice(before, after, 3, 1))
            for before, after in zip([4 * bands, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, kernel_size=2, stride=2) for c in widths[-2::-1])
        self.up = nn.ModuleList(nn.Sequential(*convolve_twice(2 * c, c, 3, 1)) for c in widths[-2::-1])
        self.leave = nn.Sequential(nn.Conv2d(width, 4, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)  # (N, 16, H/2, W/2)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))  # (N, width·2^level, H/2^(level+1), W/2^(level+1))
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], 1))  # one level up
        return self.leave(x)  # (N, 1, H, W)
