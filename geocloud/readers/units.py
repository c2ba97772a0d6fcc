"""Units of a source: given by the user, declared by names and metadata, or determined from the pixel values.

Names are wrong more often than pixels: people rescale a raster and keep its name. Declared units are therefore checked
against a sample of the pixels; units given by the user are used unless impossible, with a note if they look wrong.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geocloud.bands import CONVERSIONS, Conversion, Units
from geocloud.errors import UnitsError
from geocloud.readers.source import ReadOptions, SceneRecipe

log = logging.getLogger(__name__)

# Limits for determining units, and the data behind them. Values are reflectance × 10 000 unless stated.
FAINT, DIM = 1600, 2500
"""Values that the brightest pixels of land exceed almost always (FAINT) and usually (DIM). Of 327 real scenes with land
or cloud, one stays below FAINT and 4 % below DIM; of 5000 crops, 0.2 % and 5 %."""
DARKEST = 500  # value that even a scene of water exceeds; its maximum may be as low as 800
BRIGHTEST = 19_000  # upper limit: in 350 Sentinel-2 scenes cloud reaches 15 700, snow 18 700
NEGATIVE = -2000  # lowest surface reflectance: atmospheric correction overshoots in shadow and water
FULL = (1023, 2047, 4095)  # largest 10-, 11- and 12-bit numbers
LEAST_SHIFTED, UNSHIFTED = 700, 500
"""Sentinel-2 values from baseline 4 on are at least LEAST_SHIFTED; values below UNSHIFTED have no offset of 1000."""
LEVEL1, BLUE_AIR = (4000, 6900), 1200
"""Landsat Level-1: the lowest values are 5000 to 6500 (zero surface reflectance is 7273), and blue is higher due to the
air: by at least 1350 in 150 real scenes and crops of them, but by at most 1100 in Sentinel-2 scenes of cloud alone."""
IMPOSSIBLE = 10.0  # limit of the median reflectance of a band, even of a saturated sensor
POSSIBLE = ((-0.05, math.inf), (-0.02, 2.0), (0.01, 4.0))
"""Limits of the highest 0.1 percentile, median and 99.9 percentile of reflectance among the bands. Real products are
well inside, even saturated or dark ones. Reflectance read as Landsat's numbers has a median below zero; if it is scaled
twice, its maximum is 0.0001."""
BASELINE4 = re.compile(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(?!0[0-3])\d{4}", re.IGNORECASE)
SHIFTED = "say ReadOptions(units='sentinel2-baseline4')"


class Sample(NamedTuple):
    """Statistics of a sample of a scene's stored values."""

    percentiles: NDArray[np.float64]
    """0.1, 50 and 99.9 percentiles of each band's valid pixels ``(band, 3)``; NaN if there are none."""
    valid_share: float = 0.0
    """Share of valid pixels in the sample, in [0, 1]."""


def resolve(
    recipe: SceneRecipe, options: ReadOptions, dtype: str, in_file: Conversion | None, look: Callable[[], Sample]
) -> tuple[Units, Conversion]:
    """Units of a source and its conversion to reflectance, including the sun's elevation.

    ``in_file`` is the raster's own scale and offset, ``look`` samples the values. Raises UnitsError if the units are
    unknown or impossible, and for a sun elevation that is invalid or does not apply to the units.
    """
    units, sun = options.units, options.sun_elevation
    try:
        if options.scale is not None:
            units, conversion = Units.REFLECTANCE, Conversion.uniform(options.scale, options.offset or 0.0)
            conversion = conversion if sun is None else conversion.lit_by(sun)
        elif units is Units.AUTO:
            units, conversion = _declared(recipe, dtype, in_file, look)
            return units, _with_sun(recipe, options, units, conversion)
        else:
            conversion = _usual(units, recipe.conversion if recipe.units is units else None, dtype)
            conversion = _with_sun(recipe, options, units, conversion)
        _check(recipe, units, conversion, look())
    except UnitsError as error:
        raise UnitsError(f"{recipe.source}: {error}") from error
    return units, conversion


