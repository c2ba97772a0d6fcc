"""Networks computed by torch: on GPUs, and on CPUs without OpenVINO."""

from __future__ import annotations

from threading import BoundedSemaphore, Thread

import numpy as np
import torch
from numpy.typing import NDArray

from geocloud.errors import DeviceError
from geocloud.model.checkpoint import Checkpoint
from geocloud.model.devices import MOST_WORKERS, Precision
from geocloud.model.fuse import fuse
from geocloud.model.networks import load_network
from geocloud.model.normalise import normalise
from geocloud.tiling.gaps import fill_gaps

BATCH = {"cuda": 8, "mps": 2, "cpu": 1}
"""Tiles per batch, by type of device. On a CPU larger batches take memory and gain nothing."""

WORKERS = {"cuda": 2, "mps": 1}
"""Threads that call the model, by type of device: on a GPU one transfers data while the other computes."""


class TorchRunner:
    """A model's network on a device, as `geocloud.predict.Runner`.

    Args:
        checkpoint: The model.
        device: By `find_device`.
        precision: Its own, or auto: that which the device is fastest at.

    Raises:
        DeviceError: The device lacks the precision.
        CheckpointError: The weights do not fit its architecture.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: Precision) -> None:
        self._place, self._dtype = device, find_dtype(device, precision)
        self.device, self.precision = str(device), Precision(str(self._dtype).removeprefix("torch."))
        self.batch = BATCH.get(device.type, 4)
        self._threads = torch.get_num_threads()
        self.workers = WORKERS.get(device.type) or min(self._threads, MOST_WORKERS)
        self._turns = BoundedSemaphore(self.workers)  # scenes that share it must not compete for cores
        network = load_network(checkpoint)
        self.stride = int(network.stride)  # type: ignore[arg-type]
        self._network = fuse(network).to(device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._clip, self._optional_nir = checkpoint.clip, checkpoint.optional_nir
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std)
        )

    def start_worker(self) -> None:
        """Makes a thread use its share of the cores.

        A thread takes the process's number of threads the first time that it asks torch for anything, so it asks before
        its own is set. `torch.set_num_threads` sets that of the process too, which another thread restores.
        """
        torch.get_num_threads()
        torch.set_num_threads(max(1, self._threads // self.workers))
        restore = Thread(target=torch.set_num_threads, args=(self._threads,))
        restore.start()
        restore.join()

    @torch.inference_mode()
    def __call__(self, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``."""
        reflectance = fill_gaps(reflectance)
        with self._turns:
            # torch takes no negative strides.
            x = torch.from_numpy(reflectance if min(reflectance.strides) >= 0 else reflectance.copy())
            if self._place.type == "cuda":
                x = torch.empty(x.shape, pin_memory=True).copy_(x).to(self._place, non_blocking=True)
            x = normalise(x.to(self._place), self._mean, self._std, self._clip, self._optional_nir)
            try:
                probability: NDArray[np.float32] = self._network(x).float().sigmoid().cpu().numpy()
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                raise
        return probability


def find_device(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:N or mps. Raises DeviceError if this machine lacks it."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r}: wanted auto, cpu, cuda, cuda:N or mps") from error
    there = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise DeviceError(f"device {name!r}: this machine has none, or torch cannot use it; try --device auto")
    return device


def find_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The dtype to compute in: by default the one that the device is fastest at.

    Raises DeviceError if the device lacks the precision, or is bad at it.
    """
    if precision is Precision.INT8:
        raise DeviceError(f"precision int8: wanted an x86-64 CPU with OpenVINO, this is {device}; take auto")
    if precision is Precision.FLOAT16 and device.type == "cpu":
        raise DeviceError("precision float16: slow and coarse on a CPU; take float32 or bfloat16")
    if precision is not Precision.AUTO:
        dtype: torch.dtype = getattr(torch, precision.value)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else torch.float32
    return torch.float32
