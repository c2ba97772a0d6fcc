"""Masks of xarray objects, as returned by odc-stac, stackstac and rioxarray: in memory, or lazily with dask."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geocloud.bands import BANDS
from geocloud.errors import BandError, DependencyError, OptionError
from geocloud.grid import GeoBox
from geocloud.masks.codes import LAYERS, Thresholds, to_mask
from geocloud.masks.refine import Step, refine, refinements
from geocloud.models import DEFAULT
from geocloud.options import MaskOptions
from geocloud.pipeline.arrays import in_memory
from geocloud.pipeline.mask import Model, find_thresholds, load
from geocloud.raster import Raster, Sun
from geocloud.readers import bands_by_name
from geocloud.readers.further import match
from geocloud.tiling.mosaic import predict_raster
from geocloud.tiling.resample import find_factors
from geocloud.tiling.tiles import Predict
from geocloud.writers import styles

if TYPE_CHECKING:
    import xarray

log = logging.getLogger(__name__)

CRS_COORDINATES = ("spatial_ref", "epsg", "proj:epsg", "proj:code", "crs")
"""Coordinates that may hold the CRS: rioxarray's and odc-stac's, then stackstac's."""

PADDING = 128
"""Overlap of dask blocks on each side, in pixels of the model's input. Blocks start at multiples of it, and so of the
network's stride; other starts change 0.3 % of a mask."""


def mask_xarray(
    image: xarray.DataArray | xarray.Dataset,
    *,
    pixel_size: float | None = None,
    sun: Sun | None = None,
    model: Model = DEFAULT,
    options: MaskOptions | None = None,
    probability: bool = False,
    **changes: Any,
) -> Any:
    """Masks an xarray image, or a stack of images on one grid; see `geocloud.mask_raster`.

    The mask is lazy if the image is. Dask then computes it block by block, with overlaps that avoid seams.

    Args:
        image: Reflectance at the top of the atmosphere (0 to about 1.2), NaN where there is no data: a DataArray with
            dimensions ``band``, ``y``, ``x`` and possibly others, such as ``time``, whose coordinate ``band`` names the
            bands; or a Dataset with a variable per band. Bands have STAC's common names, or those of Landsat's or
            Sentinel-2's products; nir may be missing. Snow and cirrus need the bands swir16 (B6, B11) and cirrus (B9,
            B10). Integers need the attribute ``scale_factor`` (or ``scale``) and, if they have a nodata value,
            ``_FillValue`` (or ``nodata``).
        pixel_size: Pixel size in metres; None: from the coordinates and the CRS (``spatial_ref``, ``epsg`` or
            ``proj:epsg``), if the image has them.
        sun: Position of the sun, the same in all images; None: unknown.
        model: As for `geocloud.mask_raster`; each process loads a model given by name once.
        options: As for `geocloud.mask_raster`.
        probability: True returns a Dataset of ``cloud_mask``, ``cloud_probability`` and, if shadow is requested,
            ``shadow_probability``.
        changes: As for `geocloud.mask_raster`.

    Returns:
        The mask as a DataArray ``(…, y, x)``, uint8, with the values of `geocloud.mask_raster`, or a Dataset with it.

    Raises:
        GeocloudError: BandError for missing bands, OptionError for wrong dimensions and for values that cannot be
            reflectance (if the image is lazy, only when it is computed), DependencyError without xarray.
    """
    try:
        import xarray
    except ImportError as error:
        raise DependencyError("mask_xarray needs xarray; run pip install 'geocloud[xarray]'") from error
    options = in_memory(options, changes)
    bands = _bands(image, options.further, xarray)
    geobox, predict = _geobox(bands, pixel_size), _of(model)
    turn = {_ground(bands)[0]: slice(None, None, -1 if geobox.south_up else 1)}
    bands, geobox = bands.isel(turn), geobox.flip() if geobox.south_up else geobox
    thresholds, steps = find_thresholds(predict, options), refinements(options, geobox, sun)
    size = max(geobox.pixel_size) if geobox.pixel_size else None
    of_block = partial(_predict, model=model, size=size, classes=thresholds.classes, options=options)
    to_masks = partial(_to_masks, thresholds=thresholds, options=options, steps=steps)
    if bands.chunks is None:
        values: Any = of_block(bands.values)
        mask = to_masks(values)
    else:
        padding = round(PADDING * max(find_factors(geobox.pixel_size, predict.pixel_size, options.working_resolution)))
        values = _predict_lazily(bands, of_block, padding, thresholds.classes + len(options.further))
        # Refinement crosses the borders of blocks, so it takes whole images.
        blocks = values.rechunk({-2: -1, -1: -1}) if steps else values
        mask = blocks.map_blocks(to_masks, drop_axis=0, dtype="uint8")
    like = bands.isel(band=0, drop=True)
    result = like.copy(data=mask).rename("cloud_mask")
    result.attrs, result.encoding = styles.name_flags(options.codes), {}
    if not probability:
        return result.isel(turn)
    layers = {"cloud_mask": result}
    for position, name in enumerate(("cloud", "shadow")[: thresholds.classes]):
        layers[f"{name}_probability"] = like.copy(data=values[position])
        layers[f"{name}_probability"].attrs = {"units": "1"}
    return xarray.Dataset(layers).isel(turn)


