"""Networks, checkpoints, and the bundled models. Importing this package does not load torch."""

from __future__ import annotations

from pathlib import Path

from geocloud.errors import ModelNotFoundError

WEIGHTS = Path(__file__).parent.parent / "weights"

DEFAULT = "fast"
"""The model that is used unless another is named."""

ONNX = ".onnx"
"""Suffix of models in that format; all others are checkpoints."""


def bundled_models() -> dict[str, Path]:
    """The checkpoints of the bundled models, by name."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def model_files(name: str | Path) -> tuple[Path, ...]:
    """All files that a model is read from: its own and, beside an ONNX file, one of TOML. Raises ModelNotFoundError."""
    path = find_model(name)
    beside = path.with_suffix(".toml")
    return (path, beside) if path.suffix.lower() == ONNX and beside.is_file() else (path,)


def find_model(name: str | Path) -> Path:
    """The checkpoint file of a bundled model, given its name, or a file, given its path. Raises ModelNotFoundError."""
    bundled = bundled_models()
    if str(name) in bundled:
        return bundled[str(name)]
    path = Path(name)
    if path.is_file():
        return path
    raise ModelNotFoundError(
        f"{name}: no model file, and no bundled model of that name; bundled are {', '.join(bundled) or 'none'}"
    )
