"""Networks, their files, and the bundled models. Importing this package loads neither torch nor OpenVINO."""

from __future__ import annotations

from pathlib import Path

from geocloud.errors import ModelNotFoundError
from geocloud.models.metadata import ModelMetadata, read_safetensors

__all__ = ["DEFAULT", "ModelMetadata", "bundled_models", "find_model", "find_weights", "model_files", "read_metadata"]

FILES = Path(__file__).parent.parent / "weights"
"""Folder of the bundled models."""

DEFAULT = "fast"
"""Name of the default model."""

ONNX, SAFETENSORS = ".onnx", ".safetensors"
"""Suffixes of model files: ONNX for inference on a CPU, safetensors for trained weights in torch."""


def bundled_models() -> dict[str, Path]:
    """The ONNX files of the bundled models, by name."""
    return {path.stem: path for path in sorted(FILES.glob(f"*{ONNX}"))}


def find_model(name: str | Path) -> Path:
    """The ONNX file of a bundled model by its name, or any model file by its path. Raises ModelNotFoundError."""
    bundled = bundled_models()
    path = bundled.get(str(name), Path(name))
    if not path.is_file():
        names = ", ".join(bundled) or "none"
        raise ModelNotFoundError(f"{name}: no model file, and no bundled model of that name; bundled are {names}")
    return path


def find_weights(name: str | Path) -> Path:
    """The safetensors file of a model, or the one beside its ONNX file. Raises ModelNotFoundError."""
    path = find_model(name)
    weights = path.with_suffix(SAFETENSORS) if path.suffix.lower() == ONNX else path
    if not weights.is_file():
        raise ModelNotFoundError(f"{path}: no trained weights beside it; wanted {weights.name}")
    return weights


def model_files(name: str | Path) -> tuple[Path, ...]:
    """All files of a model: the model file and, if there is one, the TOML file beside it. Raises ModelNotFoundError."""
    path = find_model(name)
    beside = path.with_suffix(".toml")
    return (path, beside) if path.suffix.lower() == ONNX and beside.is_file() else (path,)


def read_metadata(name: str | Path) -> ModelMetadata:
    """Metadata of a model, given its name or path, without loading it. Raises ModelError."""
    path = find_model(name)
    if path.suffix.lower() != ONNX:
        return read_safetensors(path)
    from geocloud.models.runtime import read_onnx

    return read_onnx(path)[1]