def _predict_lazily(bands: Any, of_block: Any, padding: int, layers: int) -> Any:
    """`_predict` on a lazy image, in blocks that overlap by ``padding`` pixels: ``(layers, …, h, w)``."""
    from dask.array.overlap import overlap, trim_internal

    sides = {axis: _chunks(bands.shape[axis], max(bands.chunks[axis]), padding) for axis in (-2, -1)}
    whole = bands.data.rechunk({0: -1, **{bands.ndim + axis: chunks for axis, chunks in sides.items()}})
    depth = {bands.ndim + axis: padding if len(chunks) > 1 else 0 for axis, chunks in sides.items()}
    padded = overlap(whole, depth, boundary="none")
    predicted = padded.map_blocks(of_block, chunks=((layers,), *padded.chunks[1:]), dtype="float32")
    return trim_internal(predicted, depth, boundary="none")


def _predict(
    block: NDArray[np.float32], *, model: Model, size: float | None, classes: int, options: MaskOptions
) -> NDArray[np.float32]:
    """Images ``(bands, …, h, w)`` → probability, then a layer for each further band ``(classes + layers, …, h, w)``."""
    out = np.empty((classes + len(options.further), *block.shape[1:]), "float32")
    for place in np.ndindex(*out.shape[1:-2]):
        image = block[:, *place]
        raster = Raster.from_array(image[:4], pixel_size=size)
        out[:classes, *place] = predict_raster(_of(model), raster, options, classes)
        for index, name in enumerate(options.further):
            out[classes + index, *place] = LAYERS[name](image[:4], image[4 + index])
    return out


def _to_masks(
    values: NDArray[np.float32], *, thresholds: Thresholds, options: MaskOptions, steps: list[Step]
) -> NDArray[np.uint8]:
    """Refined masks ``(…, h, w)`` from the values that `_predict` returns."""
    out = np.empty(values.shape[1:], "uint8")
    for place in np.ndindex(*out.shape[:-2]):
        layers = dict(zip(options.further, values[thresholds.classes :, *place], strict=True))
        out[place] = refine(to_mask(values[:, *place], thresholds, layers, options.snow), steps)
    return out


