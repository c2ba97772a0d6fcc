"""The networks as graphs that OpenVINO computes on a CPU, in floating point or in 8-bit integers.

They are those of `geocloud.model.fast` and `geocloud.model.unet`, layer by layer, with batch norms folded into the
convolutions before them, `normalise` at the beginning and a sigmoid at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geocloud.bands import BANDS
from geocloud.model.quantise import MOST, ZERO, Coding, Floats, quantise

if TYPE_CHECKING:
    from geocloud.model.checkpoint import Checkpoint

OPTIONS = {"bands", "width", "levels", "widest", "classes", "optional_nir", "ratios", "black", "attention"}
"""Of networks that are known here; any other may change what they compute."""

UNUSED = ".num_batches_tracked"
"""What names of weights end with that only training needs."""

NORM_EPSILON = 1e-5
"""`torch.nn.BatchNorm2d`'s."""


@dataclass(frozen=True, slots=True)
class Value:
    """What passes between two layers ``(N, channels, H, W)``."""

    node: Any
    coding: Coding | None = None
    """None: real values."""


def can_build(checkpoint: Checkpoint) -> bool:
    """Whether a network is one that can be built here: any but those with band ratios, of models before 0.2."""
    return not checkpoint.options.get("ratios", False) and checkpoint.options.keys() <= OPTIONS


def build(checkpoint: Checkpoint, integers: bool, without_nir: bool) -> Any:
    """The graph (``openvino.Model``) of a checkpoint.

    Its input is reflectance ``(N, 4, H, W)``, complete as by `geocloud.model.complete`, its output probability
    ``(N, classes, H, W)``. H and W are multiples of `stride`.

    Args:
        checkpoint: For which `can_build` holds.
        integers: Whether to compute in 8-bit integers, but for the first two convolutions: reflectance needs more.
        without_nir: Whether it is for images without near-infrared.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: The weights, options or ``seen`` are of another network.
    """
    import openvino
    from openvino import opset13 as op

    reflectance = op.parameter([-1, len(BANDS), -1, -1], np.float32, name="reflectance")
    layers = Integers(checkpoint) if integers else BandStack(checkpoint)
    mean, std = (np.reshape(values, (1, -1, 1, 1)) for values in (checkpoint.mean, checkpoint.std))
    x = reflectance if checkpoint.clip is None else op.minimum(reflectance, _constant(checkpoint.clip))
    x = op.multiply(op.subtract(x, _constant(mean)), _constant(1 / std))
    logits = (_fast if checkpoint.architecture == "fast" else _unet)(layers, x, checkpoint, without_nir)
    if layers.left:
        raise ValueError(f"unexpected {', '.join(sorted(layers.left))}")
    model = openvino.Model([op.sigmoid(logits)], [reflectance], checkpoint.name)
    if (classes := model.output(0).partial_shape[1].get_length()) != checkpoint.classes:
        raise ValueError(f"{classes} classes, and {checkpoint.classes} are said")
    return model


def stride(checkpoint: Checkpoint) -> int:
    """Of what H and W must be multiples."""
    return int(2 ** checkpoint.options.get("levels", 4)) if checkpoint.architecture == "fast" else 8


