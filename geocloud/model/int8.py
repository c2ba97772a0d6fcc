"""The `fast` network in 8-bit integers: on a CPU with VNNI several times as fast as in float32.

What passes between two convolutions is uint8, and weights are int8 with a scale for each output channel; oneDNN sums
in int32. The first convolution stays in floating point, as reflectance needs more than 8 bits, and so do the logits.

A channel's scale comes from what the network's convolutions see in images that it was trained on, which is measured
once and kept in the checkpoint. Wide and narrow channels are brought closer together by scaling the weights before and
after them, and biases make up for the mean error of rounded weights: Nagel et al. 2019,
https://arxiv.org/abs/1906.04721.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geocloud.model.fast import FastUNet
from geocloud.model.fuse import HalveByMaximum, Interleave, can_convolve_and, convolve_and

TAIL = 1e-3
"""Share of an image's pixels that a channel's range leaves out at either end; they are cut off."""

LEAST = 1e-3
"""Least range of a channel, as a share of the widest of its layer: some channels are never active."""

MOST = 255
"""Highest of the integers."""

ZERO = 64
"""The integer that stands for 0 in skip connections, which are joined with upsampled values, some below 0."""

Seen = dict[str, Tensor]
"""Lowest, highest and mean value of each channel that a convolution sees ``(3, channels)``, by its name."""


def able() -> bool:
    """Whether this torch has the operations, and this CPU is fast at them, by VNNI or AMX.

    Without VNNI oneDNN adds up pairs of products in 16 bits, which may overflow.
    """
    found = torch.cpu.get_capabilities()
    fast = any(found.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))
    return fast and can_convolve_and() and hasattr(torch.ops.onednn, "qconv2d_pointwise")


@torch.no_grad()
def observe(network: nn.Module, images: Iterable[Tensor]) -> Seen:
    """What a network's convolutions see in images, each an input of the network ``(1, C, H, W)``.

    Lowest and highest are those of any image, but for `TAIL` of its pixels. Empty for a network that cannot be
    quantised: any but a `FastUNet` of several levels, without ratios.
    """
    if not isinstance(network, FastUNet) or network.ratios or len(network.down) < 2:
        return {}
    found: dict[str, list[Tensor]] = {}

    def see(name: str, _: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].float().transpose(0, 1).flatten(1)  # (channels, pixels)
        few = max(1, round(TAIL * values.shape[1]))
        low, high = -(-values).topk(few).values[:, -1], values.topk(few).values[:, -1]
        found.setdefault(name, []).append(torch.stack([low, high, values.mean(1)]))

    hooks = [
        module.register_forward_pre_hook(partial(see, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    for image in images:
        network(image)
    for hook in hooks:
        hook.remove()
    every = {name: torch.stack(rows) for name, rows in found.items()}
    return {
        name: torch.stack([rows[:, 0].amin(0), rows[:, 1].amax(0), rows[:, 2].mean(0)]) for name, rows in every.items()
    }


class Convolution(nn.Module):
    """A convolution of integers (uint8, channels last), stride 1, whose output has the input's size.

    Args:
        weight: ``(out, in, k, k)``, between real values.
        bias: ``(out,)``.
        mean: Mean of the input's channels ``(in,)``, real values.
        steps: What one integer is worth in each channel of the input ``(in,)`` and of the output ``(out,)``; None for
            an output in real values, float32.
        zeros: The integers that stand for 0 in input and output.
        relu: Whether negative values become 0.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        steps: tuple[Tensor, Tensor | None],
        zeros: tuple[int, int],
        relu: bool,
    ) -> None:
        super().__init__()
        out = torch.ones(len(weight)) if steps[1] is None else steps[1]
        weight = weight * steps[0][:, None, None] / out[:, None, None, None]
        self.scale = (weight.abs().amax((1, 2, 3)) / 127).clamp(min=1e-12)
        whole = _round(weight / self.scale[:, None, None, None])
        error = (whole * self.scale[:, None, None, None] - weight).sum((2, 3)) @ (mean / steps[0])
        self.bias = (bias / out - error).contiguous()
        self.padding = [weight.shape[-1] // 2] * 2
        self.zeros, self.after = zeros, "relu" if relu else "none"
        self.dtype = torch.float32 if steps[1] is None else torch.uint8
        self.no_shift = torch.zeros(len(weight), dtype=torch.long)
        self.weight = torch.ops.onednn.qconv_prepack(
            whole.to(torch.int8).contiguous(), self.scale, 1.0, zeros[0], [1, 1], self.padding, [1, 1], 1, None
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, self.zeros[0], self.weight, self.scale, self.no_shift, self.bias, [1, 1], self.padding, [1, 1], 1,
            1.0, self.zeros[1], self.dtype, self.after, [], "",
        )  # fmt: skip
        return result


class Upsample(nn.Module):
    """``nn.ConvTranspose2d(…, 2, 2)`` of integers, joined with a skip connection, whose channels come second."""

    def __init__(self, grow: nn.ConvTranspose2d, mean: Tensor, steps: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        assert grow.bias is not None
        weight = grow.weight.permute(2, 3, 1, 0).flatten(0, 2)[:, :, None, None]  # (corner · out, in, 1, 1)
        corners = (steps[0], steps[1].repeat(4))
        self.convolution = Convolution(weight, grow.bias.repeat(4), mean, corners, (0, ZERO), False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        corners = self.convolution(x)
        count, channels, height, width = skip.shape
        shape = (count, 2 * channels, height, width)
        joined = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        for corner in range(4):
            place = joined[:, :channels, corner // 2 :: 2, corner % 2 :: 2]
            place.copy_(corners[:, corner * channels : (corner + 1) * channels])
        joined[:, channels:] = skip
        return joined


class Int8FastUNet(nn.Module):
    """A `FastUNet` in integers: the output of `geocloud.model.checkpoint.normalise` → logits, both as its own.

    Args:
        network: In evaluation mode, without ratios.
        seen: By `observe`.
        first: The type that the first convolution computes in.

    Raises:
        KeyError, ValueError, RuntimeError: ``seen`` lacks a convolution, is not finite, or is of another network.
    """

    @torch.no_grad()
    def __init__(self, network: FastUNet, seen: Seen, first: torch.dtype) -> None:
        super().__init__()
        for name, values in seen.items():
            if not values.isfinite().all():
                raise ValueError(f"{name} is not finite")
        self.stride, self.enter = network.stride, network.enter
        bottom = len(network.down) - 1
        joined = [_halves(seen[f"up.{bottom - 1 - level}.0"]) for level in range(bottom)]  # upsampled and skip
        skips = [_steps(skip, ZERO) for _, skip in joined]

        def convolve(name: str, steps: tuple[Tensor, Tensor], zeros: tuple[int, int] = (0, 0)) -> Convolution:
            block, at = name.rsplit(".", 1)
            layers = network.get_submodule(block)
            folded = fuse_conv_bn_eval(layers[int(at)], layers[int(at) + 1])  # type: ignore[index]
            return Convolution(folded.weight, folded.bias, seen[name][2], steps, zeros, True)

        self.first = fuse_conv_bn_eval(network.down[0][0], network.down[0][1])  # type: ignore[index]
        middle = _steps(seen["down.0.3"])
        self.first.weight.div_(middle[:, None, None, None])
        self.first.bias.div_(middle).add_(0.5)  # to be cut off, not rounded
        self.first.to(first, memory_format=torch.channels_last)
        self.down = nn.ModuleList([nn.Sequential(convolve("down.0.3", (middle, skips[0]), (0, ZERO)))])
        for level in range(1, bottom + 1):
            middle, last = _steps(seen[f"down.{level}.3"]), level == bottom
            out = _steps(seen["grow.0"]) if last else skips[level]
            self.down.append(
                nn.Sequential(
                    HalveByMaximum(),
                    convolve(f"down.{level}.0", (skips[level - 1], middle), (ZERO, 0)),
                    convolve(f"down.{level}.3", (middle, out), (0, 0 if last else ZERO)),
                )
            )
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for level, grow in enumerate(network.grow):
            below, middle = _steps(seen[f"grow.{level}"]), _steps(seen[f"up.{level}.3"])
            grown = _steps(joined[bottom - 1 - level][0], ZERO)
            both = torch.cat([grown, skips[bottom - 1 - level]])
            out = _steps(seen["leave.0" if level == bottom - 1 else f"grow.{level + 1}"])
            self.grow.append(Upsample(grow, seen[f"grow.{level}"][2], (below, grown)))  # type: ignore[arg-type]
            self.up.append(
                nn.Sequential(
                    convolve(f"up.{level}.0", (both, middle), (ZERO, 0)), convolve(f"up.{level}.3", (middle, out))
                )
            )
        leave = network.leave[0]
        assert isinstance(leave.bias, Tensor)
        logits = Convolution(leave.weight, leave.bias, seen["leave.0"][2], (out, None), (0, 0), False)  # type: ignore[arg-type]
        self.leave = nn.Sequential(logits, Interleave())

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x, self.first.weight.dtype)
        x = convolve_and(x, self.first, "hardtanh", 0.0, float(MOST)).to(torch.uint8)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(grow(x, skips.pop()))
        result: Tensor = self.leave(x)
        return result


def _round(weight: Tensor) -> Tensor:
    """Rounds ``(out, in, k, k)`` so that the sum over each kernel is as good as rounded, too.

    Neighbouring pixels are alike, so that it is the sum of a kernel's errors that counts: Guo et al. 2022,
    https://arxiv.org/abs/2202.07471.
    """
    nearest = weight.round()
    error = (weight - nearest).flatten(2)  # (out, in, k · k)
    more = error.sum(2, keepdim=True).round()
    rank = error.argsort(2, descending=True).argsort(2)
    flips = (rank < more).float() - (rank >= error.shape[2] + more).float()
    return (nearest + flips.view_as(weight)).clamp(-127, 127)


def _steps(seen: Tensor, zero: int = 0) -> Tensor:
    """What one integer is worth in each channel ``(channels,)`` that is seen ``(3, channels)``.

    It is the geometric mean of what the channel's own range wants and what the widest of all wants.
    """
    low, high, _ = seen
    own = torch.maximum(-low / max(zero, 1), high / (MOST - zero))
    return (own.max() * own.clamp(min=float(own.max()) * LEAST)).sqrt()


def _halves(seen: Tensor) -> tuple[Tensor, Tensor]:
    return seen[:, : seen.shape[1] // 2], seen[:, seen.shape[1] // 2 :]
