"""Copies of rasters with cloud, shadow and no data set to nodata."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geocloud.errors import BandError, GridError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.masks.codes import CLOUD, NO_DATA, SHADOW, STRIP
from geocloud.readers import RasterScene, open_raster
from geocloud.readers.source import BandSource
from geocloud.readers.stack import check_band
from geocloud.writers.cog import TILED, write_cog, writing
from geocloud.writers.staging import OutputPlan, Staging
from geocloud.writers.styles import CLASSES

log = logging.getLogger(__name__)

NODATA = {"f": float("nan"), "u": 0, "i": -9999}
"""Nodata values by kind of data type, for rasters that declare none; −128 for int8."""


def apply_mask(
    raster: str | Path,
    mask: str | Path,
    output: str | Path,
    *,
    codes: Collection[int] = (CLOUD, SHADOW),
    overwrite: bool = False,
) -> None:
    """Copies all bands of a raster to a Cloud Optimized GeoTIFF, with cloud, shadow and no data set to nodata.

    Data type, scales, offsets, descriptions and tags are kept. A raster without a nodata value gets one: NaN for
    floats, 0 for unsigned and −9999 for signed integers. A mask on another grid is resampled (nearest neighbour) to the
    raster's grid; pixels outside the mask become nodata.

    Args:
        raster: A file, or anything else that GDAL opens.
        mask: A mask by geocloud, or another raster of its values.
        output: The file to write.
        codes: Values of the mask that become nodata; 255 (no data) always does.
        overwrite: True replaces an existing file.

    Raises:
        GeocloudError: SceneReadError, BandError if the mask has other values, GridError if the two do not overlap, or
            their grids differ and one of them has no CRS, or OutputError.
    """
    plan = OutputPlan(output)
    with rasterio.Env(**gdal.OPTIONS), open_raster(str(raster), str(raster)) as dataset:
        bands = [BandSource(str(raster), str(raster), index) for index in dataset.indexes]
        plan.refuse([raster, mask])
        with Staging([plan.mask], overwrite) as staging:
            grid = GeoBox.of(dataset)
            if not copy_bands(bands, grid, grid.whole, Path(mask), staging.place(plan.mask), codes, {}, dataset.nodata):
                raise GridError(f"{mask}: no pixel with data in common with {raster}; wanted a mask of the same place")
            staging.publish()


def write_masked(scene: RasterScene, mask: Path, destination: Path, tags: dict[str, str]) -> None:
    """Writes a masked scene: all bands of a single raster, or red, green, blue and nir of separate files.

    ``mask`` is the path of the scene's finished mask.
    """
    bands: Sequence[BandSource] = scene.recipe.bands
    if len({band.path for band in bands}) == 1:
        with open_raster(bands[0].path, bands[0].label) as dataset:
            bands = [BandSource(bands[0].path, bands[0].label, index) for index in dataset.indexes]
    window = scene.file_window(scene.grid.whole)
    grid = scene.grid.flip() if scene.south_up else scene.grid  # with the CRS of the metadata
    copy_bands(bands, grid, window, mask, destination, (CLOUD, SHADOW), tags, scene.recipe.fill)


def copy_bands(
    bands: Sequence[BandSource],
    grid: GeoBox,
    window: Window,
    mask: Path,
    destination: Path,
    codes: Collection[int],
    tags: dict[str, str],
    nodata: float | None,
) -> int:
    """Copies a window of bands on one grid, with masked pixels set to nodata, also those that the rasters' own masks or
    nodata values hide. ``grid`` is the grid of the window.

    ``nodata`` is the nodata value if the rasters declare none; None: by data type, see `NODATA`. Returns the number of
    pixels with data in the mask. Raises BandError if other values than those of `CLASSES` and ``codes`` are in it.
    """
    with ExitStack() as stack:
        sources = {band.path: stack.enter_context(open_raster(band.path, band.label)) for band in bands}
        readers = [(sources[band.path], band.index) for band in bands]
        first = readers[0][0]
        for band in bands:
            check_band(sources[band.path], band)
        dtype = np.result_type(*(d.dtypes[i - 1] for d, i in readers))
        declared = next((d.nodatavals[i - 1] for d, i in readers if d.nodatavals[i - 1] is not None), nodata)
        value = (-128 if dtype == "int8" else NODATA[dtype.kind]) if declared is None else declared
        marks = stack.enter_context(on_grid(stack.enter_context(open_raster(str(mask), str(mask))), grid, NO_DATA))
        copy = destination.with_name(destination.name + ".scratch")
        profile = {**TILED, "count": len(bands), "dtype": dtype, "nodata": value, **grid.profile}
        with writing(copy), gdal.open_quietly(copy, "w", **profile) as out:
            out.scales = [d.scales[i - 1] for d, i in readers]
            out.offsets = [d.offsets[i - 1] for d, i in readers]
            out.colorinterp = [d.colorinterp[i - 1] for d, i in readers]
            for position, (source, index) in enumerate(readers, 1):
                out.update_tags(position, **source.tags(index))
            hidden = known = 0
            for here in grid.strips(STRIP):
                part = Window(window.col_off, window.row_off + here.row_off, grid.width, here.height)
                values = _read(marks, 1, here)
                other = values[~np.isin(values, (*CLASSES, *codes, NO_DATA))]
                if other.size:
                    raise BandError(
                        f"{mask}: holds {other[0]:g}, wanted a mask: 0 clear, 1 cloud, 2 shadow, 255 no data"
                    )
                known += int((values != NO_DATA).sum())
                gone = np.isin(values, (*codes, NO_DATA))
                for position, (source, index) in enumerate(readers, 1):
                    values = _read(source, index, part).astype(dtype, copy=False)
                    invalid = gone | (source.read_masks(index, window=part) == 0)
                    hidden += int(((values == value) & ~invalid).sum())
                    values[invalid] = value
                    out.write(values, position, window=here)
        if hidden:
            log.warning("%s: %d values of clear pixels are %g, which is nodata now", bands[0].label, hidden, value)
        names = [d.descriptions[i - 1] or Path(band.label).stem for band, (d, i) in zip(bands, readers, strict=True)]
        palette = len(bands) == 1 and first.colorinterp[0] == ColorInterp.palette
        colours = first.colormap(1) if palette else None
        write_cog(copy, destination, descriptions=names, tags={**first.tags(), **tags}, colours=colours)
        copy.unlink()
    return known


def on_grid(mask: Any, grid: GeoBox, nodata: int) -> Any:
    """An open mask on ``grid``, resampled (nearest neighbour) if it is on another. Raises GridError."""
    own = GeoBox.of(mask)
    if own.agrees_with(grid):
        return mask
    if own.crs is None or grid.crs is None:
        raise GridError(
            f"{mask.name}: {own.height}×{own.width} pixels, CRS {own.crs or 'none'}; the raster has "
            f"{grid.height}×{grid.width}, CRS {grid.crs or 'none'}; wanted the same grid, or a CRS in both"
        )
    return WarpedVRT(mask, src_nodata=nodata, nodata=nodata, **grid.profile)


def _read(source: Any, index: int, window: Window) -> NDArray[Any]:
    try:
        values: NDArray[Any] = source.read(index, window=window)
    except gdal.TROUBLE as error:
        raise SceneReadError(f"{source.name}: damaged or cut off ({error}); fetch the file again") from error
    return values
