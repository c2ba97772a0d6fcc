"""Inference: reflectance → probability of cloud, on a CPU or GPU."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geocloud.errors import CheckpointError, DeviceError, OptionError
from geocloud.model import DEFAULT, ONNX, find_model
from geocloud.model.checkpoint import Checkpoint, normalise
from geocloud.model.fuse import fuse
from geocloud.model.int8 import Int8FastUNet, able
from geocloud.tiling.array import predict_image
from geocloud.tiling.gaps import fill_gaps

if TYPE_CHECKING:
    from geocloud.model.onnx import OnnxModel

log = logging.getLogger(__name__)

BATCH = {"cuda": 8, "mps": 2, "cpu": 1}
"""Tiles per batch, by type of device. On a CPU larger batches take memory and gain nothing."""

WORKERS = {"cuda": 2, "mps": 1}
"""Threads that call the model, by type of device: on a GPU one transfers data while the other computes."""

CPU_WORKERS = 8
"""Most threads on a CPU. One tile per core is faster than all cores on one tile, but each takes some 100 MB."""


class Precision(StrEnum):
    """The type of numbers that the network computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


class Predictor:
    """A model on a device. Call it with a batch of tiles, or use `predict_array` for an image of any size.

    It has the attributes of `geocloud.tiling.blend.Predict`. ``batch`` is halved when the device runs out of memory.

    Args:
        checkpoint: The model.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16, float16 or int8.
        batch: Tiles per batch; None: by device.

    Raises:
        DeviceError: This machine lacks the device or precision.
        CheckpointError: The model cannot compute in int8.
        OptionError: An unknown precision, or a batch below 1.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | OnnxModel,
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
        self.dtype = find_dtype(self.device, Precision(precision), bool(checkpoint.seen))
        self.batch = batch or BATCH.get(self.device.type, 4)
        self.name = checkpoint.name
        self.threshold = checkpoint.threshold
        self.shadow_threshold = checkpoint.shadow_threshold
        self.pixel_size = checkpoint.pixel_size
        self.optional_nir = checkpoint.optional_nir
        self.classes = checkpoint.classes
        self._threads = torch.get_num_threads()
        self.workers = WORKERS.get(self.device.type) or min(self._threads, CPU_WORKERS)
        self._turns = BoundedSemaphore(self.workers)  # scenes that share it must not compete for cores
        network = checkpoint.network()
        self.stride = int(network.stride)  # type: ignore[arg-type]
        self._network = self._for_inference(network)
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std)
        )

    def _for_inference(self, network: nn.Module) -> nn.Module:
        if self.dtype is torch.int8:
            if not self.checkpoint.seen:
                raise CheckpointError(
                    f"model {self.name!r}: cannot compute in int8, as only 'fast' networks trained since can; "
                    "leave --precision int8 out"
                )
            first = find_dtype(self.device, Precision.AUTO)
            try:
                return Int8FastUNet(network, self.checkpoint.seen, first)  # type: ignore[arg-type]
            except (KeyError, ValueError, RuntimeError) as error:
                raise CheckpointError(
                    f"model {self.name!r}: what it needs for int8 is damaged or of another network ({error}); "
                    "fetch it again, train it anew, or take another --precision"
                ) from error
        fused = fuse(network, self.device).to(self.device, self.dtype)
        return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``.

        H and W must be multiples of the network's stride. The result is meaningless where there is no data.
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
                log.warning("out of memory on %s: continuing with %d tiles at a time", self.device, self.batch)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            first += len(part)
        return np.concatenate(parts)

    def start_worker(self) -> None:
        """Call it in each of several threads that share this predictor, so that they share the cores too.

        A thread takes the process's number of threads the first time that it asks torch for anything, so it asks before
        its own is set. `torch.set_num_threads` sets that of the process too, which another thread restores.
        """
        torch.get_num_threads()
        torch.set_num_threads(max(1, self._threads // self.workers))
        restore = Thread(target=torch.set_num_threads, args=(self._threads,))
        restore.start()
        restore.join()

    @torch.inference_mode()
    def _forward(self, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        reflectance = fill_gaps(reflectance)
        # torch takes no negative strides.
        x = torch.from_numpy(reflectance if min(reflectance.strides) >= 0 else reflectance.copy())
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
        """Predicts an image of any size.

        Args:
            reflectance: ``(4, h, w)``, red, green, blue, nir, at the top of the atmosphere; NaN where there is no data.
                nir is NaN everywhere if the image has none.
            valid: ``(h, w)``, True where there is data; None: where all bands are finite.
            tile_size: Largest side of a tile in pixels; None: the fastest.
            overlap: Pixels by which tiles overlap.
            pixel_size: In metres. An image finer than 20 m is resampled to the pixel size that the model was trained
                on, and the probability back; None: no resampling.

        Returns:
            Probability ``(classes, h, w)``, NaN where there is no data.

        Raises:
            OptionError: A wrong shape, values that cannot be reflectance, or a missing near-infrared band that the
                model needs.
        """
        return predict_image(self, reflectance, valid, tile_size, overlap, pixel_size)


def load_model(
    model: str | Path = DEFAULT,
    device: str = "auto",
    precision: str = Precision.AUTO,
    batch: int | None = None,
    cloud_alone: bool = False,
) -> Predictor:
    """Loads a bundled model by its name, or any checkpoint or ONNX file by its path.

    Args:
        model: Name or path.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16, float16 or int8.
        batch: Tiles per batch; None: by device.
        cloud_alone: Whether to leave out the shadow class, which then costs nothing.

    Raises:
        GeocloudError: ModelNotFoundError, CheckpointError, DeviceError or OptionError.
    """
    path = find_model(model)
    checkpoint: Checkpoint | OnnxModel
    if path.suffix.lower() == ONNX:
        from geocloud.model.onnx import OnnxModel

        if precision not in (Precision.AUTO, Precision.FLOAT32):
            raise OptionError(f"{path}: computes in the type that the file has; leave --precision {precision} out")
        checkpoint = OnnxModel.load(path)
    else:
        checkpoint = Checkpoint.load(path)
    return Predictor(checkpoint.cloud_alone() if cloud_alone else checkpoint, device, precision, batch)


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


def find_dtype(device: torch.device, precision: Precision, quantised: bool = False) -> torch.dtype:
    """The dtype to compute in: by default the one that the device is fastest at.

    Args:
        device: The device.
        precision: The requested one.
        quantised: Whether the network can compute in int8.

    Raises:
        DeviceError: The device lacks the precision, or is bad at it.
    """
    if precision is not Precision.AUTO:
        if precision is Precision.FLOAT16 and device.type == "cpu":
            raise DeviceError("precision float16: slow and coarse on a CPU; take float32 or bfloat16")
        if precision is Precision.INT8 and not (device.type == "cpu" and able()):
            raise DeviceError(f"precision int8: wanted a CPU with VNNI or AMX, this is {device}; take auto")
        dtype: torch.dtype = getattr(torch, precision.value)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        if quantised and able():
            return torch.int8
        found = torch.cpu.get_capabilities()
        return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else torch.float32
    return torch.float32


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA raises an error of its own type; the CPU's allocator only a message, which differs between systems."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
