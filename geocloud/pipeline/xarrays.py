"""Masks of xarray objects, as returned by stackstac, odc-stac and rioxarray: in memory, or lazily with dask."""

from __future__ import annotations

import logging
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
from geocloud.models import DEFAULT
from geocloud.outputs import styles
from geocloud.outputs.mask import NO_DATA
from geocloud.pipeline.arrays import mask_array
from geocloud.pipeline.load import load
from geocloud.tiling.model import Predict
from geocloud.tiling.resample import find_factors

if TYPE_CHECKING:
    import xarray

log = logging.getLogger(__name__)

NAMES = {"red": ("red",), "green": ("green",), "blue": ("blue",), "nir": ("nir", "nir08")}
"""Accepted names of the bands, which are STAC's common names."""

CRS_COORDINATES = ("spatial_ref", "epsg", "proj:epsg", "proj:code", "crs")
"""Coordinates that may hold the CRS: rioxarray's and odc-stac's, then stackstac's."""

REACH = 128
"""Overlap of dask blocks on each side, in pixels that the model sees. Blocks start at multiples of it, and so of the
network's stride: other starts change 0.3 % of a mask."""


def mask_xarray(
    image: xarray.DataArray | xarray.Dataset,
    *,
    pixel_size: float | None = None,
    model: str | Path | Predict = DEFAULT,
    threshold: float | None = None,
    shadows: bool = False,
    shadow_threshold: float | None = None,
) -> xarray.DataArray:
    """Masks an image, or a stack of images, on the same pixels: see `geocloud.mask_array`.

    The mask is lazy if the image is. Dask then computes it block by block, with overlaps that hide the seams.

    Args:
        image: Reflectance at the top of the atmosphere (0 to about 1.2), NaN where there is no data: a DataArray with
            dimensions ``band``, ``y``, ``x`` and possibly others, such as ``time``, whose coordinate ``band`` names the
            bands; or a Dataset with a variable per band. Bands are named red, green, blue and nir (or nir08); nir may
            be missing.
        pixel_size: In metres; None: from the coordinates and the CRS (``spatial_ref``, ``epsg`` or ``proj:epsg``), if
            the image has them.
        model: A bundled model's name or a checkpoint's path, which each process loads once; or a loaded model.
        threshold: Pixels with a higher probability of cloud are cloud; None: the model's own.
        shadows: Whether cloud shadow is masked too, as 2.
        shadow_threshold: Pixels with a higher probability of shadow, unless cloud, are shadow; None: the model's own.

    Raises:
        GeocloudError: BandError for missing bands, OptionError for wrong dimensions and for values that cannot be
            reflectance (if the image is lazy, only when it is computed), DependencyError without xarray.
    """
    try:
        import xarray
    except ImportError as error:
        raise DependencyError("mask_xarray needs xarray; run pip install 'geocloud[xarray]'") from error
    bands = _bands(image, xarray)
    metres = pixel_size or _pixel_size(bands)
    how = {"pixel_size": metres, "threshold": threshold, "shadows": shadows, "shadow_threshold": shadow_threshold}
    of_block = partial(_mask, model=model, how=how)
    if bands.chunks is None:
        values: Any = of_block(bands.values)
    else:
        import dask.array

        reach = round(REACH * _factor(_of(model), metres))
        sides = {axis: _chunks(bands.shape[axis], max(bands.chunks[axis]), reach) for axis in (-2, -1)}
        whole = bands.data.rechunk({0: -1, **{bands.ndim + axis: chunks for axis, chunks in sides.items()}})
        depth = {bands.ndim + axis: reach if len(chunks) > 1 else 0 for axis, chunks in sides.items()}
        values = dask.array.map_overlap(
            of_block, whole, depth=depth, boundary="none", drop_axis=0, dtype="uint8", meta=np.empty((0,) * 2, "uint8")
        )
    mask = bands.isel(band=0, drop=True).copy(data=values).rename("cloud_mask")
    mask.attrs = name_flags(shadows)
    mask.encoding = {}
    return mask


def name_flags(shadows: bool) -> dict[str, Any]:
    """Attributes that name the values of a mask, by the CF conventions, section 3.5."""
    classes = {**styles.classes(shadows), NO_DATA: "no_data"}
    return {"flag_values": list(classes), "flag_meanings": " ".join(classes.values()), "nodata": NO_DATA}


