"""Networks computed by torch, on GPUs; on a CPU they are slower than ONNX files, and need torch."""

from __future__ import annotations

import copy
from threading import BoundedSemaphore

import numpy as np
import torch
from numpy.typing import NDArray

from geocloud.errors import DeviceError
from geocloud.models.devices import DEVICES, Precision
from geocloud.models.network import Network

BATCH = {"cuda": 8, "mps": 2}
"""Tiles per batch, by type of device; 1 on others."""

WORKERS = {"cuda": 2}
"""Threads that call the model, by type of device; 1 on others. On a GPU one transfers data while the other computes."""


class TorchRuntime:
    """A network on a device, as `geocloud.models.predictor.Runtime`. Raises DeviceError if it lacks the precision."""

    def __init__(self, network: Network, device: torch.device, precision: Precision) -> None:
        self.metadata = network.metadata
        self._place, dtype = device, find_dtype(device, precision)
        self.device, self.precision = str(device), Precision(str(dtype).removeprefix("torch."))
        self.batch, self.workers = BATCH.get(device.type, 1), WORKERS.get(device.type, 1)
        self._turns = BoundedSemaphore(self.workers)  # scenes that share it must not compete for memory
        self._network = copy.deepcopy(network).to(device)
        self._network.body.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._turns:
            x = torch.from_numpy(np.ascontiguousarray(reflectance))  # torch takes no negative strides
            if self._place.type == "cuda":
                x = torch.empty(x.shape, pin_memory=True).copy_(x).to(self._place, non_blocking=True)
            try:
                probability: NDArray[np.float32] = self._network(x.to(self._place)).cpu().numpy()
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                raise
        return probability


def find_device(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:N or mps. Raises DeviceError if this machine lacks it."""
    if not DEVICES.fullmatch(name):
        raise DeviceError(f"device {name!r}: wanted auto, cpu, cuda, cuda:N or mps")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            f"device {name!r}: this machine has none, or torch cannot use it; try --device auto"
        ) from error
    return torch.device(name)


def find_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The dtype of a precision; auto: the one that the device is fastest at. Raises DeviceError if it is bad at it."""
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
