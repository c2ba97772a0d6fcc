"""Bands of a scene besides the main four: short-wave infrared at 1.6 µm (swir1) and the cirrus band at 1.37 µm.

In products of one file per band, the file is named like that of red, with another band number. In stacks, the band is
identified by its description.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geocloud.bands import Conversion, Units
from geocloud.errors import SceneReadError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.readers.band_names import NUMBER
from geocloud.readers.scene import RasterScene
from geocloud.readers.source import BandSource
from geocloud.readers.stack import open_raster

NUMBERS = {
    ("4", "5"): {"swir1": "6", "cirrus": "9"},  # OLI, on Landsat 8 and 9, and HLS L30
    ("3", "4"): {"swir1": "5"},  # TM and ETM+, on Landsat 4 to 7
    ("4", "8"): {"swir1": "11", "cirrus": "10"},  # MSI, on Sentinel-2, and HLS S30
    ("4", "8A"): {"swir1": "11", "cirrus": "10"},
}
"""Band numbers of red and near-infrared → band numbers of swir1 and cirrus."""
WORDS = {"swir1": ("swir1", "swir16", "swir 1"), "cirrus": ("cirrus",)}  # descriptions of further bands in a stack

ReadBand = Callable[[int, int], NDArray[np.float32]]
"""Reads rows of a scene, from first to last (exclusive): reflectance ``(rows, width)``, NaN where there is no data."""


@contextmanager
def further_band(scene: RasterScene, name: str) -> Iterator[ReadBand | None]:
    """Opens a further band on the scene's grid; a band on another grid is resampled, bilinear.

    Args:
        scene: An open scene.
        name: swir1 or cirrus.

    Yields:
        A function that reads the band; None if the scene lacks the band, or its scale or position is unknown.

    Raises:
        SceneReadError: The band is damaged; raised on reading.
    """
    conversion, source, grid = _conversion(scene, name), _find(scene, name), scene.grid
    if conversion is None or source is None:
        yield None
        return
    with ExitStack() as stack:
        dataset = stack.enter_context(open_raster(source.path, source.label))
        own = GeoBox.of(dataset)
        is_aligned = own.agrees_with(scene.file_grid) or (own.shape == scene.file_grid.shape and own.crs is None)
        if not is_aligned and (own.crs is None or grid.crs is None):
            yield None
            return
        if not is_aligned:
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


def _conversion(scene: RasterScene, name: str) -> Conversion | None:
    """Conversion of a further band: the one shared by all bands, or its own from metadata; None: unknown."""
    scales, offsets = {*scene.conversion.scale[: scene.bands]}, {*scene.conversion.offset[: scene.bands]}
    if len(scales) == len(offsets) == 1:
        return scene.conversion
    own, sun = scene.recipe.swir1, scene.sun_elevation
    if name != "swir1" or own is None or sun is None or scene.units is not Units.LANDSAT_L1:
        return None
    return own.lit_by(sun)


def _find(scene: RasterScene, name: str) -> BandSource | None:
    """Source of a further band: in a stack by description, else by file name; None if there is none."""
    bands = scene.recipe.bands
    red, nir, has_nir = bands[0], bands[-1], len(bands) == 4
    if len({band.path for band in bands}) == 1:
        with open_raster(red.path, red.label) as dataset:
            texts = [(text or "").strip() for text in dataset.descriptions]
        index = match(texts, texts[red.index - 1], texts[nir.index - 1] if has_nir else "", name)
        return None if index is None else BandSource(red.path, red.label, index + 1)
    for path in beside(red.path, nir.path, name) if has_nir else ():
        label = next(iter(beside(red.label, nir.label, name)), path)
        with suppress(SceneReadError):
            open_raster(path, label).close()
            return BandSource(path, label)
    return None


def match(names: Sequence[str], red: str, nir: str, wanted: str) -> int | None:
    """Index of a further band, by its name, or by its number given those of red and nir; None if not unique."""
    numbers = [parts[3].upper() if (parts := NUMBER.search(name)) else "" for name in (red, nir, *names)]
    number = NUMBERS.get((numbers[0], numbers[1]), {}).get(wanted, "none")
    indexes = [index for index, name in enumerate(names) if name.lower() in WORDS[wanted]]
    indexes = indexes or [index for index, other in enumerate(numbers[2:]) if other == number]
    return indexes[0] if len(indexes) == 1 else None


def beside(red: str, nir: str, name: str) -> list[str]:
    """Possible paths of a further band's file, given those of red and near-infrared."""
    parts, other = ([None, *NUMBER.finditer(path)][-1] for path in (red, nir))
    number = parts and other and NUMBERS.get((parts[3].upper(), other[3].upper()), {}).get(name)
    if not parts or not number:
        return []
    padded = number.zfill(2) if len(parts[2] + parts[3]) > 1 else number
    path = f"{red[: parts.start()]}{parts[1]}{padded}{red[parts.end() :]}"
    return [path, path.replace("/R10m/", "/R20m/").replace("_10m.", "_20m.")]  # Sentinel-2 Level-2A
