"""The model that a caller names or passes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from geocloud.errors import OptionError
from geocloud.model import ONNX, find_model
from geocloud.model.about import read_about
from geocloud.pipeline.options import ComputeOptions
from geocloud.tiling.model import Function, Predict, as_predict

if TYPE_CHECKING:
    from geocloud.predict import Predictor


def trained_at(model: str | Path | Predictor | Predict | Function) -> float | None:
    """Pixel size in metres that a model was trained on; None: any. Raises as `load` does.

    A model of ours is not loaded for it, so that reading can begin before.
    """
    if not isinstance(model, (str, Path)):
        return as_predict(model).pixel_size
    path = find_model(model)
    if path.suffix.lower() == ONNX:
        from geocloud.model.onnx import OnnxModel

        return OnnxModel.load(path).pixel_size
    size: float | None = read_about(path).get("pixel_size")
    return size


def load(
    model: str | Path | Predictor | Predict | Function, compute: ComputeOptions | None, shadows: bool = False
) -> Predict:
    """Loads a model given by name, without its shadow class unless ``shadows``; any other model is used as it is.

    Raises OptionError if ``compute`` comes with a loaded model, and whatever loading raises.
    """
    if isinstance(model, (str, Path)):
        from geocloud.predict import load_model  # torch takes seconds to import

        return load_model(model, **asdict(compute or ComputeOptions()), cloud_alone=not shadows)
    if compute is not None:
        raise OptionError("compute options are for a model given by name; a loaded one has its own")
    return as_predict(model)