def _declared(
    recipe: SceneRecipe, dtype: str, in_file: Conversion | None, look: Callable[[], Sample]
) -> tuple[Units, Conversion]:
    """Units by names and metadata, else by the raster's own scale, if the values are possible; else by the values."""
    declared: list[tuple[Units, Conversion]] = []
    if recipe.units is not Units.AUTO:
        declared.append((recipe.units, _usual(recipe.units, recipe.conversion, dtype)))
    if in_file is not None:
        declared.append((Units.REFLECTANCE, in_file))
    sample = look()
    if not declared:
        return _from_values(recipe, dtype, sample)
    low, _, high = _extremes(sample)
    claim = declared[0]
    if claim[1] == CONVERSIONS[Units.SENTINEL2_BASELINE4]:  # its offset may have been applied already
        declared.append((Units.SENTINEL2, CONVERSIONS[Units.SENTINEL2]))
        declared = declared[1:] if low < UNSHIFTED else declared
    chosen = next((pair for pair in declared if is_possible(*pair, sample)), None)
    if chosen == claim:
        return claim
    problem = (
        f"declared as {claim[0]} (reflectance = {claim[1].scale[0]:.6g} · value {claim[1].offset[0]:+.6g}), but values "
        f"of {low:g} to {high:g} ({dtype}) cannot be that"
    )
    try:
        chosen = chosen or _from_values(recipe, dtype, sample)
    except UnitsError as error:
        raise UnitsError(f"{problem}; {error}") from error
    log.warning("%s: %s; read as %s; if that is wrong, say ReadOptions(units=…)", recipe.source, problem, chosen[0])
    return chosen


def _extremes(sample: Sample) -> tuple[float, float, float]:
    """Lowest 0.1 percentile, highest median and highest 99.9 percentile of the bands."""
    low, middle, high = sample.percentiles.T
    return float(low.min()), float(middle.max()), float(high.max())


def _convert(sample: Sample, conversion: Conversion) -> NDArray[np.float64]:
    """Each band's percentiles as reflectance."""
    scale, offset = (
        np.array(part[: len(sample.percentiles)])[:, None] for part in (conversion.scale, conversion.offset)
    )
    return sample.percentiles * scale + offset


def is_possible(units: Units, conversion: Conversion, sample: Sample) -> bool:
    """True if sampled values can be reflectance under a conversion, or if there are no values."""
    highest = _convert(sample, conversion).max(0).tolist()
    dark = units is Units.LANDSAT_L1 and highest[0] < 0  # in Level-1, scattered light keeps blue above zero
    return math.isnan(highest[0]) or (
        not dark and all(a <= v <= b for v, (a, b) in zip(highest, POSSIBLE, strict=True))
    )


def _usual(units: Units, conversion: Conversion | None, dtype: str) -> Conversion:
    """Conversion from metadata, or else the default of the units. Raises UnitsError if there is none."""
    if units is Units.LANDSAT_L1 and dtype == "uint8" and conversion is None:
        advice = "put it in the folder of the bands, or say ReadOptions(scale=…, offset=…)"
        raise UnitsError(f"8-bit Level-1 values (Landsat 4 to 7) cannot be converted without an MTL file; {advice}")
    return conversion or CONVERSIONS[units]


def _with_sun(recipe: SceneRecipe, options: ReadOptions, units: Units, conversion: Conversion) -> Conversion:
    """Conversion including the sun's elevation (Level-1 only). Raises UnitsError if one is given for other units."""
    sun = options.sun_elevation if options.sun_elevation is not None else recipe.sun_elevation
    if units is Units.LANDSAT_L1:
        if sun is not None:
            return conversion.lit_by(sun)
        say = "so reflectance is too dark; say ReadOptions(sun_elevation=…)"
        log.warning("%s: sun elevation unknown, %s", recipe.source, say)
    elif options.sun_elevation is not None:
        wrong = f"a sun elevation was given, but the values are {units}, which hold it already"
        raise UnitsError(f"{wrong}; leave it out, or say ReadOptions(units='landsat-l1')")
    return conversion


