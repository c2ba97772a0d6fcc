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
    """(N, 4, H, W) normalised reflectance → (N, 1, H, W) logits; H and W multiples of ``stride``.

    Snow differs from cloud by a few per cent of near-infrared over red. With ``ratios`` the network is shown that
    as (band − red) / (band + red), stretched tenfold, for which the normalisation must be one for all bands:
    ``black`` is what reflectance 0 becomes by it.
    """

    def __init__(
        self, bands: int = 4, width: int = 24, levels: int = 4, ratios: bool = False, black: float = -1.0
    ) -> None:
        super().__init__()
        self.ratios, self.black = ratios, black
        widths = [width * 2**level for level in range(levels)]
        self.stride = 2**levels
        self.channels = 4 * bands + (bands - 1) * ratios
        self.down = nn.ModuleList(
            nn.Sequential(*convolve_twice(before, after, 3, 1))
            for before, after in zip([self.channels, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, kernel_size=2, stride=2) for c in widths[-2::-1])
        self.up = nn.ModuleList(nn.Sequential(*convolve_twice(2 * c, c, 3, 1)) for c in widths[-2::-1])
        self.leave = nn.Sequential(nn.Conv2d(width, 4, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self._enter(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))  # (N, width·2^level, H/2^(level+1), W/2^(level+1))
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], 1))  # one level up
        return self.leave(x)  # (N, 1, H, W)

    def _enter(self, x: Tensor) -> Tensor:
        """(N, 4, H, W) → (N, 16 or 19, H/2, W/2): the corners of 2×2 pixels, then the ratios of their means."""
        count, bands, height, width = x.shape
        seen = x.new_empty(count, self.channels, height // 2, width // 2)  # (N, 16 or 19, H/2, W/2)
        for corner in range(4):  # as nn.PixelUnshuffle(2), but quick on a CPU
            seen[:, corner : 4 * bands : 4] = x[:, :, corner // 2 :: 2, corner % 2 :: 2]
        if self.ratios:
            light = seen[:, : 4 * bands].view(count, bands, 4, height // 2, width // 2).mean(2) - self.black
            red, others = light[:, :1], light[:, 1:]
            seen[:, 4 * bands :] = (10 * (others - red) / (others + red + 0.1)).clamp(-2, 2)
        return seen.to(next(self.parameters()).dtype).contiguous(memory_format=torch.channels_last)
