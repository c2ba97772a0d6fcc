"""Models as ONNX files, which other programs read and write: run by ONNX Runtime, written from a checkpoint.

An ONNX file holds a graph of known operations and its weights; it cannot run code. What its channels mean is told by
metadata inside it (geocloud's own), or by a TOML file of the same name beside it (anybody's).
"""

from __future__ import annotations

import json
import logging
import tomllib
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError, DependencyError
from geocloud.model.checkpoint import Checkpoint
from geocloud.model.complete import complete
from geocloud.model.devices import MOST_WORKERS, Precision
from geocloud.model.meaning import CHANNELS, NIR_MISSING, Meaning
from geocloud.tiling.tiles import TileGrid

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float32]

CUDA = "CUDAExecutionProvider"
"""What ONNX Runtime calls NVIDIA's GPUs."""

log = logging.getLogger(__name__)

KEY = "geocloud"
"""Name of the metadata inside a file."""

PROBE = 64
"""Side in pixels of the image with which a file is tried."""

WINDOW_OVERLAP = 1 / 4
"""Share of a side by which the windows overlap that are given to a network that takes images of one size only."""

AGREEMENT = 1e-3
"""Largest difference in probability between torch and ONNX Runtime at which an exported file is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class OnnxModel:
    """An ONNX file as a model: `geocloud.predict.Predictor` uses it as it does a `Checkpoint`."""

    path: Path
    """The file."""
    meaning: Meaning
    """What its channels mean."""

    @classmethod
    def load(cls, path: Path) -> OnnxModel:
        """Reads a file and tries it. Raises CheckpointError or DependencyError."""
        session = _session(path)
        beside, inside = path.with_suffix(".toml"), session.get_modelmeta().custom_metadata_map.get(KEY)
        try:
            if beside.is_file():
                meaning = Meaning.of(tomllib.loads(beside.read_text(encoding="utf-8")))
            elif inside:
                meaning = Meaning.of(json.loads(inside))
            else:
                raise CheckpointError(
                    f"nothing tells what its channels mean; put {beside.name} beside it, with bands, mean, std and "
                    "output (docs/exchange.md)"
                )
            _try(session, meaning)
        except (CheckpointError, ValueError, OSError) as error:
            place = beside if beside.is_file() else path
            raise CheckpointError(f"{place}: {error}") from error
        return cls(path, meaning)

    @property
    def name(self) -> str:
        """As shown to people."""
        return self.path.stem

    @property
    def threshold(self) -> float:
        """See `Meaning.threshold`."""
        return self.meaning.threshold

    @property
    def shadow_threshold(self) -> float:
        """See `Meaning.shadow_threshold`."""
        return self.meaning.shadow_threshold

    @property
    def pixel_size(self) -> float | None:
        """See `Meaning.pixel_size`."""
        return self.meaning.pixel_size

    @property
    def clip(self) -> float | None:
        """See `Meaning.clip`."""
        return self.meaning.clip

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each of `BANDS`."""
        return self._by_band(self.meaning.mean, 0.0)

    @property
    def std(self) -> tuple[float, ...]:
        """Of each of `BANDS`."""
        return self._by_band(self.meaning.std, 1.0)

    @property
    def optional_nir(self) -> bool:
        """Whether near-infrared may be missing."""
        return self.meaning.optional_nir

    @property
    def classes(self) -> int:
        """Number of probabilities per pixel: 1 cloud, 2 cloud and shadow."""
        return self.meaning.classes

    def cloud_alone(self) -> OnnxModel:
        """The same model without the shadow class."""
        return replace(self, meaning=replace(self.meaning, shadow=()))

    def _by_band(self, values: tuple[float, ...], other: float) -> tuple[float, ...]:
        named = [band for band in self.meaning.bands if band != NIR_MISSING]
        return tuple(values[named.index(band)] if band in named else other for band in BANDS)


