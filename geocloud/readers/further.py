"""Further bands of a scene: short-wave infrared at 1.6 µm (swir1) and the cirrus band at 1.37 µm.

Products name their bands alike: the file of another band lies beside that of red, under the same name but for the
band's number. Stacks tell them by description.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.readers.scene import RasterScene
from geocloud.readers.source import BandSource
from geocloud.readers.stack import open_raster

NUMBERS = {
    ("4", "5"): {"swir1": "6", "cirrus": "9"},  # OLI, on Landsat 8 and 9, and HLS L30
    ("3", "4"): {"swir1": "5"},  # TM and ETM+, on Landsat 4 to 7
    ("4", "8"): {"swir1": "11", "cirrus": "10"},  # MSI, on Sentinel-2, and HLS S30
    ("4", "8A"): {"swir1": "11", "cirrus": "10"},
}
"""Numbers of red and near-infrared → those of the further bands."""
WORDS = {"swir1": ("swir1", "swir16", "swir 1"), "cirrus": ("cirrus",)}  # descriptions of further bands in a stack
NUMBER = re.compile(r"(?<![A-Za-z])((?:SR_?|TOA_|TA)?(?:B|band)_?)(0?)(\d{1,2}A?)(?![0-9A-Za-z])", re.IGNORECASE)
"""A band's number in a file's name or a description."""

ReadBand = Callable[[int, int], NDArray[np.float32]]
"""Reads the rows of a scene from the first to the last (exclusive): reflectance ``(rows, width)``, NaN: no data."""


@contextmanager
def further_band(scene: RasterScene, name: str) -> Iterator[ReadBand | None]:
    """Opens a further band of a scene, on the scene's grid; coarser pixels are interpolated, bilinear.

    Args:
        scene: An open scene.
        name: swir1 or cirrus.

    Yields:
        The function that reads it; None if the scene has no such band, or none with the scale of its other bands.

    Raises:
        SceneReadError: The band is damaged; raised when it is read.
    """
    with ExitStack() as stack:
        conversion, source, grid = _conversion(scene, name), _find(scene, name), scene.grid
        if conversion is None or source is None:
            yield None
            return
        dataset = stack.enter_context(open_raster(source.path, source.label))
        own = GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs)
        is_aligned = own.agrees_with(scene.file_grid) or (own.shape == scene.file_grid.shape and own.crs is None)
        if not is_aligned:
            if own.crs is None or grid.crs is None:
                yield None
                return
            warp = {**grid.profile, "resampling": Resampling.bilinear, "add_alpha": False}
            dataset = stack.enter_context(WarpedVRT(dataset, **warp))
        scale, offset = np.float32(conversion.scale[0]), np.float32(conversion.offset[0])

        def read(first: int, last: int) -> NDArray[np.float32]:
            window = Window(0, first, grid.width, last - first)
            window = scene.file_window(window) if is_aligned else window
            try:
                values = dataset.read(source.index, window=window, masked=True)
            except gdal.TROUBLE as error:
                raise SceneReadError(f"{source.label}: damaged or cut off ({error}); fetch the file again") from error
            reflectance = np.ma.filled(values.astype("float32") * scale + offset, np.nan)
            reflectance[np.asarray(values.data) == 0] = np.nan
            return reflectance[::-1] if is_aligned and scene.south_up else reflectance

        yield read


def read_further(scene: RasterScene, name: str, window: Window) -> NDArray[np.float32]:
    """Reflectance of a window of a further band, NaN without data. Raises BandError, SceneReadError."""
    with further_band(scene, name) as read:
        if read is None:
            raise BandError(f"{scene.recipe.source}: no band {name}, or none with the scale of the other bands")
        rows, cols = window.toslices()
        return read(rows.start, rows.stop)[:, cols]


def _conversion(scene: RasterScene, name: str) -> Conversion | None:
    """Conversion of a further band: that which all bands share, or its own by the metadata; None: unknown."""
    scales, offsets = {*scene.conversion.scale[: scene.bands]}, {*scene.conversion.offset[: scene.bands]}
    if len(scales) == len(offsets) == 1:
        return scene.conversion
    own, sun = scene.recipe.swir1, scene.sun_elevation
    if name != "swir1" or own is None or sun is None or scene.units is not Units.LANDSAT_L1:
        return None
    return own.lit_by(sun)


def _find(scene: RasterScene, name: str) -> BandSource | None:
    """The band of a stack by its description, or the file beside that of red by its name."""
    bands = scene.recipe.bands
    red, *_, nir = bands
    if len({band.path for band in bands}) == 1:
        with open_raster(red.path, red.label) as dataset:
            texts = [(text or "").strip() for text in dataset.descriptions]
        index = match(texts, texts[red.index - 1], texts[nir.index - 1], name)
        return None if index is None else BandSource(red.path, red.label, index + 1)
    for path in beside(red.path, nir.path, name) if len(bands) == 4 else ():
        label = next(iter(beside(red.label, nir.label, name)), path)
        with suppress(SceneReadError):
            open_raster(path, label).close()
            return BandSource(path, label)
    return None


def match(names: Sequence[str], red: str, nir: str, wanted: str) -> int | None:
    """Index of a further band: by its name, or by its number and those of red and near-infrared; None: not told."""
    numbers = [parts[3].upper() if (parts := NUMBER.search(name)) else "" for name in (red, nir, *names)]
    number = NUMBERS.get((numbers[0], numbers[1]), {}).get(wanted, "none")
    found = [index for index, name in enumerate(names) if name.lower() in WORDS[wanted]]
    found = found or [index for index, other in enumerate(numbers[2:]) if other == number]
    return found[0] if len(found) == 1 else None


def beside(red: str, nir: str, name: str) -> list[str]:
    """Names that the file of a band may have, given those of red and near-infrared."""
    last = [(None, *NUMBER.finditer(path))[-1] for path in (red, nir)]
    parts, other = last
    if not parts or not other:
        return []
    number = NUMBERS.get((parts[3].upper(), other[3].upper()), {}).get(name)
    if number is None:
        return []
    padded = number.zfill(2) if len(parts[2] + parts[3]) > 1 else number
    path = f"{red[: parts.start()]}{parts[1]}{padded}{red[parts.end() :]}"
    return [path, path.replace("/R10m/", "/R20m/").replace("_10m.", "_20m.")]  # of Sentinel-2 Level-2A
