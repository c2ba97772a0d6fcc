"""Trained networks in torch, for training and GPUs: weights and metadata in one safetensors file.

On a CPU they are slower than ONNX files.

safetensors holds arrays and text only: an untrusted file can be wrong, but it cannot run code.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError, DeviceError
from geocloud.models.devices import DEVICES, Precision
from geocloud.models.fast import FastUNet
from geocloud.models.metadata import KEY, ModelMetadata, read_safetensors
from geocloud.models.unet import UNet

if TYPE_CHECKING:
    from geocloud.models.predictor import Predictor

Floats = NDArray[np.float32]

NETWORKS: dict[str, Any] = {
    "fast": FastUNet,
    "unet": UNet,
    "attention-unet": lambda **options: UNet(attention=True, **options),
}
"""Constructors by name, see `geocloud.models.metadata.ARCHITECTURES`; they return networks with random weights."""

BATCH, WORKERS = {"cuda": 8, "mps": 2}, {"cuda": 2}
"""Tiles per batch, and threads that call the model, by type of device; 1 on others. On a GPU one thread transfers data
while the other computes."""


class Network(nn.Module):
    """A trained network with its metadata, in evaluation mode: reflectance → probability.

    Raises CheckpointError if the metadata do not fit ``body``, a network of `NETWORKS`.
    """

    def __init__(self, metadata: ModelMetadata, body: nn.Module) -> None:
        super().__init__()
        if metadata.bands != BANDS or not metadata.mean or metadata.input != "reflectance":
            raise CheckpointError(
                f"model {metadata.name!r}: wanted reflectance of bands {list(BANDS)}, with mean and std; "
                f"found {metadata.input} {list(metadata.bands)}"
            )
        for name, default in (("classes", 1), ("optional_nir", False)):
            if metadata.options.get(name, default) != getattr(metadata, name):
                raise CheckpointError(f"model {metadata.name!r}: its options and its metadata differ in {name}")
        self.metadata, self.body = metadata, body
        self.eval()

    def forward(self, reflectance: Tensor) -> Tensor:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``, float32."""
        metadata = self.metadata
        x = prepare(reflectance, metadata.mean, metadata.std, metadata.clip, metadata.optional_nir)
        probability: Tensor = self.body(x).float().sigmoid()
        return probability

    def folded(self) -> Network:
        """The same network with layers merged where that makes ONNX files faster."""
        return Network(self.metadata, self.body.folded() if isinstance(self.body, FastUNet) else self.body)

    def save(self, path: Path) -> None:
        """Writes weights and metadata to a safetensors file."""
        from safetensors.torch import save_file

        weights = {name: value.detach().cpu().contiguous() for name, value in self.body.state_dict().items()}
        metadata = replace(self.metadata, sha256=digest(weights))
        save_file(weights, path, metadata={KEY: metadata.to_json()})
        path.chmod(0o644)  # safetensors creates it readable by its owner only

    @classmethod
    def load(cls, path: Path) -> Network:
        """Reads a file that `save` wrote. Raises ModelNotFoundError or CheckpointError."""
        from safetensors.torch import load_file

        metadata = read_safetensors(path)
        try:
            weights = load_file(path)
        except Exception as error:  # the header was readable: the rest does not match it
            raise CheckpointError(f"{path}: damaged, its weights cannot be read ({error}); fetch it again") from error
        if metadata.sha256 not in ("", digest(weights)):
            raise CheckpointError(f"{path}: damaged or tampered with, its weights are not those it was saved with")
        return cls(metadata, load_body(metadata, weights))


def build_body(architecture: str, **options: Any) -> nn.Module:
    """A network with random weights. Raises CheckpointError for an unknown name or option."""
    if architecture not in NETWORKS:
        raise CheckpointError(f"no architecture {architecture!r}: wanted one of {', '.join(NETWORKS)}")
    try:
        body: nn.Module = NETWORKS[architecture](**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"architecture {architecture!r} cannot be built with {options}: {error}") from error
    return body


def load_body(metadata: ModelMetadata, weights: Mapping[str, Tensor]) -> nn.Module:
    """A network with these weights, in float32 on the CPU. Raises CheckpointError if they do not fit."""
    body = build_body(metadata.architecture, **metadata.options)
    try:
        body.load_state_dict(weights)
    except RuntimeError as error:
        problem = f"the weights do not fit {metadata.architecture!r}: {str(error).splitlines()[-1].strip()}"
        raise CheckpointError(f"model {metadata.name!r}: {problem}") from error
    return body


