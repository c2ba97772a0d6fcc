"""Masks of images that are in memory already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geocloud.model import DEFAULT
from geocloud.outputs.mask import to_mask
from geocloud.pipeline.load import load
from geocloud.pipeline.options import ComputeOptions, MaskOptions, find_thresholds
from geocloud.tiling.array import predict_image
from geocloud.tiling.blend import Function, Predict

if TYPE_CHECKING:
    from geocloud.predict import Predictor


def mask_array(
    reflectance: NDArray[Any],
    *,
    pixel_size: float | None = None,
    valid: NDArray[np.bool_] | None = None,
    model: str | Path | Predictor | Predict | Function = DEFAULT,
    threshold: float | None = None,
    shadows: bool = False,
    shadow_threshold: float | None = None,
    compute: ComputeOptions | None = None,
) -> NDArray[np.uint8]:
    """The cloud mask ``(h, w)`` of an image: 0 clear, 1 cloud, 2 cloud shadow where it is asked for, 255 no data.

    Args:
        reflectance: ``(4, h, w)``, red, green, blue, nir, at the top of the atmosphere (0 to about 1.2); NaN where
            there is no data, and nir NaN all over where there is none of it.
        pixel_size: Metres of a pixel. An image finer than 20 m is then seen in pixels of the size that the model was
            trained on; None: it is seen as it is.
        valid: ``(h, w)``, True where there is data; None: where all bands are finite.
        model: As for `geocloud.mask_scene`. Loading takes longer than a small image: give a `Predictor` for many.
        threshold: Cloud is what is above it; None: the model's own.
        shadows: Whether cloud shadow is masked, too.
        shadow_threshold: Shadow is what is above it and no cloud; None: the model's own.
        compute: Where a model that is given by name computes.

    Raises:
        GeocloudError: OptionError for another shape, for values that cannot be reflectance, and for a missing
            near-infrared that the model needs; what loading a model raises.
    """
    options = MaskOptions(threshold=threshold, shadows=shadows, shadow_threshold=shadow_threshold)
    predict = load(model, compute, shadows)
    thresholds = find_thresholds(predict, options)
    probability = predict_image(predict, np.asarray(reflectance), valid, pixel_size=pixel_size)
    return to_mask(probability, thresholds)