class OnnxRunner:
    """An ONNX file's network, as `geocloud.predict.Runner`; on a CPU one tile per thread.

    Args:
        model: The model.
        device: auto, cpu, cuda, cuda:N or mps. Where ONNX Runtime cannot use it, the CPU computes, with a note.
        threads: Most tiles at a time on a CPU.
    """

    stride = 32
    precision = Precision.FLOAT32  # or what the file has

    def __init__(self, model: OnnxModel, device: str, threads: int) -> None:
        self.model, self._session = model, _session(model.path, device)
        on_gpu = self._session.get_providers()[0] == CUDA
        self.device = ("cuda" if device == "auto" else device) if on_gpu else "cpu"
        self.batch, self.workers = (8, 2) if on_gpu else (1, min(threads, MOST_WORKERS))
        self._mean, self._std = (np.reshape(values, (1, -1, 1, 1)) for values in (model.mean, model.std))
        self._order = [CHANNELS.index(band) for band in model.meaning.bands]
        self._turns = BoundedSemaphore(self.workers)  # scenes that share it must not compete for cores

    def start_worker(self) -> None:
        """Nothing to do."""

    def __call__(self, reflectance: Floats) -> Floats:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``."""
        x, absent = complete(reflectance, self.model.clip, self.model.optional_nir)
        x = x if self.model.clip is None else np.minimum(x, self.model.clip)
        flag = np.broadcast_to(absent[:, None, None, None], (len(x), 1, *x.shape[2:]))
        x = np.concatenate([(x - self._mean) / self._std, flag], 1, dtype="float32")[:, self._order]
        try:
            with self._turns:
                found: Floats = _run(self._session, self.model.meaning, x)
        except CheckpointError as error:
            raise CheckpointError(f"{self.model.path}: {error}") from error
        return found


def to_onnx(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as an ONNX file, with its meaning inside, once ONNX Runtime gives the same probabilities as torch.

    Raises CheckpointError if it does not, DependencyError without the libraries.
    """
    try:
        import io

        import onnx
        import torch

        from geocloud.model.networks import load_network
    except ImportError as error:
        raise DependencyError("export needs torch, onnx and onnxruntime; run pip install 'geocloud[onnx]'") from error
    meaning = Meaning(
        bands=CHANNELS if checkpoint.optional_nir else tuple(BANDS),
        mean=tuple(checkpoint.mean),
        std=tuple(checkpoint.std),
        output="sigmoid",
        shadow=(1,) if checkpoint.classes > 1 else (),
        threshold=checkpoint.threshold,
        shadow_threshold=checkpoint.shadow_threshold,
        pixel_size=checkpoint.pixel_size,
        clip=checkpoint.clip,
    )
    network, file, axes = load_network(checkpoint), io.BytesIO(), {0: "n", 2: "h", 3: "w"}
    x = torch.zeros(1, len(meaning.bands), PROBE, PROBE)
    with warnings.catch_warnings():
        # The newer exporter, by torch.export, fixes the batch size of `fast`, and needs onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (x,),
            file,  # type: ignore[arg-type] # its type knows paths only
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": axes, "logits": axes},
        )
    model = onnx.load_model_from_string(file.getvalue())
    onnx.helper.set_model_props(model, {KEY: json.dumps(asdict(meaning))})
    made: bytes = model.SerializeToString()
    _compare(network, made, meaning, checkpoint)
    return made


def _compare(network: nn.Module, made: bytes, meaning: Meaning, checkpoint: Checkpoint) -> None:
    """Raises CheckpointError if an exported file gives other probabilities than the network, on a batch of two."""
    import torch

    from geocloud.model.normalise import normalise

    draw = np.random.default_rng(0).uniform(0, 1, (2, len(BANDS), PROBE, 3 * PROBE)).astype("float32")
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    x = normalise(torch.from_numpy(draw), mean, std, checkpoint.clip, checkpoint.optional_nir)
    with torch.inference_mode():
        wanted = network(x).sigmoid().numpy()
    found = _run(_session(made), meaning, x.numpy())
    if (apart := float(abs(found - wanted).max())) > AGREEMENT:
        raise CheckpointError(
            f"model {checkpoint.name!r}: exported, it differs by {apart:.3g} in probability from what torch computes; "
            "nothing was written: please report it"
        )


