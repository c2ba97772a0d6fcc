"""Prediction: reflectance → probability of cloud, on a CPU or GPU."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import DependencyError, DeviceError, OptionError
from geocloud.models import DEFAULT, ONNX, SAFETENSORS, find_model
from geocloud.models.devices import DEVICES, Precision, cores, has_torch, may_have_gpu, nvidia_gpus
from geocloud.models.metadata import ModelMetadata
from geocloud.options import MaskOptions
from geocloud.raster import Raster
from geocloud.tiling.mosaic import fill_gaps, predict_raster

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Function = Callable[[Floats], Floats]
"""Reflectance ``(N, 4, H, W)``, NaN where there is no data → probability of cloud ``(N, H, W)``, or of cloud and other
classes ``(N, classes, H, W)``."""

OUT_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory|bad_alloc")


class Predictor:
    """A network with its metadata, callable on tiles and images.

    Call it with a batch of tiles, or use `predict_array` for an image of any size. It has the attributes of
    `geocloud.tiling.tiles.Predict`. ``batch`` is halved when the device runs out of memory.

    Args:
        function: Any function from reflectance ``(N, 4, H, W)``, NaN where there is no data, to the probability of
            cloud ``(N, H, W)``, or of cloud and other classes ``(N, classes, H, W)``.
        metadata: The model's metadata; None: cloud is the only class, and near-infrared may be missing.
        device: Name of the device that computes.
        precision: Data type in which it computes.
        batch: Tiles per call of the function.
        workers: Number of threads that may call the function at the same time.

    Raises:
        OptionError: ``batch`` or ``workers`` is below 1.
    """

    def __init__(
        self,
        function: Function,
        metadata: ModelMetadata | None = None,
        *,
        device: str = "cpu",
        precision: Precision = Precision.FLOAT32,
        batch: int = 4,
        workers: int = 1,
    ) -> None:
        if batch < 1 or workers < 1:
            raise OptionError(f"batch {batch}, workers {workers}: wanted 1 or more")
        self.metadata = facts = metadata or ModelMetadata(optional_nir=True)
        self.name, self.classes, self.pixel_size = facts.name, facts.classes, facts.pixel_size
        self.threshold, self.shadow_threshold = facts.threshold, facts.shadow_threshold
        self.optional_nir = facts.optional_nir or "nir" not in facts.bands
        self.device, self.precision, self.batch, self.workers = device, precision, batch, workers
        self._function = function

    def __call__(self, reflectance: Floats, /) -> Floats:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``.

        H and W must be multiples of 32. The result is meaningless where there is no data.
        """
        reflectance, parts, first = fill_gaps(reflectance), [], 0
        while first < len(reflectance):
            part = reflectance[first : first + self.batch]
            try:
                probability = np.array(self._function(part), "float32")  # a copy: a function may reuse its result
                parts.append(probability if probability.ndim == 4 else probability[:, None])
                first += len(part)
            except (RuntimeError, MemoryError) as error:
                # CUDA raises its own type of error; the message of a CPU's allocator differs between systems.
                if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
                    raise
                if len(part) == 1:
                    raise DeviceError(
                        f"out of memory on {self.device} with a single tile; try a smaller MaskOptions(tile_size=…)"
                    ) from error
                self.batch = (len(part) + 1) // 2
                log.warning("out of memory on %s: continuing with %d tiles at a time", self.device, self.batch)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def predict_array(
        self,
        reflectance: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        tile_size: int | None = None,
        overlap: int = 128,
        pixel_size: float | None = None,
    ) -> Floats:
        """Predicts an image of any size.

        Args:
            reflectance: ``(4, h, w)``, red, green, blue, nir, at the top of the atmosphere; NaN where there is no data.
                nir is NaN everywhere if the image has none.
            valid: ``(h, w)``, True where there is data; None: where all bands are finite.
            tile_size: Largest side of a tile in pixels; None: the fastest.
            overlap: Pixels by which tiles overlap.
            pixel_size: Pixel size in metres. Images finer than the model's training data are averaged to its pixel
                size, and the probability is interpolated back. None: no resampling.

        Returns:
            Probability ``(classes, h, w)``, NaN where there is no data.

        Raises:
            OptionError: The shape is wrong, the values cannot be reflectance, or a near-infrared band that the
                model needs is missing.
        """
        raster = Raster.from_array(reflectance, valid, pixel_size)
        return predict_raster(self, raster, MaskOptions(tile_size=tile_size, overlap=overlap))


def load_model(
    model: str | Path = DEFAULT,
    device: str = "auto",
    precision: str = Precision.AUTO,
    batch: int | None = None,
    threads: int | None = None,
) -> Predictor:
    """Loads a bundled model by its name, or any ONNX or safetensors file by its path.

    OpenVINO runs ONNX files on the CPU. torch runs safetensors files. On a GPU, or in a precision that an ONNX file
    lacks, torch runs the safetensors file beside it.

    Args:
        model: Name or path.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16, float16 or int8.
        batch: Tiles per batch; None: the default of the device.
        threads: Number of threads on a CPU; None: OMP_NUM_THREADS, or one per core.

    Raises:
        GeocloudError: ModelNotFoundError, CheckpointError, DeviceError, DependencyError or OptionError.
    """
    if precision not in list(Precision):
        raise OptionError(f"precision {precision!r}: wanted {', '.join(Precision)}")
    if not DEVICES.fullmatch(device):
        raise DeviceError(f"device {device!r}: wanted auto, cpu, cuda, cuda:N or mps")
    if batch is not None and batch < 1:
        raise OptionError(f"batch size {batch}: wanted 1 or more")
    predictor = _load(find_model(model), device, Precision(precision), threads or cores())
    predictor.batch = batch or predictor.batch
    return predictor


def _load(path: Path, device: str, precision: Precision, threads: int) -> Predictor:
    is_onnx, wants_gpu = path.suffix.lower() == ONNX, device not in ("auto", "cpu")
    weights = path.with_suffix(SAFETENSORS) if is_onnx else path
    if is_onnx and not (weights.is_file() and (wants_gpu or (device == "auto" and may_have_gpu()))):
        from geocloud.models.runtime import open_onnx

        if wants_gpu:
            log.warning("%s: the CPU computes, as no %s lies beside it", path, weights.name)
        elif device == "auto" and not has_torch() and nvidia_gpus():
            log.warning("computing on the CPU: for the GPU that is here, run pip install 'geocloud[gpu]'")
        predictor = open_onnx(path, precision, threads)
        if not weights.is_file() or precision in (Precision.AUTO, predictor.precision):
            return predictor
    try:
        import torch
    except ImportError as error:
        raise DependencyError(
            f"{weights.name} on device {device} in precision {precision} needs torch; run pip install 'geocloud[gpu]'"
        ) from error
    from geocloud.models.network import Network, by_torch, find_device

    if find_device(device).type == "cpu":
        if is_onnx and precision is Precision.AUTO:
            return _load(path, "cpu", precision, threads)
        torch.set_num_threads(threads)
    return by_torch(Network.load(weights), device, precision)