def _chunks(size: int, chunk: int, unit: int) -> tuple[int, ...]:
    """Chunk sizes of about ``chunk``: multiples of ``unit``, except the last, which is at least ``unit``."""
    side = max(1, round(chunk / unit)) * unit
    count = max(1, (size - unit) // side + 1) if size > side else 1
    return (*(side,) * (count - 1), size - side * (count - 1))


def _bands(image: Any, further: tuple[str, ...], xarray: Any) -> Any:
    """Red, green, blue, nir (NaN if the image has none) and further bands as a DataArray ``(band, …, y, x)``."""
    if isinstance(image, xarray.DataArray):
        if "band" not in image.dims or "band" not in image.coords:
            raise BandError(f"dimensions {image.dims}: wanted one named band, with a coordinate that names the bands")
        image = image.drop_vars([c for c in image.coords if c != "band" and "band" in image[c].dims])  # per band
    elif not isinstance(image, xarray.Dataset):
        raise OptionError(f"{type(image).__name__}: wanted a DataArray or a Dataset of xarray")
    names = [str(name) for name in (image.data_vars if isinstance(image, xarray.Dataset) else image["band"].values)]
    chosen = [names[index - 1] for index in bands_by_name(names, "image") or ()]
    if not chosen and set(BANDS[:3]) <= set(names):
        chosen = list(BANDS[:3])
    if not chosen:
        raise BandError(f"bands {', '.join(names)}: wanted red, green, blue and nir; rename them")
    layers = [_layer(image, name, xarray) for name in chosen]
    if len(layers) == 3:
        log.warning("without near-infrared, bright ground is more easily taken for cloud")
        layers.append(xarray.full_like(layers[0], np.nan))
    for wanted in further:
        if (index := match(names, chosen[0], chosen[-1], wanted)) is None:
            problem = f"snow and cirrus need further bands, and the image has no {wanted}"
            raise OptionError(f"bands {', '.join(names)}: {problem}")
        layers.append(_layer(image, names[index], xarray))
    stack = xarray.concat(layers, xarray.Variable("band", [*BANDS, *further]), coords="minimal", compat="override")
    return stack.transpose("band", ..., *_ground(stack))


def _layer(image: Any, name: str, xarray: Any) -> Any:
    """One band as float32 reflectance, NaN where there is no data."""
    layer = image[name] if isinstance(image, xarray.Dataset) else image.sel(band=name)
    facts = {**image.attrs, **layer.attrs}  # not encoding: xarray has already applied it
    scale = facts.get("scale_factor", facts.get("scale"))
    if layer.dtype.kind != "f" and scale is None:
        raise OptionError(
            f"band {name} holds {layer.dtype}, and no attribute scale_factor says what its values are: set "
            "scale_factor (0.0001 for values × 10 000), add_offset and _FillValue, or pass reflectance as floats"
        )
    values = layer.drop_vars("band", errors="ignore").astype("float32")
    fill = facts.get("_FillValue", facts.get("nodata"))
    if fill is not None and np.isfinite(fill):
        values = values.where(layer.drop_vars("band", errors="ignore") != fill)
    if layer.dtype.kind != "f":
        values = values * np.float32(scale) + np.float32(facts.get("add_offset", facts.get("offset", 0)))
    return values


def _ground(image: Any) -> tuple[str, str]:
    for rows, cols in (("y", "x"), ("latitude", "longitude"), ("lat", "lon")):
        if rows in image.dims and cols in image.dims:
            return rows, cols
    raise OptionError(f"dimensions {image.dims}: wanted y and x (or latitude and longitude)")


def _geobox(image: Any, pixel_size: float | None) -> GeoBox:
    """The grid from coordinates and CRS; without these, a grid of ``pixel_size``, if that is given."""
    rows, cols = _ground(image)
    height, width = image.sizes[rows], image.sizes[cols]
    crs, placed = _crs(image), rows in image.coords and cols in image.coords
    stated = (pixel_size, pixel_size) if pixel_size else None
    if placed:
        y, x = image[rows].values, image[cols].values
        given = str(image["spatial_ref"].attrs.get("GeoTransform", "")).split() if "spatial_ref" in image.coords else []
        given = given if len(given) == 6 else [""] * 6
        right = x[1] - x[0] if width > 1 else float(given[1] or 0)
        down = y[1] - y[0] if height > 1 else float(given[5] or 0)
        placed = bool(right and down)
    if not (stated or (placed and crs)):
        log.warning("no CRS or coordinates: the image is not resampled; give pixel_size if it is finer than 30 m")
    if placed:
        return GeoBox(height, width, Affine(right, 0, x[0] - right / 2, 0, down, y[0] - down / 2), crs, stated)
    size = pixel_size or 1.0
    return GeoBox(height, width, Affine.scale(size, -size), None, stated)


def _crs(image: Any) -> CRS | None:
    for coordinate in (image[name] for name in CRS_COORDINATES if name in image.coords):
        value = "" if coordinate.ndim else coordinate.values.item()
        text = coordinate.attrs.get("crs_wkt") or coordinate.attrs.get("spatial_ref") or value
        with suppress(CRSError, TypeError, ValueError):
            return CRS.from_user_input(text if isinstance(text, str) else int(text))
    return None


_loaded = lru_cache(maxsize=2)(load)


def _of(model: Model) -> Predict:
    """The loaded model; a model given by name is loaded once per process."""
    return _loaded(model) if isinstance(model, (str, Path)) else load(model)
