"""Masks of images in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.models import DEFAULT
from geocloud.outputs.mask import to_mask
from geocloud.pipeline.load import Model, load
from geocloud.pipeline.options import ComputeOptions, MaskOptions, find_thresholds
from geocloud.tiling.array import predict_image


def mask_array(
    reflectance: NDArray[Any],
    *,
    pixel_size: float | None = None,
    valid: NDArray[np.bool_] | None = None,
    model: Model = DEFAULT,
    threshold: float | None = None,
    shadows: bool = False,
    shadow_threshold: float | None = None,
    compute: ComputeOptions | None = None,
) -> NDArray[np.uint8]:
    """Masks an image in memory.

    Args:
        reflectance: ``(4, h, w)``, red, green, blue, nir, at the top of the atmosphere (0 to about 1.2); NaN where
            there is no data. nir is NaN everywhere if the image has none.
        pixel_size: In metres. A finer image is averaged to the pixel size that the model was trained on, and the
            probability interpolated back; None: no resampling, as for pixels of 30 m.
        valid: ``(h, w)``, True where there is data; None: where all bands are finite.
        model: As for `geocloud.mask_scene`. Loading takes longer than masking a small image: for many images, pass a
            `Predictor`.
        threshold: Pixels with a higher probability of cloud are cloud; None: the model's own.
        shadows: Whether cloud shadow is masked too.
        shadow_threshold: Pixels with a higher probability of shadow, unless cloud, are shadow; None: the model's own.
        compute: Where and how a model given by name computes.

    Returns:
        ``(h, w)``, uint8: 0 clear, 1 cloud, 2 cloud shadow if requested, 255 no data.

    Raises:
        GeocloudError: OptionError for a wrong shape, for values that cannot be reflectance, and for a missing
            near-infrared band that the model needs; whatever loading the model raises.
    """
    options = MaskOptions(threshold=threshold, shadows=shadows, shadow_threshold=shadow_threshold)
    predict = load(model, compute)
    thresholds = find_thresholds(predict, options)
    probability = predict_image(predict, reflectance, valid, pixel_size=pixel_size)
    return to_mask(probability, thresholds)
