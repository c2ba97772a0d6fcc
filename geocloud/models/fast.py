"""A U-Net that is fast on a CPU, as it works at half resolution.

The input passes through a 2×2 space-to-depth and the logits through a pixel shuffle (Shi et al. 2016,
https://arxiv.org/abs/1609.05158). No other layer runs at full resolution. Each level halves the resolution again.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from geocloud.models.unet import convolve_twice


class FastUNet(nn.Module):
    """Normalised reflectance ``(N, bands, H, W)`` → logits ``(N, classes, H, W)``.

    The input is the output of `geocloud.models.prepare.prepare`; H and W are multiples of ``stride``.

    Args:
        bands: Number of bands.
        width: Channels of the first level; they double with each level.
        levels: Number of levels.
        widest: Upper limit of the channels; None: no limit.
        classes: Number of classes.
        optional_nir: True adds a channel to the input: 1 over images without near-infrared, else 0.
        ratios: Adds the ratios (band − red) / (band + red), times ten, to the input; for models before 0.2.
        black: The normalised value of reflectance 0, which must be the same for all bands if ``ratios`` is set.
    """

    def __init__(
        self,
        bands: int = 4,
        width: int = 24,
        levels: int = 4,
        widest: int | None = None,
        classes: int = 1,
        optional_nir: bool = False,
        ratios: bool = False,
        black: float = -1.0,
    ) -> None:
        super().__init__()
        self.bands, self.optional_nir, self.ratios, self.black = bands, optional_nir, ratios, black
        widths = [min(width * 2**level, widest or width * 2**level) for level in range(levels)]
        self.stride = 2**levels
        self.channels = 4 * bands + optional_nir + (bands - 1) * ratios
        self.down = nn.ModuleList(
            nn.Sequential(*convolve_twice(above, here, 3, 1)) for above, here in pairwise([self.channels, *widths])
        )
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(below, here, kernel_size=2, stride=2) for below, here in pairwise(widths[::-1])
        )
        self.up = nn.ModuleList(nn.Sequential(*convolve_twice(2 * c, c, 3, 1)) for c in widths[-2::-1])
        self.leave = nn.Sequential(nn.Conv2d(width, 4 * classes, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor, no_nir: Tensor | None = None) -> Tensor:
        x = self.enter(x, no_nir).to(next(self.parameters()).dtype)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))  # (N, width·2^level, H/2^(level+1), W/2^(level+1))
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], 1))  # one level up
        return self.leave(x)  # (N, classes, H, W)

    def enter(self, x: Tensor, no_nir: Tensor | None) -> Tensor:
        """(N, bands, H, W) → (N, channels, H/2, W/2): space-to-depth, missing-band channel, ratios of 2×2 means."""
        parts = [nn.functional.pixel_unshuffle(x, 2)]
        if self.optional_nir:
            flag = torch.zeros_like(x[:, :1, ::2, ::2])
            parts.append(flag if no_nir is None else no_nir.expand_as(flag))
        if self.ratios:
            light = nn.functional.avg_pool2d(x, 2) - self.black
            red, others = light[:, :1], light[:, 1:]
            parts.append((10 * (others - red) / (others + red + 0.1)).clamp(-2, 2))
        return torch.cat(parts, 1)
