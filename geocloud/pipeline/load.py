"""The model that a caller means."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from geocloud.errors import OptionError
from geocloud.pipeline.options import ComputeOptions
from geocloud.tiling.blend import Function, Predict, as_predict

if TYPE_CHECKING:
    from geocloud.predict import Predictor


def load(
    model: str | Path | Predictor | Predict | Function, compute: ComputeOptions | None, shadows: bool = False
) -> Predict:
    """A model that is given by name, loaded, without what it knows of shadow unless asked; or the one that is given.

    Raises OptionError.
    """
    if isinstance(model, (str, Path)):
        from geocloud.predict import load_model  # torch: seconds to load

        return load_model(model, **asdict(compute or ComputeOptions()), cloud_alone=not shadows)
    if compute is not None:
        raise OptionError("where to compute is for a model given by name; a loaded one knows it already")
    return as_predict(model)
