"""Models for other programs."""

from __future__ import annotations

from pathlib import Path

from geocloud.errors import OptionError
from geocloud.models import ONNX, find_model
from geocloud.outputs.staging import Staging


def export_model(model: str | Path, output: str | Path, overwrite: bool = False) -> int:
    """Writes a model as an ONNX file, with what its channels mean inside; see `geocloud.model.onnx`.

    The file appears only when ONNX Runtime has given the same probabilities as torch.

    Args:
        model: A bundled model's name, or a checkpoint's path.
        output: The file to write, ``.onnx``.
        overwrite: Whether an existing file is replaced.

    Returns:
        Its size in bytes.

    Raises:
        GeocloudError: OptionError, ModelError, DependencyError or OutputError.
    """
    output = Path(output)
    if output.suffix.lower() != ONNX:
        raise OptionError(f"{output}: wanted a name that ends in {ONNX}")
    path = find_model(model)
    with Staging([output], overwrite) as staging:
        from geocloud.model.checkpoint import Checkpoint  # torch takes seconds to import
        from geocloud.model.onnx import to_onnx

        data = to_onnx(Checkpoint.load(path))
        staging.place(output).write_bytes(data)
        staging.publish()
    return len(data)
