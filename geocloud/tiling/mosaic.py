"""Probabilities of whole images: resampled to the model's pixel size, cut into tiles, predicted, blended, and back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import OptionError
from geocloud.raster import Raster
from geocloud.tiling.blend import Predict, ReadRows, Strip, blend, tile_rows
from geocloud.tiling.resample import NATIVE, Coarse, Factors, find_factors
from geocloud.tiling.tiles import TileGrid

Progress = Callable[[int, int], None]
"""Called with the number of finished rows of tiles, and their total."""

WIDEST = 16
"""Rows of the widest gap in the data that is filled. The stripes that Landsat 7 leaves since its scan-line
corrector failed in 2003 are at most 14 wide, at the edges of a scene."""


def mosaic(
    read: ReadRows,
    shape: tuple[int, int],
    predict: Predict,
    *,
    classes: int,
    factors: Factors = NATIVE,
    tile_size: int | None = None,
    overlap: int = 128,
    progress: Progress | None = None,
) -> Iterator[Strip]:
    """Predicts an image of ``shape`` (height, width) from top to bottom, in strips of its own pixels.

    The first ``classes`` probabilities are kept. For ``factors`` see `find_factors`; tiles are measured in the pixels
    that the model sees.
    """
    coarse = None if factors == NATIVE else Coarse(read, *shape, factors)
    grid = TileGrid.fitted(*(coarse.shape if coarse else shape), tile_size, overlap)
    strips = blend(grid, tile_rows(grid, coarse.read if coarse else read), predict, classes)
    if progress:
        strips = _reported(strips, progress, grid.rows)
    return coarse.enlarge(strips) if coarse else strips


def predict_raster(
    predict: Predict,
    raster: Raster,
    *,
    classes: int | None = None,
    working_resolution: float | str | None = None,
    tile_size: int | None = None,
    overlap: int = 128,
) -> NDArray[np.float32]:
    """Probability ``(classes, h, w)`` of an image in memory, NaN where there is no data.

    Raises OptionError if the model needs a near-infrared band that the image does not have.
    """
    if not predict.optional_nir and not raster.has_nir:
        raise OptionError(f"no near-infrared, and model {predict.name!r} was not trained without it; take 'fast'")
    image = np.where(raster.valid, raster.data, np.nan)

    def read(first: int, out: NDArray[np.float32]) -> None:
        out[...] = image[:, first : first + out.shape[1]]

    strips = mosaic(
        read,
        raster.geobox.shape,
        predict,
        classes=classes or predict.classes,
        factors=find_factors(raster.geobox.pixel_size, predict.pixel_size, working_resolution),
        tile_size=tile_size,
        overlap=overlap,
    )
    return np.concatenate([strip.probability for strip in strips], 1)


def _reported(strips: Iterable[Strip], progress: Progress, rows: int) -> Iterator[Strip]:
    done = itertools.count(1)  # `enumerate` would hold on to strips
    for strip in strips:
        progress(next(done), rows)
        yield strip
        del strip


def fill_gaps(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tiles ``(N, 4, H, W)`` whose narrow gaps hold the values of the nearest row in the same column, for the network.

    A gap is NaN in red, has data above and below, and is at most `WIDEST` rows high; all other NaN stay. The mask
    keeps gaps as no data: filling only spares their surroundings. Tiles without gaps are returned as they are.
    """
    filled = reflectance
    for index, tile in enumerate(reflectance):
        missing = np.isnan(tile[0])
        ends, begins = missing[1:] & ~missing[:-1], missing[:-1] & ~missing[1:]
        between = np.flatnonzero(ends.any(0) & begins.any(0))  # columns whose data end and begin again, or the reverse
        source, within = _nearest_rows(missing[:, between])
        if within.any():
            filled = reflectance.copy() if filled is reflectance else filled
            rows, cols = np.nonzero(within)
            filled[index][:, rows, between[cols]] = tile[:, source[rows, cols], between[cols]]
    return filled


def _nearest_rows(missing: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """For each pixel the nearest row with data in its column, and whether it lies in a narrow gap, both ``(H, W)``."""
    height = missing.shape[0]
    rows = np.arange(height, dtype="int32")[:, None]
    above = np.maximum.accumulate(np.where(missing, -1, rows), axis=0)
    below = np.minimum.accumulate(np.where(missing, height, rows)[::-1], axis=0)[::-1]
    within = missing & (above >= 0) & (below < height) & (below - above <= WIDEST + 1)
    return np.where(rows - above <= below - rows, above, below), within
