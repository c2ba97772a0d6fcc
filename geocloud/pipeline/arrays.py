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
        options: Options of the mask.
        compute: Device, precision and batch of a model given by name.
        changes: Fields of `MaskOptions` that differ from ``options``, such as ``shadows=True``.

    Returns:
        The mask ``(h, w)``, uint8: 0 clear, 1 cloud, 2 cloud shadow if requested, 255 no data.

    Raises:
        GeocloudError: OptionError if the image lacks a band or pixel size that the model or an option needs, or if
            the model has no shadow class; the errors of `geocloud.load_model`.
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
    """Masks a numpy array; see `geocloud.mask_raster`.

    Args:
        reflectance: TOA reflectance (0 to about 1.2) ``(4, h, w)``, red, green, blue, nir, or ``(3, h, w)`` without
            nir. Pixels without data are NaN, masked, 0 in all bands, or at most −0.9 in any band.
        pixel_size: Pixel size in metres. Images finer than the model's training data are averaged to its pixel size,
            and the probability is interpolated back. None: no resampling.
        valid: ``(h, w)``, True where there is data; None: derived from the values.
        sun: Position of the sun, for an image with north up: shadow that no cloud can cast is removed. None: unknown,
            no shadow is removed.
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
    """Options with changes, for a mask in memory. Raises OptionError for options that only apply to files."""
    options = (options or MaskOptions()).changed(changes)
    if options.polygon_min_area is not None or options.overwrite:
        raise OptionError("polygon_min_area and overwrite are for masks written to files")
    return options
