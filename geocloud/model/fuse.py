"""Networks optimised for inference: the trained function in fewer and cheaper operations."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fuse(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy for inference on a device, with batch norms folded into convolutions, and on a CPU the ReLUs fused in too.

    Its output is that of the network in evaluation mode, up to rounding.
    """
    network = copy.deepcopy(network).eval()
    on_cpu = device.type == "cpu" and can_convolve_and()
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            _fold_batch_norms(block)
            if on_cpu:
                _join_relus(block)
    if on_cpu:
        for parent in list(network.modules()):
            for name, module in list(parent.named_children()):
                if isinstance(module, nn.MaxPool2d):
                    setattr(parent, name, HalveByMaximum())
                elif isinstance(module, nn.PixelShuffle):
                    setattr(parent, name, Interleave())
    return network


class ConvolutionReLU(nn.Module):
    """A convolution and a ReLU fused by oneDNN, in one pass over memory."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return convolve_and(x, self.convolution, "relu")


def can_convolve_and() -> bool:
    """Whether this torch has the operation behind `convolve_and`, which is not public."""
    return hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def convolve_and(x: Tensor, c: nn.Conv2d, then: str, *numbers: float) -> Tensor:
    """A convolution and an operation on each value of its result: relu, or hardtanh, which clips at two numbers."""
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups, then, list(numbers), ""
    )
    return result


class HalveByMaximum(nn.Module):
    """``nn.MaxPool2d(2)`` for even sizes, without the indices, which only training needs."""

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        return torch.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


class Interleave(nn.Module):
    """``nn.PixelShuffle(2)``: (N, 4·classes, H, W) → (N, classes, 2H, 2W)."""

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        whole = x.new_empty(count, channels // 4, 2 * height, 2 * width)
        for corner in range(4):
            whole[:, :, corner // 2 :: 2, corner % 2 :: 2] = x[:, corner::4]
        return whole


def _fold_batch_norms(block: nn.Sequential) -> None:
    for i in range(len(block) - 1):
        before, after = block[i], block[i + 1]
        if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            block[i], block[i + 1] = fuse_conv_bn_eval(before, after), nn.Identity()


def _join_relus(block: nn.Sequential) -> None:
    before = [i for i, layer in enumerate(block) if not isinstance(layer, nn.Identity)]
    for i, after in itertools.pairwise(before):
        convolution = block[i]
        if isinstance(convolution, nn.Conv2d) and isinstance(block[after], nn.ReLU):
            block[i], block[after] = ConvolutionReLU(convolution), nn.Identity()
