"""The units of a source: given by the user, by names and metadata if the pixels allow them, or told by the pixels.

Names lie more often than pixels do: people rescale a raster and keep its name. So whatever names and metadata say is
compared with a sample of the pixels; only what a user says is taken as it is, with a note if it looks wrong.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable

from geocloud.bands import CONVERSIONS, Conversion, Units
from geocloud.errors import UnitsError
from geocloud.readers.base import ReadOptions, Sample, SceneRecipe

log = logging.getLogger(__name__)

CHOICES = [u for u in Units if u is not Units.AUTO]

# The limits, and the data that they come from.

FAINT, DIM = 1600, 2500
"""Values that the brightest band of a picture of land reaches in reflectance × 10 000: surely, and nearly always.

Of 327 real scenes with some land or cloud one stays below the first, and four in a hundred below the second; of 5000
small parts of them 0.2 and 5 in a hundred. Water alone, which is dark in near-infrared, may be at 800."""

DARKEST = 500
"""Value × 10 000 that even water reaches."""

BRIGHTEST = 19_000
"""Value that reflectance × 10 000 does not exceed: of 350 Sentinel-2 scenes cloud ends at 15 700, snow at 18 700."""

NEGATIVE = -2000
"""Lowest surface reflectance × 10 000: atmospheric correction overshoots in shadow and water."""

FULL = (1023, 2047, 4095)
"""Largest numbers of 10, 11 and 12 bits."""

LEAST_SHIFTED = 700
"""The lowest value that Sentinel-2's baseline 4 and later can have, whose reflectance of zero is 1000."""

UNSHIFTED = 500
"""Value below which any band of Sentinel-2 proves that its values are not shifted by 1000."""

IMPOSSIBLE = 10.0
"""Reflectance that half of a band never has, not even if a sensor is saturated: the units are wrong."""

POSSIBLE = ((-0.05, math.inf), (-0.02, 2.0), (0.01, 4.0))
"""Limits of a scene's reflectance, of whichever band has the most: 0.1 percentile, median and 99.9 percentile.

Level 1 is never below zero in all bands, for the air is bright in blue.

Real products stay far inside, saturated and dark ones too. Values in other units lie outside: reflectance from 0 to 1
or × 10 000 read as Landsat's numbers has a median below zero, scaled twice it ends at 0.0001."""


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
        if options.units is not Units.AUTO:
            units: Units = options.units
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
        by_values = _from_values(recipe, dtype, look())
        return by_values, CONVERSIONS[by_values]
    sample, claim = look(), declared[0]
    if claim[1] == CONVERSIONS[Units.SENTINEL2_BASELINE4]:  # its offset may have been applied already
        declared.append((Units.SENTINEL2, CONVERSIONS[Units.SENTINEL2]))
        declared = declared[1:] if sample.low < UNSHIFTED else declared
    chosen = next((pair for pair in declared if is_possible(*pair, sample)), None)
    if chosen == claim:
        return chosen
    problem = (
        f"said to be {claim[0]} (reflectance = {claim[1].scale[0]:.6g} · value {claim[1].offset[0]:+.6g}), but values "
        f"of {sample.low:g} to {sample.high:g} ({dtype}) cannot be that"
    )
    if chosen is None:
        try:
            by_values = _from_values(recipe, dtype, sample)
        except UnitsError as error:
            raise UnitsError(f"{problem}; {error}") from error
        chosen = by_values, CONVERSIONS[by_values]
    log.warning("%s: %s; read as %s; if that is wrong, say --units", recipe.source, problem, chosen[0])
    return chosen


def is_possible(units: Units, conversion: Conversion, sample: Sample) -> bool:
    """True if sampled values can be reflectance under a conversion, see `POSSIBLE`; also if there are no values."""
    if math.isnan(sample.low):
        return True
    highest = [max(values) for values in zip(*_convert(sample, conversion), strict=True)]
    if units is Units.LANDSAT_L1 and highest[0] < 0:
        return False
    return all(low <= value <= high for value, (low, high) in zip(highest, POSSIBLE, strict=True))


def _convert(sample: Sample, conversion: Conversion) -> list[list[float]]:
    """Each band's percentiles as reflectance."""
    bands = zip(sample.bands, conversion.scale, conversion.offset, strict=False)
    return [[scale * value + offset for value in values] for values, scale, offset in bands]


def _usual(units: Units, conversion: Conversion | None, dtype: str) -> Conversion:
    """The conversion of the metadata, or else the units' usual one. Raises UnitsError where there is none."""
    if units is Units.LANDSAT_L1 and dtype == "uint8" and conversion is None:
        raise UnitsError(
            "8-bit Level-1 values, as of Landsat 4 to 7, mean nothing without their MTL file; "
            "put it beside the bands, or say --scale and --offset"
        )
    return conversion or CONVERSIONS[units]


def _with_sun(recipe: SceneRecipe, options: ReadOptions, units: Units, conversion: Conversion) -> Conversion:
    """Level-1 values divided by the sine of the sun's elevation. Raises UnitsError for one given with other units."""
    sun = options.sun_elevation if options.sun_elevation is not None else recipe.sun_elevation
    if units is Units.LANDSAT_L1:
        if sun is not None:
            return conversion.lit_by(sun)
        log.warning("%s: sun elevation unknown, reflectance stays too dark; say it with --sun-elevation", recipe.source)
    elif options.sun_elevation is not None:
        raise UnitsError(
            f"a sun elevation was given, but the values are {units}, which hold it already; "
            "leave it out, or say --units landsat-l1"
        )
    return conversion


