"""Runs a model: reflectance in, probability of cloud out, on whatever device there is."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geocloud.errors import DeviceError, OptionError
from geocloud.model import DEFAULT, find_model
from geocloud.model.checkpoint import Checkpoint, normalise
from geocloud.model.fuse import fuse
from geocloud.tiling.array import predict_image
from geocloud.tiling.gaps import fill_gaps

log = logging.getLogger(__name__)

BATCH = {"cuda": 8, "mps": 2, "cpu": 1}
"""Tiles a batch by kind of device. On a CPU more gain nothing and only take memory."""

WORKERS = {"cuda": 2, "mps": 1}
"""Threads that call the model at once, by kind of device: on a GPU one brings data while the other computes."""

CPU_WORKERS = 8
"""On a CPU a tile a core is quicker than all cores on a tile; each takes some 100 MB, so no more than this."""


class Precision(StrEnum):
    """What the network computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Predictor:
    """A model on a device. Call it with a batch of tiles, or `predict_array` with an image of any size.

    ``threshold`` and ``shadow_threshold`` are the checkpoint's own, ``pixel_size`` the metres of the pixels that it was
    trained to see (None: any), ``optional_nir`` whether near-infrared may be missing, ``classes`` how many it tells
    apart: cloud, and with two also shadow. ``batch`` is how many tiles it takes at once; it halves itself when the
    device runs out of memory. Raises DeviceError for a device or precision that is not there.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        precision: str = Precision.AUTO,
        batch: int | None = None,
    ) -> None:
        if precision not in list(Precision):
            raise OptionError(f"precision {precision!r}: wanted {', '.join(Precision)}")
        if batch is not None and batch < 1:
            raise OptionError(f"batch size {batch}: wanted 1 or more")
        self.checkpoint = checkpoint
        self.device = find_device(device)
        self.dtype = find_dtype(self.device, Precision(precision))
        self.batch = batch or BATCH.get(self.device.type, 4)
        self.name = checkpoint.name
        self.threshold = checkpoint.threshold
        self.shadow_threshold = checkpoint.shadow_threshold
        self.pixel_size = checkpoint.pixel_size
        self.optional_nir = checkpoint.optional_nir
        self.classes = checkpoint.classes
        self._threads = torch.get_num_threads()
        self.workers = WORKERS.get(self.device.type) or min(self._threads, CPU_WORKERS)
        self._turns = BoundedSemaphore(self.workers)  # scenes that share it must not fight for cores
        network = checkpoint.network()
        self.stride = int(network.stride)  # type: ignore[arg-type]
        self._network = fuse(network, self.device).to(self.device, self.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std)
        )

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``.

        H and W must be multiples of the network's stride. Where there is no data the result means nothing.
        """
        parts, first = [], 0
        while first < len(reflectance):
            part = reflectance[first : first + self.batch]
            try:
                with self._turns:
                    parts.append(self._forward(part))
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise DeviceError(
                        f"out of memory on {self.device} with a single tile; try a smaller --tile-size"
                    ) from error
                self.batch = (len(part) + 1) // 2
                log.warning("out of memory on %s: going on with %d tiles at a time", self.device, self.batch)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            first += len(part)
        return np.concatenate(parts)

    def start_worker(self) -> None:
        """To be called in each of several threads that share this predictor: they share the cores too.

        torch keeps the number for this thread, and gives it to threads that start later, too: so another thread puts
        that back.
        """
        torch.set_num_threads(max(1, self._threads // self.workers))
        restore = Thread(target=torch.set_num_threads, args=(self._threads,))
        restore.start()
        restore.join()

    @torch.inference_mode()
    def _forward(self, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        reflectance = fill_gaps(reflectance)
        x = torch.from_numpy(reflectance if min(reflectance.strides) >= 0 else reflectance.copy())  # torch has no flips
        if self.device.type == "cuda":
            x = torch.empty(x.shape, pin_memory=True).copy_(x).to(self.device, non_blocking=True)
        x = normalise(x.to(self.device), self._mean, self._std, self.checkpoint.clip, self.optional_nir)
        probability: NDArray[np.float32] = self._network(x).float().sigmoid().cpu().numpy()
        return probability

    def predict_array(
        self,
        reflectance: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        tile_size: int | None = None,
        overlap: int = 128,
        pixel_size: float | None = None,
    ) -> NDArray[np.float32]:
        """Probability ``(classes, h, w)`` for an image ``(4, h, w)`` of any size; NaN where there is no data.

        Reflectance is at the top of the atmosphere, bands red, green, blue, nir; near-infrared is NaN all over where
        there is none of it. ``pixel_size`` in metres: an image finer than 20 m is seen in pixels of the size that the
        model was trained on, and the probability brought back; None: it is seen as it is. ``valid`` is True where
        there is data; where it is None, every finite pixel is. Raises OptionError for another shape, and for values
        that cannot be reflectance.
        """
        return predict_image(self, reflectance, valid, tile_size, overlap, pixel_size)


def load_model(
    model: str | Path = DEFAULT,
    device: str = "auto",
    precision: str = Precision.AUTO,
    batch: int | None = None,
    cloud_alone: bool = False,
) -> Predictor:
    """A bundled model by its name, or any checkpoint by its path, ready to predict.

    ``cloud_alone``: without its probability of shadow, which then costs nothing.
    Raises ModelNotFoundError, CheckpointError, DeviceError, OptionError.
    """
    checkpoint = Checkpoint.load(find_model(model))
    return Predictor(checkpoint.cloud_alone() if cloud_alone else checkpoint, device, precision, batch)


def find_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda", "cuda:1" or "mps" → a device that exists. Raises DeviceError."""
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
        raise DeviceError(f"device {name!r}: this machine has none, or this torch cannot use it; try --device auto")
    return device


def find_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The type to compute in: by default bfloat16 where the device is fast at it, float32 elsewhere."""
    if precision is not Precision.AUTO:
        if precision is Precision.FLOAT16 and device.type == "cpu":
            raise DeviceError("precision float16: slow and coarse on a CPU; take float32 or bfloat16")
        dtype: torch.dtype = getattr(torch, precision.value)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32
    return torch.float32


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA says so by type; the CPU's allocator in words, others on each system."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
