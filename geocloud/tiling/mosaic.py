"""Prediction of whole images: resample to the model's pixel size, cut into tiles, predict, blend, resample back.

Memory use does not depend on the scene's height.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import OptionError
from geocloud.options import MaskOptions
from geocloud.raster import Raster
from geocloud.tiling.resample import NATIVE, Coarse, Factors, find_factors
from geocloud.tiling.tiles import Predict, ReadRows, Strip, TileGrid

Progress = Callable[[int, int], None]
"""Called with the number of finished rows of tiles, and their total."""

WIDEST = 16
"""Height in rows of the largest gap in the data that is filled. Landsat 7 scenes since 2003, when the scan-line
corrector failed, have gaps of up to 14 rows at their edges."""


def mosaic(
    read: ReadRows,
    shape: tuple[int, int],
    predict: Predict,
    options: MaskOptions,
    *,
    classes: int,
    factors: Factors = NATIVE,
    progress: Progress | None = None,
) -> Iterator[Strip]:
    """Predicts an image of ``shape`` (height, width) from top to bottom, in strips at the image's own pixel size.

    Only the first ``classes`` probabilities are kept. ``factors`` are those of `find_factors`.
    """
    coarse = None if factors == NATIVE else Coarse(read, *shape, factors)
    grid = TileGrid.fitted(*(coarse.shape if coarse else shape), options.tile_size, options.overlap)
    strips = blend(grid, tile_rows(grid, coarse.read if coarse else read), predict, classes, progress)
    return coarse.enlarge(strips) if coarse else strips


def predict_raster(
    predict: Predict, raster: Raster, options: MaskOptions, classes: int | None = None
) -> NDArray[np.float32]:
    """Probability ``(classes, h, w)`` of an image in memory, NaN where there is no data.

    Raises OptionError if the model needs a near-infrared band that the image does not have.
    """
    if not predict.optional_nir and not raster.has_nir:
        raise OptionError(f"no near-infrared, and model {predict.name!r} was not trained without it; take 'fast'")
    image = np.where(raster.valid, raster.data, np.nan)

    def read(first: int, out: NDArray[np.float32]) -> None:
        out[...] = image[:, first : first + out.shape[1]]

    factors = find_factors(raster.geobox.pixel_size, predict.pixel_size, options.working_resolution)
    classes = classes or predict.classes
    strips = mosaic(read, raster.geobox.shape, predict, options, classes=classes, factors=factors)
    return np.concatenate([strip.probability for strip in strips], 1)


def tile_rows(grid: TileGrid, read: ReadRows) -> Iterator[NDArray[np.float32]]:
    """Rows of tiles of a scene, from top to bottom, each ``(4, tile_height, reach)``. Each pixel is read once.

    Pixels are NaN where there is no data, and mirrored beyond the edges of the scene. All rows of tiles share one
    array, which is overwritten when the next row is requested.
    """
    reflectance = np.empty((4, grid.tile_height, grid.reach), "float32")
    first = 0
    for top in range(0, grid.rows * grid.step, grid.step):
        if top:
            reflectance[:, : grid.overlap] = reflectance[:, grid.step :]
        inside = min(grid.tile_height, grid.height - top)
        fresh = reflectance[:, first - top : inside]
        read(first, fresh[:, :, : grid.width])
        fresh[:, :, grid.width :] = fresh[:, :, _mirrored(grid.width, grid.reach)]
        reflectance[:, inside:] = reflectance[:, _mirrored(inside, grid.tile_height)]
        yield reflectance
        first = top + inside


def _mirrored(size: int, total: int) -> NDArray[np.integer]:
    """Indices of the pixels that are mirrored to indices ``size`` to ``total`` (exclusive)."""
    return np.pad(np.arange(size), (0, total - size), "symmetric")[size:]


def blend(
    grid: TileGrid,
    rows: Iterable[NDArray[np.float32]],
    predict: Predict,
    classes: int = 1,
    progress: Progress | None = None,
) -> Iterator[Strip]:
    """Predicts all tiles and blends their overlaps; only the first ``classes`` probabilities are kept.

    At each pixel the weights of all tiles sum to one, see `TileGrid`. Each row has only as many tiles as cover its
    data. If the upper, lower, left or right half of a tile has no data, only the other half is predicted.
    """

    def predict_group(reflectance: NDArray[np.float32], group: list[_Part]) -> NDArray[np.float32]:
        tiles = [reflectance[:, rows, cols] for rows, cols, _ in group]
        return predict(tiles[0][None] if len(tiles) == 1 else np.stack(tiles))  # a single tile is not copied

    canvas = np.zeros((classes, grid.tile_height, grid.reach), "float32")  # weighted sums of probabilities
    with ThreadPoolExecutor(predict.workers) as pool:
        for row, reflectance in enumerate(rows):
            top = row * grid.step
            valid = ~np.isnan(reflectance[0])
            valid[grid.height - top :] = valid[:, grid.width :] = False  # mirrored pixels are outside the scene
            down = grid.row_weights(row)[:, None]
            groups = list(_groups(_parts_with_data(grid, valid), predict.batch))
            answers = pool.map(partial(predict_group, reflectance), groups)
            for group, answer in zip(groups, answers, strict=True):
                for (part_rows, part_cols, weights), probability in zip(group, answer, strict=True):
                    weighted = down[part_rows] * probability[:classes]
                    weighted *= weights
                    canvas[:, part_rows, part_cols] += weighted
            done = np.s_[: grid.height - top if row == grid.rows - 1 else grid.step, : grid.width]
            strip = canvas[:, *done].copy()
            np.copyto(strip, np.nan, where=~valid[done])
            if progress:
                progress(row + 1, grid.rows)
            yield Strip(top, strip)
            del strip  # free the memory before the next row of tiles
            canvas[:, : grid.overlap] = canvas[:, grid.step :]
            canvas[:, grid.overlap :] = 0


_Part = tuple[slice, slice, NDArray[np.float32]]
"""The part of a tile that is predicted: its rows and columns in the row of tiles, and its weights by column."""


def _parts_with_data(grid: TileGrid, valid: NDArray[np.bool_]) -> Iterator[_Part]:
    """The parts of a row of tiles that cover its data. ``valid``: ``(tile_height, reach)``, True if there is data."""
    data_cols = np.flatnonzero(valid.any(0))
    if not data_cols.size:
        return
    starts = grid.starts(int(data_cols[0]), int(data_cols[-1]) + 1)
    for col, start in enumerate(starts):
        inside = valid[:, start : start + grid.tile_width]
        if inside.any():
            rows, cols = (_extent(np.logical_or.reduce(inside, axis)) for axis in (1, 0))
            yield rows, slice(start + cols.start, start + cols.stop), grid.col_weights(col, len(starts))[cols]


def _extent(has_data: NDArray[np.bool_]) -> slice:
    """Slice from the first to the last True value, extended to one half of the array, or all of it.

    Halves are multiples of 32 pixels. Finer slices would give more input shapes, each of which costs time and memory.
    """
    where = np.flatnonzero(has_data)
    unit = 32 * math.ceil(has_data.size / 64)
    return slice(int(where[0]) // unit * unit, min(math.ceil((int(where[-1]) + 1) / unit) * unit, has_data.size))


def _groups(parts: Iterable[_Part], limit: int) -> Iterator[list[_Part]]:
    """Groups of consecutive parts of the same shape, at most ``limit`` in each."""
    for _, same in itertools.groupby(parts, key=lambda part: [side.stop - side.start for side in part[:2]]):
        while group := list(itertools.islice(same, limit)):
            yield group


def fill_gaps(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tiles ``(N, 4, H, W)`` whose narrow gaps are filled with the nearest valid pixel of the same column.

    A gap is NaN in red, has data above and below, and is at most `WIDEST` rows high; all other NaN stay. In the mask,
    gaps are still no data: filling only improves the prediction around them. Tiles without gaps are unchanged.
    """
    filled = reflectance
    for index, tile in enumerate(reflectance):
        missing = np.isnan(tile[0])
        ends, begins = missing[1:] & ~missing[:-1], missing[:-1] & ~missing[1:]
        between = np.flatnonzero(ends.any(0) & begins.any(0))  # columns with both an end and a start of data
        source, within = _nearest_rows(missing[:, between])
        if within.any():
            filled = reflectance.copy() if filled is reflectance else filled
            rows, cols = np.nonzero(within)
            filled[index][:, rows, between[cols]] = tile[:, source[rows, cols], between[cols]]
    return filled


def _nearest_rows(missing: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The nearest row with data in each pixel's column, and True for pixels in narrow gaps, both ``(H, W)``."""
    height = missing.shape[0]
    rows = np.arange(height, dtype="int32")[:, None]
    above = np.maximum.accumulate(np.where(missing, -1, rows), axis=0)
    below = np.minimum.accumulate(np.where(missing, height, rows)[::-1], axis=0)[::-1]
    within = missing & (above >= 0) & (below < height) & (below - above <= WIDEST + 1)
    return np.where(rows - above <= below - rows, above, below), within
