"""Further bands of a scene: short-wave infrared at 1.6 µm (swir1) and the cirrus band at 1.37 µm.

Products name their bands alike: the file of another band lies beside that of red, under the same name but for the
band's number. Stacks tell them by description.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.readers.base import BandSource, SceneRecipe
from geocloud.readers.stack import open_raster

NUMBERS = {
    ("4", "5"): {"swir1": "6", "cirrus": "9"},  # OLI, on Landsat 8 and 9, and HLS L30
    ("3", "4"): {"swir1": "5"},  # TM and ETM+, on Landsat 4 to 7
    ("4", "8"): {"swir1": "11", "cirrus": "10"},  # MSI, on Sentinel-2, and HLS S30
    ("4", "8A"): {"swir1": "11", "cirrus": "10"},
}
"""Numbers of red and near-infrared → those of the further bands."""

WORDS = {"swir1": ("swir1", "swir16", "swir 1"), "cirrus": ("cirrus",)}
"""Descriptions of further bands in a stack."""

NUMBER = re.compile(r"(?<![A-Za-z])((?:SR_?|TOA_|TA)?(?:B|band)_?)(0?)(\d{1,2}A?)(?![0-9A-Za-z])", re.IGNORECASE)
"""A band's number in a file's name or a description."""

ReadBand = Callable[[int, int], NDArray[np.float32]]
"""Reads the rows of a scene from the first to the last (exclusive): reflectance ``(rows, width)``, NaN: no data."""


class OpenScene(Protocol):
    """The parts of a `RasterScene` that are needed."""

    recipe: SceneRecipe
    bands: int
    grid: GeoBox
    units: Units
    conversion: Conversion
    sun_elevation: float | None
    south_up: bool

    @property
    def file_grid(self) -> GeoBox: ...

    def file_window(self, window: Window) -> Window: ...


@contextmanager
def further_band(scene: OpenScene, name: str) -> Iterator[ReadBand | None]:
    """Opens a further band of a scene, on the scene's grid; coarser pixels are interpolated, bilinear.

    Args:
        scene: An open scene.
        name: swir1 or cirrus.

    Yields:
        The function that reads it; None if the scene has no such band, or none with the scale of its other bands.

    Raises:
        SceneReadError: The band is damaged; raised when it is read.
    """
    pair = _scale(scene, name)
    with ExitStack() as stack:
        source = _find(scene, name) if pair else None
        if source is None:
            yield None
            return
        dataset = stack.enter_context(open_raster(source.path, source.label))
        own = GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs)
        file_grid = scene.file_grid
        is_aligned = own.agrees_with(file_grid) or (own.shape == file_grid.shape and own.crs is None)
        if not is_aligned:
            if own.crs is None or scene.grid.crs is None:
                yield None
                return
            dataset = stack.enter_context(
                WarpedVRT(dataset, resampling=Resampling.bilinear, **{**scene.grid.profile, "add_alpha": False})
            )
        assert pair is not None
        scale, offset = pair

        def read(first: int, last: int) -> NDArray[np.float32]:
            window = Window(0, first, scene.grid.width, last - first)
            try:
                values = dataset.read(
                    source.index, window=scene.file_window(window) if is_aligned else window, masked=True
                )
            except gdal.TROUBLE as error:
                raise SceneReadError(f"{source.label}: damaged or cut off ({error}); fetch the file again") from error
            reflectance = np.ma.filled(values.astype("float32") * np.float32(scale) + np.float32(offset), np.nan)
            reflectance[np.asarray(values.data) == 0] = np.nan
            return reflectance[::-1] if is_aligned and scene.south_up else reflectance

        yield read


def read_further(scene: OpenScene, name: str, window: Window) -> NDArray[np.float32]:
    """Reflectance of a window of a further band, NaN without data. Raises BandError, SceneReadError."""
    with further_band(scene, name) as read:
        if read is None:
            raise BandError(f"{scene.recipe.source}: no band {name}, or none with the scale of the other bands")
        rows, cols = window.toslices()
        return read(rows.start, rows.stop)[:, cols]


def _scale(scene: OpenScene, name: str) -> tuple[float, float] | None:
    """Scale and offset of a further band: those that all bands share, or its own by the metadata; None: unknown."""
    scales, offsets = {*scene.conversion.scale[: scene.bands]}, {*scene.conversion.offset[: scene.bands]}
    if len(scales) == len(offsets) == 1:
        return scales.pop(), offsets.pop()
    own, sun = scene.recipe.swir1, scene.sun_elevation
    if name != "swir1" or own is None or sun is None or scene.units is not Units.LANDSAT_L1:
        return None
    conversion = Conversion.uniform(*own).lit_by(sun)
    return conversion.scale[0], conversion.offset[0]


def _find(scene: OpenScene, name: str) -> BandSource | None:
    """The band of a stack by its description, or the file beside that of red by its name."""
    bands = scene.recipe.bands
    red = bands[0]
    if len({band.path for band in bands}) == 1:
        with open_raster(red.path, red.label) as dataset:
            texts = [(text or "").strip() for text in dataset.descriptions]
        words = [index for index, text in enumerate(texts, 1) if text.lower() in WORDS[name]]
        found = words or _numbered(texts, bands, name)
        return BandSource(red.path, red.label, found[0]) if len(found) == 1 else None
    if len(bands) < 4:
        return None
    for path, label in zip(beside(red.path, bands[3].path, name), beside(red.label, bands[3].label, name), strict=True):
        try:
            open_raster(path, label).close()
        except SceneReadError:
            continue
        return BandSource(path, label)
    return None


def _numbered(texts: list[str], bands: tuple[BandSource, ...], name: str) -> list[int]:
    if len(bands) < 4:
        return []
    numbers = [parts[3].upper() if (parts := NUMBER.search(text)) else "" for text in texts]
    wanted = NUMBERS.get((numbers[bands[0].index - 1], numbers[bands[3].index - 1]), {}).get(name)
    return [index for index, number in enumerate(numbers, 1) if number and number == wanted]


def beside(red: str, nir: str, name: str) -> list[str]:
    """Names that the file of a band may have, given those of red and near-infrared."""
    parts, other = _last(red), _last(nir)
    if not parts or not other:
        return []
    number = NUMBERS.get((parts[3].upper(), other[3].upper()), {}).get(name)
    if number is None:
        return []
    padded = number.zfill(2) if len(parts[2] + parts[3]) > 1 else number
    path = f"{red[: parts.start()]}{parts[1]}{padded}{red[parts.end() :]}"
    return [path, path.replace("/R10m/", "/R20m/").replace("_10m.", "_20m.")]  # of Sentinel-2 Level-2A


def _last(name: str) -> re.Match[str] | None:
    """The last band number in a path."""
    found = list(NUMBER.finditer(name))
    return found[-1] if found else None
