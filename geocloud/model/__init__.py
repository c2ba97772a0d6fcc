"""Networks, their checkpoints, and the checkpoints that come with geocloud. Importing this does not load torch."""

from __future__ import annotations

from pathlib import Path

from geocloud.errors import ModelNotFoundError

WEIGHTS = Path(__file__).parent.parent / "weights"

DEFAULT = "fast"
"""The model that is used when nobody names one."""


def bundled_models() -> dict[str, Path]:
    """The checkpoints that come with geocloud, by name."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def find_model(name: str | Path) -> Path:
    """The checkpoint of a bundled model's name, or of a path. Raises ModelNotFoundError."""
    bundled = bundled_models()
    if str(name) in bundled:
        return bundled[str(name)]
    path = Path(name)
    if path.is_file():
        return path
    raise ModelNotFoundError(
        f"{name}: no model file, and no bundled model of that name; bundled are {', '.join(bundled) or 'none'}"
    )
