"""Masks of images in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import OptionError
from geocloud.masks.codes import LAYERS, Mask, to_mask
from geocloud.masks.refine import refine, refinements
from geocloud.models import DEFAULT
from geocloud.options import ComputeOptions, MaskOptions
from geocloud.pipeline.mask import Model, find_thresholds, load
from geocloud.raster import Raster, Sun
from geocloud.tiling.mosaic import predict_raster


def mask_raster(
    raster: Raster,
    *,
    model: Model = DEFAULT,
    options: MaskOptions | None = None,
    compute: ComputeOptions | None = None,
    **changes: Any,
) -> Mask:
    """Masks an image in memory as `geocloud.mask_scene` masks a file.

    Args:
        raster: The image, as `geocloud.open_scene(...).read()` returns it.
        model: As for `geocloud.mask_scene`. Loading takes longer than masking a small image: for many images, pass a
            `Predictor`.
        options: How the mask is made.
        compute: Where and how a model given by name computes.
        changes: Fields of `MaskOptions` that differ from ``options``, such as ``shadows=True``.

    Returns:
        ``(h, w)``, uint8: 0 clear, 1 cloud, 2 cloud shadow if requested, 255 no data.

    Raises:
        GeocloudError: OptionError for a missing near-infrared band that the model needs, and for options that do not
            fit the image; whatever loading the model raises.
    """
    options = in_memory(options, changes)
    steps = refinements(options, raster.geobox, raster.sun)
    predict = load(model, compute)
    thresholds = find_thresholds(predict, options)
    if missing := set(options.further) - set(raster.further):
        raise OptionError(f"snow and cirrus need further bands, and the image has no {', '.join(sorted(missing))}")
    probability = predict_raster(predict, raster, options, thresholds.classes)
    layers = {name: LAYERS[name](raster.data, raster.further[name]) for name in options.further}
    return refine(to_mask(probability, thresholds, layers, options.snow), steps)


def mask_array(
    reflectance: NDArray[Any],
    *,
    pixel_size: float | None = None,
    valid: NDArray[np.bool_] | None = None,
    sun: Sun | None = None,
    model: Model = DEFAULT,
    options: MaskOptions | None = None,
    compute: ComputeOptions | None = None,
    **changes: Any,
) -> Mask:
    """Masks a numpy array: see `geocloud.mask_raster`.

    Args:
        reflectance: ``(4, h, w)``, red, green, blue, nir, at the top of the atmosphere (0 to about 1.2), or
            ``(3, h, w)`` without near-infrared. No data: NaN, masked, all bands 0, or any band at most −1.
        pixel_size: In metres. A finer image is averaged to the pixel size that the model was trained on, and the
            probability interpolated back; None: no resampling, as for pixels of 30 m.
        valid: ``(h, w)``, True where there is data; None: wherever the values are data.
        sun: Position of the sun over an image whose first row is its northern edge: shadow that no cloud can throw is
            removed; None: unknown.
        model: As for `geocloud.mask_raster`.
        options: As for `geocloud.mask_raster`.
        compute: As for `geocloud.mask_raster`.
        changes: As for `geocloud.mask_raster`.

    Raises:
        GeocloudError: As `geocloud.mask_raster`, and OptionError for a wrong shape or values that cannot be
            reflectance.
    """
    raster = Raster.from_array(reflectance, valid, pixel_size, sun)
    return mask_raster(raster, model=model, options=options, compute=compute, **changes)


def in_memory(options: MaskOptions | None, changes: dict[str, Any]) -> MaskOptions:
    """Options with changes, for a mask that is not written. Raises OptionError for those that concern files."""
    options = (options or MaskOptions()).changed(changes)
    if options.polygon_min_area is not None or options.overwrite:
        raise OptionError("polygon_min_area and overwrite are for masks written to files")
    return options
