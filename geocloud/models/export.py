"""Export of trained networks to ONNX files by torch's exporter."""

from __future__ import annotations

import io
import warnings

import numpy as np

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError, DependencyError

try:
    import onnx
    import torch

    from geocloud.models.network import Network
except ImportError as error:
    raise DependencyError("export needs torch and onnx; run pip install 'geocloud[export]'") from error

from geocloud.models.devices import Precision
from geocloud.models.metadata import KEY, ModelMetadata
from geocloud.models.runtime import DIGEST, file_digest, open_onnx

OPSET = 17
"""Version of the ONNX operator set; onnxruntime-web supports it, too."""

INPUT, OUTPUT = "reflectance", "probability"

AGREEMENT = 1e-3
"""Largest accepted difference in probability between torch and an exported file in floating point."""


def to_onnx(network: Network) -> bytes:
    """The network as an ONNX file that maps reflectance to probability and holds the network's metadata.

    The input is ``reflectance``, float32 ``(N, 4, H, W)``, NaN where there is no data. The output is ``probability``,
    ``(N, classes, H, W)``. N, H and W are dynamic; H and W must be multiples of the network's stride.
    Raises CheckpointError if the probabilities differ from torch's.
    """
    file, axes = io.BytesIO(), {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        # The newer exporter (torch.export) makes the batch size of `fast` static, and needs onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.folded(),
            (torch.zeros(1, len(BANDS), 64, 64),),
            file,  # type: ignore[arg-type] # annotated as a path
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: axes, OUTPUT: axes},
        )
    exported = with_metadata(file.getvalue(), network.metadata)
    _compare(network, exported)
    return exported


def with_metadata(data: bytes, metadata: ModelMetadata) -> bytes:
    """The ONNX file with its metadata replaced and its SHA-256 updated."""
    model, zeros = onnx.load_model_from_string(data), "0" * 64
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {KEY: metadata.to_json(), DIGEST: zeros})
    replaced: bytes = model.SerializeToString()
    return replaced.replace(zeros.encode(), file_digest(replaced, zeros).encode())


def _compare(network: Network, exported: bytes) -> None:
    """Raises CheckpointError if file and network differ by more than `AGREEMENT` on a batch with gaps."""
    images = np.random.default_rng(0).uniform(0, 1.2, (3, len(BANDS), 64, 192)).astype("float32")
    images[0, :, :9], images[1, 2, 30, 40:50] = np.nan, np.nan
    if network.metadata.optional_nir:
        images[2, 3] = np.nan
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    difference = float(abs(open_onnx(exported, Precision.FLOAT32)(images) - expected).max())
    if not difference <= AGREEMENT:
        raise CheckpointError(
            f"model {network.metadata.name!r}: exported, it differs by {difference:.3g} in probability from "
            "torch; nothing was written: please report it"
        )
