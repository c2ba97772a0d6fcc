"""Inference: reflectance → probability of cloud, on a CPU or GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import DependencyError, DeviceError, OptionError
from geocloud.model import DEFAULT, ONNX, find_model
from geocloud.model.checkpoint import Checkpoint
from geocloud.model.devices import DEVICES, Precision, cores, has_openvino, has_torch, may_have_gpu, nvidia_gpus
from geocloud.model.graph import can_build
from geocloud.tiling.array import predict_image

if TYPE_CHECKING:
    from geocloud.model.onnx import OnnxModel

log = logging.getLogger(__name__)


class Runner(Protocol):
    """A network on a device."""

    device: str
    """As torch calls it."""
    precision: Precision
    """What it computes in."""
    batch: int
    """Tiles per call at which it is fastest."""
    workers: int
    """Number of threads that may call it at the same time."""
    stride: int
    """Of what the height and width of tiles must be multiples."""

    def __call__(self, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``."""
        ...

    def start_worker(self) -> None:
        """Called once at the start of each of these threads."""
        ...


class Predictor:
    """A model on a device. Call it with a batch of tiles, or use `predict_array` for an image of any size.

    It has the attributes of `geocloud.tiling.model.Predict`. ``batch`` is halved when the device runs out of memory.

    Args:
        checkpoint: The model.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16, float16 or int8.
        batch: Tiles per batch; None: by device.
        threads: To compute on, on a CPU; None: one per core, or OMP_NUM_THREADS.

    Raises:
        DeviceError: This machine lacks the device or precision.
        CheckpointError: The model cannot compute in int8, or its weights are of another architecture.
        OptionError: An unknown precision, or a batch below 1.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | OnnxModel,
        device: str = "auto",
        precision: str = Precision.AUTO,
        batch: int | None = None,
        threads: int | None = None,
    ) -> None:
        if precision not in list(Precision):
            raise OptionError(f"precision {precision!r}: wanted {', '.join(Precision)}")
        if batch is not None and batch < 1:
            raise OptionError(f"batch size {batch}: wanted 1 or more")
        self.checkpoint = checkpoint
        self.name = checkpoint.name
        self.threshold = checkpoint.threshold
        self.shadow_threshold = checkpoint.shadow_threshold
        self.pixel_size = checkpoint.pixel_size
        self.optional_nir = checkpoint.optional_nir
        self.classes = checkpoint.classes
        self._runner = find_runner(checkpoint, device, Precision(precision), threads)
        self.device, self.precision = self._runner.device, self._runner.precision
        self.workers, self.stride = self._runner.workers, self._runner.stride
        self.batch = batch or self._runner.batch

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``.

        H and W must be multiples of the network's stride. The result is meaningless where there is no data.
        """
        parts, first = [], 0
        while first < len(reflectance):
            part = reflectance[first : first + self.batch]
            try:
                parts.append(self._runner(part))
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise DeviceError(
                        f"out of memory on {self.device} with a single tile; try a smaller --tile-size"
                    ) from error
                self.batch = (len(part) + 1) // 2
                log.warning("out of memory on %s: continuing with %d tiles at a time", self.device, self.batch)
                continue
            first += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def start_worker(self) -> None:
        """Call it in each of several threads that share this predictor, so that they share the cores too."""
        self._runner.start_worker()

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
            pixel_size: In metres. A finer image is averaged to the pixel size that the model was trained on, and the
                probability interpolated back; None: no resampling, as for pixels of 30 m.

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
    threads: int | None = None,
) -> Predictor:
    """Loads a bundled model by its name, or any checkpoint or ONNX file by its path.

    Args:
        model: Name or path.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16, float16 or int8.
        batch: Tiles per batch; None: by device.
        cloud_alone: Whether to leave out the shadow class, which then costs nothing.
        threads: To compute on, on a CPU; None: one per core, or OMP_NUM_THREADS.

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
    return Predictor(checkpoint.cloud_alone() if cloud_alone else checkpoint, device, precision, batch, threads)


def find_runner(
    checkpoint: Checkpoint | OnnxModel, device: str, precision: Precision, threads: int | None = None
) -> Runner:
    """What computes a model's network: torch on a GPU, OpenVINO on an x86-64 CPU, torch on any other.

    Args:
        checkpoint: The model; ONNX files are computed by ONNX Runtime.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: Its own, or auto.
        threads: To compute on, on a CPU; None: `geocloud.model.devices.cores`.

    Raises:
        GeocloudError: DeviceError, CheckpointError or DependencyError.
    """
    if not DEVICES.fullmatch(device):
        raise DeviceError(f"device {device!r}: wanted auto, cpu, cuda, cuda:N or mps")
    if not isinstance(checkpoint, Checkpoint):
        from geocloud.model.onnx import OnnxRunner

        return OnnxRunner(checkpoint, device, threads or cores())
    by_openvino = has_openvino() and can_build(checkpoint)
    if by_openvino and (device == "cpu" or (device == "auto" and not may_have_gpu())):
        if device == "auto" and not has_torch() and nvidia_gpus():
            log.warning("computing on the CPU: for the GPU that is here, run pip install 'geocloud[gpu]'")
        return _by_openvino(checkpoint, precision, threads)
    try:
        import torch
    except ImportError as error:
        what = f"device {device}" if device not in ("auto", "cpu") else f"model {checkpoint.name!r}"
        raise DependencyError(f"{what} needs torch; run pip install 'geocloud[gpu]'") from error
    from geocloud.model.torch_runner import TorchRunner, find_device

    place = find_device(device)
    if by_openvino and place.type == "cpu":
        return _by_openvino(checkpoint, precision, threads)
    if threads is not None and place.type == "cpu":
        torch.set_num_threads(threads)
    return TorchRunner(checkpoint, place, precision)


def _by_openvino(checkpoint: Checkpoint, precision: Precision, threads: int | None) -> Runner:
    from geocloud.model.openvino_runner import OpenVinoRunner

    return OpenVinoRunner(checkpoint, precision, threads or cores())


def _out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """CUDA raises an error of its own type; the CPU's allocators only a message, which differs between systems."""
    words = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)
