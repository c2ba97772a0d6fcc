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
        self.enter = nn.PixelUnshuffle(2)
        self.down = nn.ModuleList(
            nn.Sequential(*convolve_twice(before, after, 3, 1))
            for before, after in zip([4 * bands + (bands - 1) * ratios, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, kernel_size=2, stride=2) for c in widths[-2::-1])
        self.up = nn.ModuleList(nn.Sequential(*convolve_twice(2 * c, c, 3, 1)) for c in widths[-2::-1])
        self.leave = nn.Sequential(nn.Conv2d(width, 4, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.enter(x)]  # (N, 16, H/2, W/2)
        if self.ratios:
            light = nn.functional.avg_pool2d(x, 2) - self.black  # (N, 4, H/2, W/2), in proportion to reflectance
            red, others = light[:, :1], light[:, 1:]
            seen.append((10 * (others - red) / (others + red + 0.1)).clamp(-2, 2))  # (N, 3, H/2, W/2)
        x = torch.cat(seen, 1).to(next(self.parameters()).dtype)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))  # (N, width·2^level, H/2^(level+1), W/2^(level+1))
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], 1))  # one level up
        return self.leave(x)  # (N, 1, H, W)
