"""A U-Net that is fast on a CPU because it works at half resolution.

The input passes through a 2×2 space-to-depth and the logits through a pixel shuffle (Shi et al. 2016,
https://arxiv.org/abs/1609.05158). No other layer runs at full resolution. Each level halves the resolution again.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from geocloud.models.unet import convolve_twice


class FastUNet(nn.Module):
    """Output of `geocloud.models.network.prepare` ``(N, 4 or 5, H, W)`` → logits ``(N, classes, H, W)``.

    H and W are multiples of ``stride``. The first level has ``width`` channels, and each further level twice as many,
    up to ``widest``. ``optional_nir`` adds the fifth input channel.
    """

    def __init__(
        self, width: int = 24, levels: int = 4, widest: int | None = None, classes: int = 1, optional_nir: bool = False
    ) -> None:
        super().__init__()
        widths = [min(width * 2**level, widest or width * 2**level) for level in range(levels)]
        self.stride = 2**levels
        self.down = nn.ModuleList(
            nn.Sequential(*convolve_twice(above, here, 3, 1)) for above, here in pairwise([16 + optional_nir, *widths])
        )
        self.enter: nn.Module = Halve()
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(below, here, kernel_size=2, stride=2) for below, here in pairwise(widths[::-1])
        )
        self.up = nn.ModuleList(nn.Sequential(*convolve_twice(2 * c, c, 3, 1)) for c in widths[-2::-1])
        self.leave = nn.Sequential(nn.Conv2d(width, 4 * classes, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x.to(next(self.parameters()).dtype))
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))  # (N, width·2^level, H/2^(level+1), W/2^(level+1))
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], 1))  # one level up
        return self.leave(x)  # (N, classes, H, W)

    def folded(self) -> FastUNet:
        """The same network with space-to-depth and the first convolution merged, which is faster in ONNX files.

        Weights ``(width, 4·2·2, 3, 3)`` become ``(width, 4, 6, 6)``, applied with a stride of 2.
        """
        folded, old = copy.deepcopy(self), next(self.down.parameters()).detach()
        new = nn.Conv2d(4 + old.shape[1] - 16, len(old), 6, stride=2, padding=2, bias=False)
        bands = old[:, :16].reshape(-1, 4, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
        new.weight.data = torch.zeros_like(new.weight)
        new.weight.data[:, :4] = bands.reshape(-1, 4, 6, 6)
        new.weight.data[:, 4:, ::2, ::2] = old[:, 16:]  # the fifth channel is constant within an image
        folded.enter = nn.Identity()
        folded.set_submodule("down.0.0", new)
        return folded


class Halve(nn.Module):
    """Space-to-depth of the four bands, and every second pixel of other channels: (N, 4 + c, H, W) → (N, 16 + c, …)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([nn.functional.pixel_unshuffle(x[:, :4], 2), x[:, 4:, ::2, ::2]], 1)