def _from_values(recipe: SceneRecipe, dtype: str, sample: Sample) -> Units:
    """Units that fit the sampled values and no others; raises UnitsError where several do."""
    low, high = sample.low, sample.high
    if "int" in dtype and not dtype.startswith("u") and NEGATIVE <= low < 0:
        low = 0
    if math.isnan(low):  # no data at all: any units give the same mask
        return Units.REFLECTANCE
    likely = CHOICES
    if dtype.startswith("float"):
        if low >= -0.2 and high <= 2:
            return Units.REFLECTANCE
    elif dtype == "uint8":
        likely = [Units.SCALED_8BIT]
    elif dtype == "uint16" and 4000 <= low < 6900 and max(band_low for band_low, _, _ in sample.bands) > low + 1200:
        # Landsat Level-1: a floor at 5000 to 6500 (surface reflectance of zero is DN 7273), and blue air far above it:
        # 1350 or more in 150 real scenes and parts of them, but at most 1100 in Sentinel-2's of nothing but cloud.
        return Units.LANDSAT_L1
    elif 0 <= low < 1000 and (_stays_below(sample, FAINT) or high in FULL):
        raise UnitsError(
            f"nothing tells what the values mean ({dtype}, {low:g} to {high:g}), too dark for "
            f"reflectance × 10 000, rather as numbers of 10 to 12 bits are, radiance, or per mille; say --scale and "
            f"--offset, or, if it is a dark scene, --units {Units.SENTINEL2}"
        )
    elif _baseline(recipe.name) >= 4 and low >= LEAST_SHIFTED and high < BRIGHTEST:
        log.warning("%s: read as sentinel2-baseline4, as its name tells; if not, say --units sentinel2", recipe.source)
        return Units.SENTINEL2_BASELINE4
    elif 0 <= low < 1000 and high < BRIGHTEST:
        if low >= LEAST_SHIFTED:
            log.warning(
                "%s: read as sentinel2, whose zero is 0; values begin at %g, so if it is of baseline 4 or later, say "
                "--units sentinel2-baseline4",
                recipe.source, low,
            )  # fmt: skip
        if _stays_below(sample, DIM):
            log.warning(
                "%s: read as reflectance × 10 000, nothing of it above %.2f; if it is something else, say --scale",
                recipe.source, high / 10_000,
            )  # fmt: skip
        return Units.SENTINEL2
    elif 2000 <= low < 4000 and high < BRIGHTEST:
        log.warning(
            "%s: read as sentinel2; should it be of baseline 4 or later, say --units sentinel2-baseline4", recipe.source
        )
        return Units.SENTINEL2  # nothing dark in it, cloud or snow all over: 0.1 of reflectance changes little
    elif low >= 6900:
        likely = [Units.LANDSAT_L1, Units.LANDSAT_L2]
    elif 1000 <= low < 2000 and high < BRIGHTEST:
        likely = [Units.SENTINEL2, Units.SENTINEL2_BASELINE4]
    else:
        numbers = [u for u in CHOICES if u not in (Units.REFLECTANCE, Units.SCALED_8BIT)]
        likely = [u for u in numbers if is_possible(u, CONVERSIONS[u], sample)] or CHOICES
    words = " or ".join(f"{u} (0 to 65535 for 0 to 1)" if u is Units.SCALED_16BIT else u for u in likely)
    raise UnitsError(
        f"nothing tells what the values mean ({dtype}, {low:g} to {high:g}); "
        f"say --units {words}, or --scale and --offset"
    )


def _baseline(name: str) -> int:
    """4 for N0400, of a Sentinel-2 product's name; 0 where it tells none."""
    parts = re.search(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d\d)\d\d", name, re.IGNORECASE)
    return int(parts[1]) if parts else 0


def _stays_below(sample: Sample, limit: float) -> bool:
    """True where land or cloud stay below a limit, or whatever it is below the darkest there is.

    Land and cloud are about as bright in near-infrared as elsewhere, or brighter; without near-infrared nothing tells.
    """
    middles = [middle for _, middle, _ in sample.bands]
    seen = len(middles) == 4 and middles[3] >= 0.8 * max(middles[:3])
    return sample.high < (limit if seen else DARKEST)


def _checked(recipe: SceneRecipe, units: Units, conversion: Conversion, sample: Sample) -> tuple[Units, Conversion]:
    """Warns when the brightest or darkest values cannot be reflectance; raises UnitsError if most of a band cannot."""
    bands = _convert(sample, conversion)
    values, middle = [value for low, _, high in bands for value in (low, high)], max(middle for _, middle, _ in bands)
    if middle > IMPOSSIBLE:
        raise UnitsError(
            f"read as {units}, half of a band would have a reflectance above {middle:.4g}, wanted 0 "
            "to 1; say other --units, or --scale and --offset"
        )
    if min(values) < -0.5 or max(values) > 3:
        log.warning(
            "%s: read as %s, reflectance would run from %.2f to %.2f; are the units right?",
            recipe.source, units, min(values), max(values),
        )  # fmt: skip
    elif max(values) < 0.02:
        log.warning(
            "%s: read as %s, reflectance is never above %.3f; are the units right?", recipe.source, units, max(values)
        )
    return units, conversion
