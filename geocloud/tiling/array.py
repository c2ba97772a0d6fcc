"""Prediction of an image in memory, of any size, with the same tiling as for a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import OptionError
from geocloud.tiling.blend import blend, tile_rows
from geocloud.tiling.model import Predict
from geocloud.tiling.resample import NATIVE, Coarse, find_factors
from geocloud.tiling.tiles import TileGrid

DARKEST = -1.0
"""Values up to which are no reflectance but codes for no data, such as −9999."""

BRIGHTEST = 2.0
"""Highest plausible median reflectance: an image above it holds something else, such as digital numbers."""


def predict_image(
    predict: Predict,
    reflectance: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
    tile_size: int | None = None,
    overlap: int = 128,
    pixel_size: float | None = None,
    working_resolution: float | str | None = None,
) -> NDArray[np.float32]:
    """Probability ``(classes, h, w)`` for an image ``(4, h, w)``; NaN where there is no data.

    See `geocloud.Predictor.predict_array`.
    """
    reflectance = np.ma.filled(np.ma.asanyarray(reflectance, "float32"), np.nan)
    known = _known(predict, reflectance)
    if valid is not None:
        if valid.shape != reflectance.shape[1:]:
            raise OptionError(f"valid of shape {valid.shape}: wanted {reflectance.shape[1:]}, the image's own")
        known &= valid
    image = np.where(known, reflectance, np.nan)

    def read(first: int, out: NDArray[np.float32]) -> None:
        out[...] = image[:, first : first + out.shape[1]]

    factors = find_factors((pixel_size, pixel_size) if pixel_size else None, predict.pixel_size, working_resolution)
    height, width = known.shape
    if factors == NATIVE:
        grid = TileGrid.fitted(height, width, tile_size, overlap)
        strips = blend(grid, tile_rows(grid, read), predict, predict.classes)
    else:
        coarse = Coarse(read, height, width, factors)
        grid = TileGrid.fitted(*coarse.shape, tile_size, overlap)
        strips = coarse.enlarge(blend(grid, tile_rows(grid, coarse.read), predict, predict.classes))
    return np.concatenate([strip.probability for strip in strips], 1)


def _known(predict: Predict, reflectance: NDArray[Any]) -> NDArray[np.bool_]:
    """True where there is data: all bands finite, above `DARKEST`, and not all zero as outside a scene's footprint.

    Raises OptionError for values that cannot be reflectance, or a missing band.
    """
    if reflectance.ndim != 3 or reflectance.shape[0] != 4 or not reflectance.size:
        raise OptionError(f"reflectance of shape {reflectance.shape}: wanted (4, height, width), red green blue nir")
    no_nir = bool(np.isnan(reflectance[3]).all() and np.isfinite(reflectance[:3]).any())
    if no_nir and not predict.optional_nir:
        raise OptionError(f"no near-infrared, and model {predict.name!r} was not trained without it; take 'fast'")
    finite = reflectance[0][np.isfinite(reflectance[0])]
    middle = (
        np.median(finite[:: 1 + finite.size // 100_000]) if finite.size else 0.0
    )  # of all it takes as long as the rest
    if middle > BRIGHTEST:
        raise OptionError(
            f"median of red values {middle:g}: wanted reflectance, 0 to 1; convert them first, "
            "as geocloud.open_scene(...).read() does"
        )
    bands = reflectance[: 3 if no_nir else 4]
    known: NDArray[np.bool_] = (np.isfinite(bands) & (bands > DARKEST)).all(0) & (bands != 0).any(0)
    return known
