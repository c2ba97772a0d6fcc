"""The units of a source: given by the user, by names and metadata if the pixels allow them, or told by the pixels.

Names lie more often than pixels do: people rescale a raster and keep its name. So whatever names and metadata say is
compared with a sample of the pixels; only what a user says is taken as it is, with a note if it looks wrong.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from geocloud.bands import CONVERSIONS, Conversion, Units
from geocloud.errors import UnitsError
from geocloud.readers.source import ReadOptions, SceneRecipe

log = logging.getLogger(__name__)

# Limits of guesses, and the data that each comes from. Values are of reflectance × 10 000 unless said.
FAINT, DIM = 1600, 2500
"""Values that the brightest band of a picture of land reaches: surely, and nearly always. Of 327 real scenes with some
land or cloud one stays below the first, and four in a hundred below the second; of 5000 parts 0.2 and 5 in 100."""
DARKEST = 500  # value that even water reaches; alone, and dark in near-infrared, it may be at 800
BRIGHTEST = 19_000  # value that is not exceeded: of 350 Sentinel-2 scenes cloud ends at 15 700, snow at 18 700
NEGATIVE = -2000  # lowest surface reflectance: atmospheric correction overshoots in shadow and water
FULL = (1023, 2047, 4095)  # largest numbers of 10, 11 and 12 bits
LEAST_SHIFTED, UNSHIFTED = 700, 500
"""Sentinel-2's values from baseline 4 on are not below the first; a band below the second is not shifted by 1000."""
LEVEL1, BLUE_AIR = (4000, 6900), 1200
"""Landsat Level-1: a floor at 5000 to 6500 (surface reflectance of zero is 7273), and blue air far above it: 1350 or
more in 150 real scenes and parts of them, but at most 1100 in Sentinel-2's of nothing but cloud."""
IMPOSSIBLE = 10.0  # reflectance that half of a band never has, not even if a sensor is saturated: the units are wrong
POSSIBLE = ((-0.05, math.inf), (-0.02, 2.0), (0.01, 4.0))
"""Reflectance of whichever band has the most: 0.1 percentile, median and 99.9 percentile. Real products stay far
inside, saturated and dark ones too; reflectance read as Landsat's numbers has a median below zero, scaled twice it ends
at 0.0001."""
BASELINE4 = re.compile(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(?!0[0-3])\d{4}", re.IGNORECASE)
SHIFTED = "say ReadOptions(units='sentinel2-baseline4')"


class Observed(NamedTuple):
    """The 0.1, 50 and 99.9 percentiles of one band's valid pixels; NaN without any."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at a scene's raw values, and the share of valid pixels in what was looked at."""

    bands: tuple[Observed, ...]
    valid_share: float = 0.0

    @property
    def low(self) -> float:
        """The lowest of the bands' low values."""
        return min(band.low for band in self.bands)

    @property
    def high(self) -> float:
        """The highest of the bands' high values."""
        return max(band.high for band in self.bands)


def resolve(
    recipe: SceneRecipe, options: ReadOptions, dtype: str, in_file: Conversion | None, look: Callable[[], Sample]
) -> tuple[Units, Conversion]:
    """The units of a source and its conversion to reflectance, the sun included.

    ``in_file`` is the raster's own scale and offset, ``look`` samples the values. Raises UnitsError if nothing tells
    the units, and for a sun's elevation that is invalid or given in vain.
    """
    try:
        if options.scale is not None:
            conversion = Conversion.uniform(options.scale, options.offset or 0.0)
            if options.sun_elevation is not None:
                conversion = conversion.lit_by(options.sun_elevation)
            return _checked(recipe, Units.REFLECTANCE, conversion, look())
        units: Units = options.units
        if units is not Units.AUTO:
            conversion = _usual(units, recipe.conversion if recipe.units is units else None, dtype)
            return _checked(recipe, units, _with_sun(recipe, options, units, conversion), look())
        units, conversion = _declared(recipe, dtype, in_file, look)
        return units, _with_sun(recipe, options, units, conversion)
    except UnitsError as error:
        raise UnitsError(f"{recipe.source}: {error}") from error


def _declared(
    recipe: SceneRecipe, dtype: str, in_file: Conversion | None, look: Callable[[], Sample]
) -> tuple[Units, Conversion]:
    """Decided by names and metadata, then by the raster's own scale, if the values allow it; else by the values."""
    declared: list[tuple[Units, Conversion]] = []
    if recipe.units is not Units.AUTO:
        declared.append((recipe.units, _usual(recipe.units, recipe.conversion, dtype)))
    if in_file is not None:
        declared.append((Units.REFLECTANCE, in_file))
    if not declared:
        if recipe.unknown is not None:
            raise UnitsError(recipe.unknown)
        return _from_values(recipe, dtype, look())
    sample, claim = look(), declared[0]
    if claim[1] == CONVERSIONS[Units.SENTINEL2_BASELINE4]:  # its offset may have been applied already
        declared.append((Units.SENTINEL2, CONVERSIONS[Units.SENTINEL2]))
        declared = declared[1:] if sample.low < UNSHIFTED else declared
    chosen = next((pair for pair in declared if is_possible(*pair, sample)), None)
    if chosen == claim:
        return claim
    problem = (
        f"said to be {claim[0]} (reflectance = {claim[1].scale[0]:.6g} · value {claim[1].offset[0]:+.6g}), but values "
        f"of {sample.low:g} to {sample.high:g} ({dtype}) cannot be that"
    )
    try:
        chosen = chosen or _from_values(recipe, dtype, sample)
    except UnitsError as error:
        raise UnitsError(f"{problem}; {error}") from error
    log.warning("%s: %s; read as %s; if that is wrong, say ReadOptions(units=…)", recipe.source, problem, chosen[0])
    return chosen


def is_possible(units: Units, conversion: Conversion, sample: Sample) -> bool:
    """True if sampled values can be reflectance under a conversion, or if there are no values."""
    if math.isnan(sample.low):
        return True
    highest = [max(values) for values in zip(*_convert(sample, conversion), strict=True)]
    dark = units is Units.LANDSAT_L1 and highest[0] < 0  # the air is bright in blue
    return not dark and all(a <= value <= b for value, (a, b) in zip(highest, POSSIBLE, strict=True))


def _convert(sample: Sample, conversion: Conversion) -> list[list[float]]:
    """Each band's percentiles as reflectance."""
    bands = zip(sample.bands, conversion.scale, conversion.offset, strict=False)
    return [[scale * value + offset for value in values] for values, scale, offset in bands]


def _usual(units: Units, conversion: Conversion | None, dtype: str) -> Conversion:
    """The conversion of the metadata, or else the units' usual one. Raises UnitsError where there is none."""
    if units is Units.LANDSAT_L1 and dtype == "uint8" and conversion is None:
        beside = "put it beside the bands, or say ReadOptions(scale=…, offset=…)"
        raise UnitsError(f"8-bit Level-1 values, as of Landsat 4 to 7, mean nothing without their MTL file; {beside}")
    return conversion or CONVERSIONS[units]


def _with_sun(recipe: SceneRecipe, options: ReadOptions, units: Units, conversion: Conversion) -> Conversion:
    """Level-1 values divided by the sine of the sun's elevation. Raises UnitsError for one given with other units."""
    sun = options.sun_elevation if options.sun_elevation is not None else recipe.sun_elevation
    if units is not Units.LANDSAT_L1:
        if options.sun_elevation is not None:
            wrong = f"a sun elevation was given, but the values are {units}, which hold it already"
            raise UnitsError(f"{wrong}; leave it out, or say ReadOptions(units='landsat-l1')")
    elif sun is not None:
        return conversion.lit_by(sun)
    else:
        log.warning(
            "%s: sun elevation unknown, so reflectance is too dark; say ReadOptions(sun_elevation=…)", recipe.source
        )
    return conversion


def _from_values(recipe: SceneRecipe, dtype: str, sample: Sample) -> tuple[Units, Conversion]:
    """Units that fit the sampled values and no others; raises UnitsError where several do."""
    low, high, note, units = sample.low, sample.high, "", Units.SENTINEL2
    unknown = f"nothing tells what the values mean ({dtype}, {low:g} to {high:g})"
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
    elif dtype == "uint16" and LEVEL1[0] <= low < LEVEL1[1] and max(b.low for b in sample.bands) > low + BLUE_AIR:
        units = Units.LANDSAT_L1
    elif dark and (_stays_below(sample, FAINT) or high in FULL):
        rather = "rather numbers of 10 to 12 bits, radiance, or per mille; say ReadOptions(scale=…, offset=…), or"
        dark_scene = f"if it is dark, ReadOptions(units='{Units.SENTINEL2}')"
        raise UnitsError(f"{unknown}, too dark for reflectance × 10 000, {rather}, {dark_scene}")
    elif usual and late and BASELINE4.search(recipe.name):
        units, note = Units.SENTINEL2_BASELINE4, ", as its name tells; if not, say ReadOptions(units='sentinel2')"
    elif usual and dark:
        if late:
            note = f", whose zero is 0; values begin at {low:g}, so if it is of baseline 4 or later, {SHIFTED}"
        if _stays_below(sample, DIM):
            note += f"; nothing of it above {high / 1e4:.2f}, so if it is something else, say ReadOptions(scale=…)"
    elif usual and 2000 <= low < 4000:  # cloud or snow all over: 0.1 of reflectance changes little
        note = f"; should it be of baseline 4 or later, {SHIFTED}"
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
        raise UnitsError(f"{unknown}; say {words}, or ReadOptions(scale=…, offset=…)")
    if note:
        log.warning("%s: read as %s%s", recipe.source, units, note)
    return units, CONVERSIONS[units]


def _stays_below(sample: Sample, limit: float) -> bool:
    """True where land or cloud (bright in near-infrared) stay below a limit, or all of it below the darkest."""
    middles = [band.middle for band in sample.bands]
    seen = len(middles) == 4 and middles[3] >= 0.8 * max(middles[:3])
    return sample.high < (limit if seen else DARKEST)


def _checked(recipe: SceneRecipe, units: Units, conversion: Conversion, sample: Sample) -> tuple[Units, Conversion]:
    """Warns when the brightest or darkest values cannot be reflectance; raises UnitsError if most of a band cannot."""
    low, middle, high = zip(*_convert(sample, conversion), strict=True)
    if max(middle) > IMPOSSIBLE:
        absurd = f"read as {units}, half of a band would have a reflectance above {max(middle):.4g}, wanted 0 to 1"
        raise UnitsError(f"{absurd}; say other ReadOptions(units=…), or ReadOptions(scale=…, offset=…)")
    least, most = min(*low, *high), max(*low, *high)
    if least < -0.5 or most > 3 or most < 0.02:
        log.warning(
            "%s: read as %s, reflectance would run from %.3f to %.3f; are the units right?",
            recipe.source, units, least, most,
        )  # fmt: skip
    return units, conversion
