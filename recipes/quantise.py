"""Quantisation of ONNX files to 8-bit integers, by ONNX Runtime."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from geocloud.models.export import INPUT, with_metadata
from geocloud.models.runtime import read_onnx

Floats = NDArray[np.float32]

PERCENTILE = 99.99
"""Percentile of a layer's values at which its 8-bit range ends; higher values are clipped."""


def quantise(data: bytes, calibration: Iterable[Floats], floats: int = 2) -> bytes:
    """An ONNX file of `to_onnx` with its convolutions, and the activations between them, in 8-bit integers.

    Ranges are measured on ``calibration``, images ``(4, h, w)`` like those that the network was trained on.

    Reflectance and logits need more than 8 bits, so the first ``floats`` convolutions and the last one stay in floating
    point. So do transposed convolutions, which OpenVINO computes in floating point anyway. CPUs without VNNI clip sums
    of two products to 16 bits: compare masks on such a CPU. Weights of 7 bits are never clipped, but masks agree less.
    """

    class Reader(CalibrationDataReader):  # type: ignore[misc] # it has no type annotations
        images = ({INPUT: np.ascontiguousarray(image)[None]} for image in calibration)

        def get_next(self) -> dict[str, Floats] | None:
            return next(self.images, None)

    model = onnx.load_model_from_string(data)
    nodes = list(model.graph.node)
    convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    kept = [*nodes[: convolutions[min(floats, len(convolutions) - 1)] - 1], nodes[convolutions[-1]]]
    with tempfile.TemporaryDirectory(prefix="geocloud-export-") as folder:
        path = Path(folder) / "model.onnx"
        with redirect_stdout(sys.stderr):  # it prints its progress
            quantize_static(
                model,
                path,
                Reader(),
                op_types_to_quantize=["Conv", "Relu"],
                nodes_to_exclude=[node.name for node in kept],
                per_channel=True,
                reduce_range=False,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"], "CalibPercentile": PERCENTILE},
            )
        return with_metadata(path.read_bytes(), read_onnx(data)[1])