def _from_values(recipe: SceneRecipe, dtype: str, sample: Sample) -> tuple[Units, Conversion]:
    """The only units that fit the sampled values. Raises UnitsError if several or none do."""
    low, _, high = _extremes(sample)
    note, units = "", Units.SENTINEL2
    unknown = f"units cannot be determined from the values ({dtype}, {low:g} to {high:g})"
    if dtype.startswith("float") and high > FULL[0]:  # whole numbers, saved as floats
        dtype = "int16" if low < 0 else "uint16"
    low = 0 if dtype.startswith("int") and NEGATIVE <= low < 0 else low
    usual = low >= 0 and high < BRIGHTEST  # for reflectance × 10 000
    dark, late = 0 <= low < 1000, low >= LEAST_SHIFTED
    likely = [u for u in Units if u is not Units.AUTO]
    if math.isnan(low):  # no data at all: any units give the same mask
        units = Units.REFLECTANCE
    elif dtype.startswith("float"):
        units = Units.REFLECTANCE if low >= -0.2 and high <= 2 else Units.AUTO
    elif dtype == "uint8":
        units, likely = Units.AUTO, [Units.SCALED_8BIT]
    elif dtype == "uint16" and LEVEL1[0] <= low < LEVEL1[1] and sample.percentiles[:, 0].max() > low + BLUE_AIR:
        units = Units.LANDSAT_L1
    elif dark and (_stays_below(sample, FAINT) or high in FULL):
        rather = "probably 10- to 12-bit numbers, radiance or per mille; say ReadOptions(scale=…, offset=…), or"
        dark_scene = f"for a dark scene, ReadOptions(units='{Units.SENTINEL2}')"
        raise UnitsError(f"{unknown}, too dark for reflectance × 10 000, {rather}, {dark_scene}")
    elif usual and late and BASELINE4.search(recipe.name):
        units, note = Units.SENTINEL2_BASELINE4, ", by its name; if that is wrong, say ReadOptions(units='sentinel2')"
    elif usual and dark:
        if late:
            note = f", without offset; values begin at {low:g}, so if the baseline is 4 or later, {SHIFTED}"
        if _stays_below(sample, DIM):
            note += f"; nothing of it above {high / 1e4:.2f}, so if the units are different, say ReadOptions(scale=…)"
    elif usual and 2000 <= low < 4000:  # cloud or snow all over: an offset of 0.1 changes little
        note = f"; if the baseline is 4 or later, {SHIFTED}"
    elif low >= LEVEL1[1]:
        units, likely = Units.AUTO, [Units.LANDSAT_L1, Units.LANDSAT_L2]
    elif usual and low < 2000:
        units, likely = Units.AUTO, [Units.SENTINEL2, Units.SENTINEL2_BASELINE4]
    else:
        numbers = [u for u in likely if u not in (Units.REFLECTANCE, Units.SCALED_8BIT)]
        units, likely = Units.AUTO, [u for u in numbers if is_possible(u, CONVERSIONS[u], sample)] or likely
    if units is Units.AUTO:
        ranges = {Units.SCALED_16BIT: " (0 to 65535 for 0 to 1)"}
        words = " or ".join(f"ReadOptions(units='{u}'){ranges.get(u, '')}" for u in likely)
        fill = low if low < NEGATIVE else high
        is_fill = fill < NEGATIVE or fill == 65535
        declare = f"; if {fill:g} is no data: gdal_edit.py -a_nodata {fill:g}" if is_fill else ""
        raise UnitsError(f"{unknown}; say {words}, or ReadOptions(scale=…, offset=…){declare}")
    if note:
        log.warning("%s: read as %s%s", recipe.source, units, note)
    return units, CONVERSIONS[units]


def _stays_below(sample: Sample, limit: float) -> bool:
    """True if a scene of land or cloud (bright in near-infrared) stays below ``limit``, others below `DARKEST`."""
    *others, nir = sample.percentiles[:, 1]
    has_land = len(others) == 3 and nir >= 0.8 * max(others)
    return _extremes(sample)[2] < (limit if has_land else DARKEST)


def _check(recipe: SceneRecipe, units: Units, conversion: Conversion, sample: Sample) -> None:
    """Warns if the extremes cannot be reflectance. Raises UnitsError if half of a band exceeds `IMPOSSIBLE`."""
    values = _convert(sample, conversion)
    if values[:, 1].max() > IMPOSSIBLE:
        problem = f"half of a band would have a reflectance above {values[:, 1].max():.4g}, wanted 0 to 1"
        raise UnitsError(
            f"read as {units}, {problem}; say other ReadOptions(units=…), or ReadOptions(scale=…, offset=…)"
        )
    lowest, highest = values.min(), values.max()
    if lowest < -0.5 or highest > 3 or highest < 0.02:
        range_ = f"reflectance would run from {lowest:.3f} to {highest:.3f}; are the units right?"
        log.warning("%s: read as %s, %s", recipe.source, units, range_)
