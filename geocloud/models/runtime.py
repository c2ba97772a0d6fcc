"""Inference of ONNX files on a CPU by OpenVINO, https://docs.openvino.ai. An ONNX file cannot run code."""

from __future__ import annotations

import sys
from functools import partial
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError, DeviceError, GeocloudError
from geocloud.models.devices import Precision
from geocloud.models.metadata import KEY, ModelMetadata, from_json, from_toml
from geocloud.models.predictor import Floats, Function, Predictor
from geocloud.tiling.tiles import TileGrid

TYPES = {Precision.FLOAT32: ("f32", "FP32"), Precision.BFLOAT16: ("bf16", "BF16"), Precision.FLOAT16: ("f16", "FP16")}
"""OpenVINO's names of each precision: as a hint, and as a capability of the CPU."""

MAX_WORKERS = 8
"""Maximum number of concurrent tiles. One tile per core is faster than all cores on one tile; each takes 100 MB."""

PROBE = (64, 128)
"""Size (height, width) of the image that tests another program's network when it is loaded."""

WINDOW_OVERLAP = 1 / 4
"""Overlap of windows, as a share of their shorter side, for networks that take images of one size only."""

DIGEST = f"{KEY}-sha256"
"""Name of the entry with the SHA-256 of an ONNX file, computed with zeros in place of the digest."""

_CORE: list[Any] = []
_LOCK = Lock()


def open_onnx(source: Path | bytes, precision: Precision = Precision.AUTO, threads: int = 1) -> Predictor:
    """The network of an ONNX file, computed by ``threads`` threads, one tile per thread.

    ``precision`` applies to layers that are not quantised. Raises DeviceError if the CPU lacks it, and CheckpointError
    if the file cannot be used, or if ``precision`` is int8 and the file is not quantised.
    """
    model, metadata, metadata_source = read_onnx(source)
    label = source if isinstance(source, Path) else "the exported file"
    workers = min(threads, MAX_WORKERS)
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": workers,
        "ENABLE_CPU_PINNING": False,  # parallel processes would all be pinned to the same cores
    }
    quantised = any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
    if precision is Precision.INT8 and not quantised:
        raise CheckpointError(f"{label}: does not compute in int8; leave ComputeOptions(precision='int8') out")
    if precision in TYPES:
        hint, capability = TYPES[precision]
        if capability not in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError(f"precision {precision}: this CPU has no instructions for it; take auto or float32")
        settings["INFERENCE_PRECISION_HINT"] = hint
    try:
        size = _prepare_input(model, metadata)
        network = _core().compile_model(model, "CPU", settings)
        hint = network.get_property("INFERENCE_PRECISION_HINT").to_string()
        used = Precision.INT8 if quantised else next(p for p, names in TYPES.items() if names[0] == hint)
        idle: SimpleQueue[Any] = SimpleQueue()  # scenes that share the network must not compete for cores
        for _ in range(workers):
            idle.put(network.create_infer_request())
        infer = partial(_infer, idle, metadata)
        if size:
            infer = partial(_infer_windows, infer, size, metadata.classes)
        predict = partial(_predict, infer, metadata)
        if not metadata.architecture:  # another program's network
            predict(np.zeros((1, len(BANDS), *PROBE), "float32"))
    except GeocloudError as error:
        raise CheckpointError(f"{metadata_source}: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{label}: OpenVINO cannot run it ({_last_line(error)})") from error
    return Predictor(predict, metadata, precision=used, batch=1, workers=workers)


def _predict(infer: Function, metadata: ModelMetadata, reflectance: Floats) -> Floats:
    """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``."""
    x = reflectance if metadata.input == "reflectance" else normalised(reflectance, metadata)
    answers = [infer(image[None]) for image in x]
    return answers[0] if len(answers) == 1 else np.concatenate(answers)


def _infer_windows(infer: Function, size: tuple[int, int], classes: int, x: Floats) -> Floats:
    """Probability of an image of any size, blended from overlapping windows of the network's fixed size."""
    height, width = x.shape[2:]
    grid = TileGrid(height, width, size, int(min(size) * WINDOW_OVERLAP))
    below, right = (grid.rows - 1) * grid.step + grid.tile_height - height, grid.reach - width
    padded = np.pad(x, ((0, 0), (0, 0), (0, below), (0, right)), "symmetric")
    blended = np.zeros((1, classes, *padded.shape[2:]), "float32")
    for tile in grid:
        rows, cols = tile.read.toslices()
        weights = grid.row_weights(tile.row)[:, None] * grid.col_weights(tile.col)
        blended[:, :, rows, cols] += weights * infer(padded[:, :, rows, cols])
    return blended[:, :, :height, :width]


