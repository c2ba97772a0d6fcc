"""The arithmetic of 8-bit networks: what an integer is worth in each channel, and how weights become integers.

What passes between two convolutions is uint8, and weights are 7-bit integers with a scale for each output channel. Two
products of such numbers fit into 16 bits, so that any x86 CPU sums them exactly, also one that adds pairs in 16 bits;
the eighth bit of weights gains nothing that can be measured.

A channel's range is what the network's convolutions see in images that it was trained on (`geocloud.training.observe`),
kept in the checkpoint. Wide and narrow channels are brought closer together by scaling the weights before and after
them, and biases make up for the mean error of rounded weights: Nagel et al. 2019, https://arxiv.org/abs/1906.04721.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOST = 255
"""Highest of the integers that pass between convolutions."""

MOST_WEIGHT = 63
"""Highest of the integers that weights become."""

ZERO = 64
"""The integer that stands for 0 in skip connections, which are joined with upsampled values, some below 0."""

LEAST = 1e-3
"""Least range of a channel, as a share of the widest of its layer: some channels are never active."""


@dataclass(frozen=True, slots=True)
class Coding:
    """How the channels of a layer are coded as integers: value = (integer − zero) · step."""

    steps: Floats
    """What one integer is worth in each channel ``(channels,)``."""
    zero: int = 0
    """The integer that stands for 0."""

    @classmethod
    def of(cls, seen: Floats, zero: int = 0) -> Coding:
        """The coding of channels whose lowest, highest and mean values are ``seen`` ``(3, channels)``.

        A step is the geometric mean of what the channel's own range wants and what the widest of all wants.
        """
        low, high, _ = seen
        own = np.maximum(-low / max(zero, 1), high / (MOST - zero))
        return cls(np.sqrt(own.max() * np.maximum(own, own.max() * LEAST)), zero)

    def __add__(self, other: Coding) -> Coding:
        """The coding of two layers with the same zero, joined channel by channel."""
        assert self.zero == other.zero
        return Coding(np.concatenate([self.steps, other.steps]), self.zero)


@dataclass(frozen=True, slots=True)
class Whole:
    """A convolution between coded layers, in steps of its input and output."""

    weight: NDArray[np.int8]
    """``(out, in, k, k)``"""
    scale: Floats
    """What one integer of ``weight`` is worth in each output channel ``(out,)``."""
    bias: Floats
    """``(out,)``, in steps of the output."""


def quantise(
    weight: Floats, bias: Floats, mean: Floats, steps: Floats, out: Floats | None, transposed: bool = False
) -> Whole:
    """A convolution with weights that are integers.

    Args:
        weight: ``(out, in, k, k)``, between real values.
        bias: ``(out,)``.
        mean: Mean of the input's channels ``(in,)``, real values.
        steps: Of the input's coding ``(in,)``.
        out: Of the output's coding ``(out,)``; None: the output is real.
        transposed: Whether it is a transposed convolution with a stride of k: each pixel sees one of the k · k weights.
    """
    worth = np.ones(len(weight), "float32") if out is None else out
    wanted = weight * steps[:, None, None] / worth[:, None, None, None]
    scale = np.maximum(np.abs(wanted).max((1, 2, 3)) / MOST_WEIGHT, 1e-12)
    exact = wanted / scale[:, None, None, None]
    whole = np.round(exact) if transposed else _round(exact)
    error = whole * scale[:, None, None, None] - wanted
    error = (error.mean((2, 3)) if transposed else error.sum((2, 3))) @ (mean / steps)
    return Whole(whole.astype("int8"), scale, bias / worth - error)


def _round(weight: Floats) -> Floats:
    """Rounds ``(out, in, k, k)`` so that the sum over each kernel is as good as rounded, too.

    Neighbouring pixels are alike, so that it is the sum of a kernel's errors that counts: Guo et al. 2022,
    https://arxiv.org/abs/2202.07471.
    """
    nearest = np.round(weight)
    error = (weight - nearest).reshape(*weight.shape[:2], -1)  # (out, in, k · k)
    more = np.round(error.sum(2, keepdims=True))
    rank = np.argsort(np.argsort(-error, 2, kind="stable"), 2)
    flips = (rank < more).astype("float32") - (rank >= error.shape[2] + more)
    rounded: Floats = np.clip(nearest + flips.reshape(weight.shape), -MOST_WEIGHT, MOST_WEIGHT)
    return rounded
