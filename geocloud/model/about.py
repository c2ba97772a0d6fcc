"""The metadata of a checkpoint, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geocloud.errors import CheckpointError, ModelNotFoundError

FORMAT = 1


def read_about(path: Path) -> dict[str, Any]:
    """The metadata of a checkpoint, without its weights. Raises ModelNotFoundError or CheckpointError."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelNotFoundError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        about = json.loads(metadata["geocloud"])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: no safetensors file, or a damaged one ({error})") from error
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: a safetensors file, but not one that geocloud wrote") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: wanted checkpoint format {FORMAT}; a newer geocloud may read it")
    return about