def _session(source: Path | bytes, device: str = "cpu") -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError("ONNX files need onnxruntime; run pip install 'geocloud[onnx]'") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4  # errors are raised
    providers: list[Any] = ["CPUExecutionProvider"]
    kind, _, index = device.partition(":")
    if kind in ("auto", "cuda") and CUDA in onnxruntime.get_available_providers():
        providers = [(CUDA, {"device_id": int(index or 0)}), *providers]
    elif kind not in ("auto", "cpu"):
        log.warning("ONNX Runtime, as installed, cannot use %s: it computes on the CPU", device)
    try:
        return onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), settings, providers=providers
        )
    except Exception as error:  # a class of errors for each of its status codes
        name = "the exported file" if isinstance(source, bytes) else source
        raise CheckpointError(f"{name}: not an ONNX file that ONNX Runtime runs ({error})") from error


def _try(session: Any, meaning: Meaning) -> None:
    """Raises CheckpointError if a network's input and output are not of the shapes that its meaning tells."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
        raise CheckpointError("wanted one input of float32, (N, channels, H, W)")
    channels, height, width = inputs[0].shape[1:]
    fixed = [side for side in (height, width) if isinstance(side, int)]
    if len(fixed) == 1 or any(side < 32 or side % 32 for side in fixed):
        raise CheckpointError(
            f"takes images of {height}×{width} pixels only; wanted two multiples of 32, or dynamic height and width"
        )
    if isinstance(channels, int) and channels != len(meaning.bands):
        raise CheckpointError(f"has {channels} input channels, and {len(meaning.bands)} bands are said")
    _run(session, meaning, np.zeros((1, len(meaning.bands), PROBE, 2 * PROBE), "float32"))


def _run(session: Any, meaning: Meaning, x: Floats) -> Any:
    """The input of a network → probability ``(N, classes, H, W)``. Raises CheckpointError.

    A network that takes images of one size only sees windows of that size, mirrored beyond the edge and blended.
    """
    size = tuple(session.get_inputs()[0].shape[2:])
    if not isinstance(size[0], int):
        return _run_whole(session, meaning, x)
    height, width = x.shape[2:]
    grid = TileGrid(height, width, size, int(min(size) * WINDOW_OVERLAP))
    below, aside = (grid.rows - 1) * grid.step + grid.tile_height - height, grid.reach - width
    padded = np.pad(x, ((0, 0), (0, 0), (0, below), (0, aside)), "symmetric")
    blended = np.zeros((len(x), meaning.classes, *padded.shape[2:]), "float32")
    for tile in grid:
        rows, cols = tile.read.toslices()
        weights = grid.row_weights(tile.row)[:, None] * grid.col_weights(tile.col)
        blended[:, :, rows, cols] += weights * _run_whole(session, meaning, padded[:, :, rows, cols])
    return blended[:, :, :height, :width]


def _run_whole(session: Any, meaning: Meaning, x: Floats) -> Any:
    """The same, of images of a size that the network takes."""
    (image,) = session.get_inputs()
    step = image.shape[0] if isinstance(image.shape[0], int) else len(x)
    try:
        parts = [session.run(None, {image.name: x[i : i + step]})[0] for i in range(0, len(x), step)]
        found = np.concatenate(parts).astype("float32")
    except Exception as error:  # a class of errors for each of its status codes
        raise CheckpointError(f"cannot be run on {x.shape[2]}×{x.shape[3]} pixels ({error})") from error
    wanted = max((*meaning.cloud, *meaning.shadow))
    if found.ndim != 4 or found.shape[2:] != x.shape[2:] or found.shape[1] <= wanted:
        raise CheckpointError(
            f"gives {found.shape} for an image of {x.shape[2:]} pixels; wanted (N, at least {wanted + 1}, H, W)"
        )
    if meaning.output == "softmax":
        found = np.exp(found - found.max(1, keepdims=True))
        found /= found.sum(1, keepdims=True)
    elif meaning.output == "sigmoid":
        found = 1 / (1 + np.exp(-np.clip(found, -60, 60)))
    groups = (meaning.cloud, meaning.shadow) if meaning.shadow else (meaning.cloud,)
    return np.stack([found[:, list(group)].sum(1) for group in groups], 1)