def _infer(idle: SimpleQueue[Any], metadata: ModelMetadata, x: Floats) -> Floats:
    """Input ``(1, bands, H, W)`` → probability ``(1, classes, H, W)``. Raises CheckpointError."""
    request = idle.get()
    try:
        request.infer([np.ascontiguousarray(x)], share_inputs=True)
        output: NDArray[Any] = request.get_output_tensor().data.astype("float32")
    except RuntimeError as error:
        raise CheckpointError(f"cannot be run on {x.shape[2]}×{x.shape[3]} pixels ({_last_line(error)})") from error
    finally:
        idle.put(request)
    needed = max((*metadata.cloud, *metadata.shadow)) + 1
    if output.ndim != 4 or output.shape[2:] != x.shape[2:] or output.shape[1] < needed:
        raise CheckpointError(
            f"gives {output.shape} for an image of {x.shape[2:]} pixels; wanted (N, at least {needed}, H, W)"
        )
    if metadata.activation == "softmax":
        output = np.exp(output - output.max(1, keepdims=True))
        output /= output.sum(1, keepdims=True)
    elif metadata.activation == "sigmoid":
        output = 1 / (1 + np.exp(-np.clip(output, -60, 60)))
    groups = [group for group in (metadata.cloud, metadata.shadow) if group]
    if groups == [(channel,) for channel in range(output.shape[1])]:
        return output
    return np.stack([output[:, list(group)].sum(1) for group in groups], 1)


def read_onnx(source: Path | bytes) -> tuple[Any, ModelMetadata, Path | str]:
    """The graph (``openvino.Model``) of an ONNX file, its metadata, and the file that holds the metadata: the TOML file
    beside it, or the ONNX file itself. Raises CheckpointError.
    """
    label, beside = (source, source.with_suffix(".toml")) if isinstance(source, Path) else ("the exported file", None)
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
        model = _core().read_model(data)
    except (RuntimeError, OSError) as error:
        raise CheckpointError(f"{label}: not an ONNX file that OpenVINO reads ({_last_line(error)})") from error
    digest, entry = (_entry(model, name) for name in (DIGEST, KEY))
    if digest and file_digest(data, digest) != digest:
        raise CheckpointError(f"{label}: damaged or changed, its bytes are not those that were written; fetch it again")
    if beside and beside.is_file():
        return model, from_toml(beside), beside
    if not entry:
        raise CheckpointError(
            f"{label}: no metadata; put {beside and beside.name} beside it, with bands, mean, std and activation "
            "(docs/exchange.md)"
        )
    try:
        return model, from_json(entry), label
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{label}: {error}") from error


def file_digest(data: bytes, digest: str) -> str:
    """The SHA-256 of an ONNX file, computed with zeros in place of ``digest``."""
    return sha256(data.replace(digest.encode(), b"0" * len(digest))).hexdigest()


def _entry(model: Any, name: str) -> str:
    """The value of an entry in an ONNX file's ``metadata_props``; empty if the entry is missing."""
    place = ["framework", name]
    return str(model.get_rt_info(place).value) if model.has_rt_info(place) else ""


def normalised(reflectance: Floats, metadata: ModelMetadata) -> Floats:
    """Reflectance ``(N, bands, H, W)``, normalised and filled as by `network.prepare`, for networks that do neither."""
    x = reflectance[:, [BANDS.index(band) for band in metadata.bands]]
    missing = np.isnan(x.sum(1, keepdims=True))  # (N, 1, H, W)
    if metadata.clip is not None:
        x = np.minimum(x, metadata.clip)
    if missing.any():
        total = np.where(missing, 0, x).sum((2, 3), keepdims=True)
        x = np.where(missing, total / np.maximum((~missing).sum((2, 3), keepdims=True), 1), x)
    mean, std = (np.reshape(values, (1, -1, 1, 1)) for values in (metadata.mean, metadata.std))
    return ((x - mean) / std).astype("float32")


def _prepare_input(model: Any, metadata: ModelMetadata) -> tuple[int, int] | None:
    """Sets the batch size to 1, and returns the network's fixed (height, width); None: any. Raises CheckpointError."""
    shape = model.inputs[0].partial_shape
    if len(model.inputs) != 1 or shape.rank != 4 or model.inputs[0].element_type.to_string() != "f32":
        raise CheckpointError("wanted one input of float32, (N, channels, H, W)")
    count, channels, height, width = (size.get_length() if size.is_static else None for size in shape)
    if channels not in (None, len(metadata.bands)):
        raise CheckpointError(f"has {channels} input channels, and its metadata {len(metadata.bands)} bands")
    if count is None:
        model.reshape([1, *list(shape)[1:]])  # avoids copies: each band of a single image is contiguous
    if height is None and width is None:
        return None
    if not height or not width or height % 32 or width % 32:
        raise CheckpointError(
            f"takes images of {height}×{width} pixels only; wanted two multiples of 32, or dynamic height and width"
        )
    return height, width


def _last_line(error: Exception) -> str:
    return " ".join(str(error).split())[-300:]


def _core() -> Any:
    """The OpenVINO core of this process, which is never freed.

    Its CPU plugin sets a signal stack for the thread that creates it. Freeing the plugin unmaps that stack, but does
    not unset it: the next signal, such as Ctrl-C, would kill the process.
    """
    with _LOCK:
        if not _CORE:
            openvino = import_openvino()
            # OpenVINO creates its table of numpy types on first use: two threads that do so at once deadlock.
            _ = openvino.Tensor(np.zeros(1, "float32")).data
            _CORE.append(openvino.Core())
        return _CORE[0]


def import_openvino() -> Any:
    """Imports OpenVINO without its telemetry, which would send an event to Google on each import."""
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # its import fails, which is handled
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino
