"""The model that a caller names or passes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import cast

from geocloud.errors import OptionError
from geocloud.masks.codes import Thresholds
from geocloud.models import read_metadata
from geocloud.models.predictor import Function, Predictor, load_model
from geocloud.options import ComputeOptions, MaskOptions
from geocloud.tiling.model import Predict

Model = str | Path | Predict | Function
"""A model by name or path, loaded, or as a plain function."""


def trained_at(model: Model) -> float | None:
    """Pixel size in metres that a model was trained on; None: any. Raises as `load` does.

    A model given by name is not loaded, so that reading can begin before.
    """
    return read_metadata(model).pixel_size if isinstance(model, (str, Path)) else _as_predict(model).pixel_size


def load(model: Model, compute: ComputeOptions | None = None) -> Predict:
    """Loads a model given by name; any other model is used as it is.

    Raises OptionError if ``compute`` comes with a loaded model, and whatever loading raises.
    """
    if isinstance(model, (str, Path)):
        return load_model(model, **asdict(compute or ComputeOptions()))
    if compute is not None:
        raise OptionError("compute options are for a model given by name; a loaded one has its own")
    return _as_predict(model)


def find_thresholds(predict: Predict, options: MaskOptions) -> Thresholds:
    """The requested thresholds, or the model's own. Raises OptionError for shadow if the model has no shadow class."""
    cloud = predict.threshold if options.threshold is None else options.threshold
    if not options.shadows:
        return Thresholds(cloud)
    if predict.classes < 2:
        raise OptionError(f"model {predict.name!r} detects no shadow; leave --shadows out, or take a model that does")
    return Thresholds(cloud, options.shadow_threshold or predict.shadow_threshold)


def _as_predict(model: Predict | Function) -> Predict:
    return cast(Predict, model) if hasattr(model, "classes") else Predictor(model)