def _chunks(size: int, chunk: int, unit: int) -> tuple[int, ...]:
    """Chunks of about the given size, multiples of ``unit`` but the last, which is at least ``unit``."""
    side = max(1, round(chunk / unit)) * unit
    count = max(1, (size - unit) // side + 1) if size > side else 1
    return (*(side,) * (count - 1), size - side * (count - 1))


def _bands(image: Any, xarray: Any) -> Any:
    """Red, green, blue and nir as a DataArray ``(band, …, y, x)``; nir is NaN if the image has none."""
    if isinstance(image, xarray.Dataset):
        there = [str(name) for name in image.data_vars]
    elif isinstance(image, xarray.DataArray):
        if "band" not in image.dims or "band" not in image.coords:
            raise BandError(f"dimensions {image.dims}: wanted one named band, with a coordinate that names the bands")
        there = [str(name) for name in image["band"].values]
        image = image.drop_vars([c for c in image.coords if c != "band" and "band" in image[c].dims])  # of bands
    else:
        raise OptionError(f"{type(image).__name__}: wanted a DataArray or a Dataset of xarray")
    found = {band: next((name for name in NAMES[band] if name in there), None) for band in BANDS}
    missing = [band for band in BANDS[:3] if found[band] is None]
    if missing:
        raise BandError(f"no {' and no '.join(missing)} among the bands {', '.join(there)}; rename them")
    if found["nir"] is None:
        log.warning("without near-infrared, bright ground is more easily taken for cloud")
    layers = [_layer(image, name, xarray) for name in found.values() if name is not None]
    if found["nir"] is None:
        layers.append(xarray.full_like(layers[0], np.nan))
    stack = xarray.concat(layers, xarray.Variable("band", list(BANDS)), coords="minimal", compat="override")
    return stack.transpose("band", ..., *_ground(stack))


def _layer(image: Any, name: str, xarray: Any) -> Any:
    layer = image[name] if isinstance(image, xarray.Dataset) else image.sel(band=name)
    if layer.dtype.kind != "f":
        raise OptionError(f"band {name} holds {layer.dtype}: wanted reflectance as floats, with NaN for no data")
    return layer.drop_vars("band", errors="ignore").astype("float32")


def _ground(image: Any) -> tuple[str, str]:
    for rows, cols in (("y", "x"), ("latitude", "longitude"), ("lat", "lon")):
        if rows in image.dims and cols in image.dims:
            return rows, cols
    raise OptionError(f"dimensions {image.dims}: wanted y and x (or latitude and longitude)")


def _pixel_size(image: Any) -> float | None:
    """Longer side of a pixel in metres; None without coordinates or CRS."""
    rows, cols = _ground(image)
    crs = _crs(image)
    if crs is None or rows not in image.coords or min(image.sizes[rows], image.sizes[cols]) < 2:
        log.warning("no CRS or coordinates: the image is not resampled; give pixel_size if it is finer than 30 m")
        return None
    y, x = image[rows].values, image[cols].values
    place = Affine(x[1] - x[0], 0, x[0], 0, y[1] - y[0], y[0])
    size = GeoBox(image.sizes[rows], image.sizes[cols], place, crs).pixel_size
    return max(size) if size else None


def _crs(image: Any) -> CRS | None:
    for name in CRS_COORDINATES:
        if name not in image.coords:
            continue
        held = image[name]
        value = "" if held.ndim else held.values.item()
        said = held.attrs.get("crs_wkt") or held.attrs.get("spatial_ref") or value
        try:
            return CRS.from_user_input(said if isinstance(said, str) else int(said))
        except (CRSError, TypeError, ValueError):
            continue
    return None


@lru_cache(maxsize=2)
def _loaded(model: str) -> Predict:
    """The model, loaded once per process."""
    return load(model)


def _of(model: str | Path | Predict) -> Predict:
    return _loaded(str(model)) if isinstance(model, (str, Path)) else model


def _factor(model: Predict, metres: float | None) -> float:
    return find_factors((metres, metres) if metres else None, model.pixel_size)[0]


def _mask(block: NDArray[np.float32], *, model: str | Path | Predict, how: dict[str, Any]) -> NDArray[np.uint8]:
    """Images ``(4, …, h, w)`` → masks ``(…, h, w)``."""
    out = np.empty(block.shape[1:], "uint8")
    for place in np.ndindex(*out.shape[:-2]):
        out[place] = mask_array(block[:, *place], model=_of(model), **how)
    return out