def digest(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of weights: names, dtypes, shapes and bytes, ordered by name."""
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().cpu().contiguous()
        sha256.update(f"{name} {weight.dtype} {tuple(weight.shape)} ".encode())
        sha256.update(weight.numpy().tobytes())
    return sha256.hexdigest()


def prepare(
    reflectance: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    clip: float | None = None,
    optional_nir: bool = False,
) -> Tensor:
    """Normalised reflectance and, if ``optional_nir``, a channel that marks images without near-infrared.

    Pixels without data, NaN in any band, are filled with each band's mean over the rest of the tile: a constant would
    make a bright edge beside the sea and a dark edge beside snow.

    ``(N, 4, H, W)``, NaN where there is no data, becomes (min(reflectance, clip) − mean) / std. If ``optional_nir``,
    near-infrared may be NaN over a whole image: red replaces it, and a fifth channel is 1 over such images, else 0.
    """
    # Band by band, concatenated at the end: in OpenVINO a pass over all bands takes longer than the arithmetic.
    bands, flag = list(torch.split(reflectance, 1, 1)), []  # (N, 1, H, W) each
    if optional_nir:
        no_nir = bands[3].isnan().to(reflectance.dtype).amin((2, 3), keepdim=True)
        bands[3] = torch.where(no_nir > 0.5, bands[0], bands[3])
        flag = [no_nir.expand_as(bands[0])]
    missing = (bands[0] + bands[1] + bands[2] + bands[3]).isnan()
    gaps = missing.to(reflectance.dtype)
    count = (1 - gaps).sum((2, 3), keepdim=True).clamp(min=1)
    for index, band in enumerate(bands):
        x = ((band if clip is None else band.clamp(max=clip)) - mean[index]) / std[index]
        x = torch.where(missing, 0.0, x)
        bands[index] = x + gaps * (x.sum((2, 3), keepdim=True) / count)
    return torch.cat([*bands, *flag], 1)


def by_torch(network: Network, device: str = "auto", precision: str = Precision.AUTO) -> Predictor:
    """A predictor that runs a network in torch. Raises DeviceError if this machine lacks the device or precision."""
    from geocloud.models.predictor import Predictor  # loads rasterio, which the network itself does not need

    place = find_device(device)
    dtype = find_dtype(place, Precision(precision))
    network = copy.deepcopy(network).to(place)
    network.body.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    workers = WORKERS.get(place.type, 1)
    return Predictor(
        partial(_predict, network, place, BoundedSemaphore(workers)),
        network.metadata,
        device=str(place),
        precision=Precision(str(dtype).removeprefix("torch.")),
        batch=BATCH.get(place.type, 1),
        workers=workers,
    )


@torch.inference_mode()
def _predict(network: Network, place: torch.device, turns: BoundedSemaphore, reflectance: Floats) -> Floats:
    """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``.

    ``turns`` keeps scenes that share the network from competing for memory.
    """
    with turns:
        x = torch.from_numpy(np.ascontiguousarray(reflectance))  # torch takes no negative strides
        if place.type == "cuda":
            x = torch.empty(x.shape, pin_memory=True).copy_(x).to(place, non_blocking=True)
        try:
            probability: Floats = network(x.to(place)).cpu().numpy()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise
    return probability


def find_device(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda, cuda:N or mps. Raises DeviceError if this machine lacks it."""
    if not DEVICES.fullmatch(name):
        raise DeviceError(f"device {name!r}: wanted auto, cpu, cuda, cuda:N or mps")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            f"device {name!r}: this machine has none, or torch cannot use it; try ComputeOptions(device='auto')"
        ) from error
    return torch.device(name)


def find_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The dtype for a precision; auto: the fastest on the device. Raises DeviceError if the device is unsuitable."""
    if precision is Precision.INT8:
        raise DeviceError(f"precision int8: wanted a CPU and a model file in 8-bit integers, this is {device}")
    if precision is Precision.FLOAT16 and device.type == "cpu":
        raise DeviceError("precision float16: slow and coarse on a CPU; take float32 or bfloat16")
    if precision is not Precision.AUTO:
        dtype: torch.dtype = getattr(torch, precision.value)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32
