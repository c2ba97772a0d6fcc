"""Export of models for other programs."""

from __future__ import annotations

from pathlib import Path

from geocloud.errors import OptionError
from geocloud.models import ONNX, find_weights
from geocloud.writers.staging import Staging


def export_model(model: str | Path, output: str | Path, overwrite: bool = False) -> int:
    """Writes a model, by name or path, as an ONNX file in floating point, and returns the file's size in bytes.

    The file is written only if OpenVINO computes the same probabilities from it as torch from the weights.
    Raises OptionError, ModelError, DependencyError or OutputError.
    """
    output = Path(output)
    if output.suffix.lower() != ONNX:
        raise OptionError(f"{output}: wanted a name that ends in {ONNX}")
    path = find_weights(model)
    with Staging([output], overwrite) as staging:
        from geocloud.models.export import to_onnx  # torch takes seconds to import
        from geocloud.models.network import Network

        data = to_onnx(Network.load(path))
        staging.write(output, data)
        staging.publish()
    return len(data)