class BandStack:
    """The layers of a network in floating point. Weights are named as in the network's state dict."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from openvino import opset13

        self.op: Any = opset13
        self.weights = checkpoint.weights
        self.left = {name for name in self.weights if not name.endswith(UNUSED)}

    def weight(self, name: str) -> Floats:
        """By its name. Raises KeyError."""
        self.left.discard(name)
        return self.weights[name].astype("float32")

    def enter(self, x: Any, name: str, halved: bool, without_nir: bool) -> Value:
        """The first convolution, the batch norm after it, and a ReLU.

        Args:
            x: Normalised reflectance.
            name: The convolution. Its last channel, if it has one more than the bands, is 1 over images without
                near-infrared, else 0.
            halved: Whether it comes after a space-to-depth, 2×2 pixels to one; both are computed at once.
            without_nir: Whether the image has no near-infrared.
        """
        weight, bias = self.folded(name)
        count = len(BANDS) * (4 if halved else 1)
        image, flag = weight[:, :count], weight[:, count:]
        if not halved:
            found = self.filter(x, _constant(image))
        else:  # (out, band · row · col, k, k) → (out, band, k · row, k · col), at every second pixel
            out, _, k, _ = image.shape
            image = image.reshape(out, -1, 2, 2, k, k).transpose(0, 1, 4, 2, 5, 3).reshape(out, -1, 2 * k, 2 * k)
            around = [k // 2 * 2] * 2
            found = self.op.convolution(x, _constant(image), [2, 2], around, around, [1, 1])
        if without_nir and flag.size:
            n, height, width = (self.op.gather(self.op.shape_of(found), [at], 0) for at in (0, 2, 3))
            shape = self.op.concat([n, self.op.constant([1], np.int64), height, width], 0)
            found = self.op.add(found, self.filter(self.op.broadcast(_constant(1), shape), _constant(flag)))
        return Value(self.op.relu(self.add(found, bias)))

    def convolve(self, x: Value, name: str, reader: str, part: int | None = None) -> Value:
        """A 'same' convolution, the batch norm after it, and a ReLU.

        Args:
            x: The input.
            name: The convolution.
            reader: The one that sees the result.
            part: Which half of its channels the result is, if it is joined with another; None: all.
        """
        weight, bias = self.folded(name)
        return Value(self.op.relu(self.add(self.filter(x.node, _constant(weight)), bias)))

    def grow(self, x: Value, name: str, reader: str) -> Value:
        """``nn.ConvTranspose2d(…, 2, 2)``; the result is the first half of the channels that ``reader`` sees."""
        grown = self.op.convolution_backprop_data(x.node, _constant(self.weight(f"{name}.weight")), [2, 2])
        return Value(self.add(grown, self.weight(f"{name}.bias")))

    def finish(self, x: Value, name: str) -> Any:
        """A convolution alone, whose results are real."""
        return self.add(self.filter(x.node, _constant(self.weight(f"{name}.weight"))), self.weight(f"{name}.bias"))

    def attend(self, skip: Value, gate: Value, name: str) -> Value:
        """`geocloud.model.unet.AttentionGate`."""
        both = []
        for value, part in ((skip, "from_skip"), (gate, "from_gate")):
            weight, bias = self.folded(f"{name}.{part}.0")
            both.append(self.add(self.filter(value.node, _constant(weight)), bias))
        weight = self.finish(Value(self.op.relu(self.op.add(*both))), f"{name}.attend.0")
        return Value(self.op.multiply(skip.node, self.op.sigmoid(weight)))

    def join(self, one: Value, other: Value) -> Value:
        """The channels of both."""
        coding = one.coding + other.coding if one.coding and other.coding else None
        return Value(self.op.concat([one.node, other.node], 1), coding)

    def halve(self, x: Value) -> Value:
        """``nn.MaxPool2d(2)``."""
        return Value(self.op.max_pool(x.node, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0), x.coding)

    def folded(self, name: str) -> tuple[Floats, Floats]:
        """Weight and bias of a convolution with the batch norm after it."""
        block, at = name.rsplit(".", 1)
        norm = f"{block}.{int(at) + 1}"
        factor = self.weight(f"{norm}.weight") / np.sqrt(self.weight(f"{norm}.running_var") + NORM_EPSILON)
        bias = self.weight(f"{norm}.bias") - self.weight(f"{norm}.running_mean") * factor
        return self.weight(f"{name}.weight") * factor[:, None, None, None], bias

    def filter(self, node: Any, weight: Any) -> Any:
        """A convolution without bias, whose output has the input's size."""
        around = [weight.shape[-1] // 2] * 2
        return self.op.convolution(node, weight, [1, 1], around, around, [1, 1])

    def add(self, node: Any, bias: Floats) -> Any:
        """The values of a layer and a bias for each channel."""
        return self.op.add(node, _constant(bias[None, :, None, None]))


class Integers(BandStack):
    """The layers of a `geocloud.model.fast.FastUNet` of several levels, in 8-bit integers but for the first block."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.seen = {name: np.asarray(values, "float32") for name, values in checkpoint.seen.items()}
        for name, values in self.seen.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} is not finite")

    def coding(self, reader: str, part: int | None = None) -> Coding:
        """Of what a convolution sees."""
        seen = self.seen[reader]
        return Coding.of(seen) if part is None else Coding.of(np.split(seen, 2, 1)[part], ZERO)

    def convolve(self, x: Value, name: str, reader: str, part: int | None = None) -> Value:
        coding = self.coding(reader, part)
        if x.coding is None:
            return self.code(super().convolve(x, name, reader, part).node, coding, coding.steps[None, :, None, None])
        weight, bias = self.folded(name)
        whole = quantise(weight, bias, self.seen[name][2], x.coding.steps, coding.steps)
        weighted = self.filter(x.node, self.real(whole.weight, whole.scale[:, None, None, None]))
        return self.code(self.op.relu(self.add(weighted, whole.bias)), coding)

    def grow(self, x: Value, name: str, reader: str) -> Value:
        assert x.coding is not None
        weight, bias = self.weight(f"{name}.weight").swapaxes(0, 1), self.weight(f"{name}.bias")
        coding = self.coding(reader, 0)
        whole = quantise(weight, bias, self.seen[name][2], x.coding.steps, coding.steps, transposed=True)
        kernel = self.real(whole.weight.swapaxes(0, 1), whole.scale[:, None, None])
        return self.code(self.add(self.op.convolution_backprop_data(x.node, kernel, [2, 2]), whole.bias), coding)

    def finish(self, x: Value, name: str) -> Any:
        assert x.coding is not None
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        whole = quantise(weight, bias, self.seen[name][2], x.coding.steps, None)
        return self.add(self.filter(x.node, self.real(whole.weight, whole.scale[:, None, None, None])), whole.bias)

    def code(self, node: Any, coding: Coding, steps: Any = 1) -> Value:
        """Values in units of ``steps`` as integers of a coding, rounded and cut off."""
        low, high = -coding.zero, MOST - coding.zero
        limits = (_constant(low * steps), _constant(high * steps), _constant(low), _constant(high))
        return Value(self.op.fake_quantize(node, *limits, MOST + 1), coding)

    def real(self, weight: NDArray[np.int8], scale: Floats) -> Any:
        """Integers as the weights they stand for; OpenVINO computes with the integers."""
        return self.op.multiply(
            self.op.convert(self.op.constant(np.ascontiguousarray(weight)), np.float32), _constant(scale)
        )


def _fast(layers: BandStack, x: Any, checkpoint: Checkpoint, without_nir: bool) -> Any:
    """`geocloud.model.fast.FastUNet`: normalised reflectance → logits."""
    from openvino import opset13 as op

    value = layers.enter(x, "down.0.0", True, without_nir)
    skips: list[Value] = []
    bottom = int(checkpoint.options.get("levels", 4)) - 1
    for level in range(bottom):
        skips.append(layers.convolve(value, f"down.{level}.3", f"up.{bottom - 1 - level}.0", 1))
        value = layers.convolve(layers.halve(skips[-1]), f"down.{level + 1}.0", f"down.{level + 1}.3")
    value = layers.convolve(value, f"down.{bottom}.3", "grow.0")
    for level in range(bottom):
        value = layers.join(layers.grow(value, f"grow.{level}", f"up.{level}.0"), skips.pop())
        value = layers.convolve(value, f"up.{level}.0", f"up.{level}.3")
        value = layers.convolve(value, f"up.{level}.3", f"grow.{level + 1}" if level + 1 < bottom else "leave.0")
    return op.depth_to_space(layers.finish(value, "leave.0"), "depth_first", 2)


def _unet(layers: BandStack, x: Any, checkpoint: Checkpoint, without_nir: bool) -> Any:
    """`geocloud.model.unet.UNet`, with its gates or without: normalised reflectance → logits."""
    value = layers.enter(x, "contract1.0", False, without_nir)
    skips: list[Value] = []
    for block, following in pairwise(["contract1", "contract2", "contract3", "expand3"]):
        skips.append(layers.halve(layers.convolve(value, f"{block}.3", f"{following}.0")))
        value = layers.convolve(skips[-1], f"{following}.0", f"{following}.3")
    skips.pop()
    for level in (3, 2, 1):
        value = layers.convolve(value, f"expand{level}.3", f"expand{level}.6")
        value = layers.grow(value, f"expand{level}.6", "")
        if level > 1:
            skip = skips.pop()
            if checkpoint.architecture == "attention-unet":
                skip = layers.attend(skip, value, f"gate{level - 1}")
            value = layers.convolve(layers.join(value, skip), f"expand{level - 1}.0", f"expand{level - 1}.3")
    return layers.finish(value, "head")


def _constant(values: Any) -> Any:
    from openvino import opset13 as op

    return op.constant(np.ascontiguousarray(values, "float32"))
