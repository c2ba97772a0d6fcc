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
from geocloud.readers import limits
from geocloud.readers.base import ReadOptions, Sample, SceneRecipe

log = logging.getLogger(__name__)


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
        declared = declared[1:] if sample.low < limits.UNSHIFTED else declared
    chosen = next((pair for pair in declared if is_possible(*pair, sample)), None)
    if chosen == claim:
        return claim
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
    """True if sampled values can be reflectance under a conversion, or if there are no values."""
    if math.isnan(sample.low):
        return True
    highest = [max(values) for values in zip(*_convert(sample, conversion), strict=True)]
    dark = units is Units.LANDSAT_L1 and highest[0] < 0  # the air is bright in blue
    return not dark and all(a <= value <= b for value, (a, b) in zip(highest, limits.POSSIBLE, strict=True))


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
    low, high, note, units = sample.low, sample.high, "", Units.SENTINEL2
    signed = "int" in dtype and not dtype.startswith("u")
    low = 0 if signed and limits.NEGATIVE <= low < 0 else low
    usual = low >= 0 and high < limits.BRIGHTEST  # for reflectance × 10 000
    dark, late = 0 <= low < 1000, low >= limits.LEAST_SHIFTED
    likely = [u for u in Units if u is not Units.AUTO]
    air = max(band.low for band in sample.bands) > low + limits.BLUE_AIR
    if math.isnan(low):  # no data at all: any units give the same mask
        return Units.REFLECTANCE
    if dtype.startswith("float"):
        units = Units.REFLECTANCE if low >= -0.2 and high <= 2 else Units.AUTO
    elif dtype == "uint8":
        units, likely = Units.AUTO, [Units.SCALED_8BIT]
    elif dtype == "uint16" and limits.LEVEL1[0] <= low < limits.LEVEL1[1] and air:
        return Units.LANDSAT_L1
    elif dark and (_stays_below(sample, limits.FAINT) or high in limits.FULL):
        raise UnitsError(
            f"nothing tells what the values mean ({dtype}, {low:g} to {high:g}), too dark for "
            f"reflectance × 10 000, rather as numbers of 10 to 12 bits are, radiance, or per mille; say --scale and "
            f"--offset, or, if it is a dark scene, --units {Units.SENTINEL2}"
        )
    elif usual and late and _baseline(recipe.name) >= 4:
        units, note = Units.SENTINEL2_BASELINE4, ", as its name tells; if not, say --units sentinel2"
    elif usual and dark:
        if late:
            note = (
                f", whose zero is 0; values begin at {low:g}, so if it is of baseline 4 or later, say --units "
                "sentinel2-baseline4"
            )
        if _stays_below(sample, limits.DIM):
            note += f"; nothing of it above {high / 1e4:.2f}, so if it is something else, say --scale"
    elif usual and 2000 <= low < 4000:  # cloud or snow all over: 0.1 of reflectance changes little
        note = "; should it be of baseline 4 or later, say --units sentinel2-baseline4"
    elif low >= limits.LEVEL1[1]:
        units, likely = Units.AUTO, [Units.LANDSAT_L1, Units.LANDSAT_L2]
    elif usual and low < 2000:
        units, likely = Units.AUTO, [Units.SENTINEL2, Units.SENTINEL2_BASELINE4]
    else:
        numbers = [u for u in likely if u not in (Units.REFLECTANCE, Units.SCALED_8BIT)]
        units, likely = Units.AUTO, [u for u in numbers if is_possible(u, CONVERSIONS[u], sample)] or likely
    if units is Units.AUTO:
        words = " or ".join(f"{u} (0 to 65535 for 0 to 1)" if u is Units.SCALED_16BIT else u for u in likely)
        raise UnitsError(
            f"nothing tells what the values mean ({dtype}, {low:g} to {high:g}); say --units {words}, or --scale and "
            "--offset"
        )
    if note:
        log.warning("%s: read as %s%s", recipe.source, units, note)
    return units


def _baseline(name: str) -> int:
    """4 for N0400, of a Sentinel-2 product's name; 0 where it tells none."""
    parts = re.search(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d\d)\d\d", name, re.IGNORECASE)
    return int(parts[1]) if parts else 0


def _stays_below(sample: Sample, limit: float) -> bool:
    """True where land or cloud (bright in near-infrared) stay below a limit, or all of it below the darkest."""
    middles = [band.middle for band in sample.bands]
    seen = len(middles) == 4 and middles[3] >= 0.8 * max(middles[:3])
    return sample.high < (limit if seen else limits.DARKEST)


def _checked(recipe: SceneRecipe, units: Units, conversion: Conversion, sample: Sample) -> tuple[Units, Conversion]:
    """Warns when the brightest or darkest values cannot be reflectance; raises UnitsError if most of a band cannot."""
    low, middle, high = zip(*_convert(sample, conversion), strict=True)
    if max(middle) > limits.IMPOSSIBLE:
        raise UnitsError(
            f"read as {units}, half of a band would have a reflectance above {max(middle):.4g}, wanted 0 "
            "to 1; say other --units, or --scale and --offset"
        )
    least, most = min(*low, *high), max(*low, *high)
    if least < -0.5 or most > 3 or most < 0.02:
        log.warning(
            "%s: read as %s, reflectance would run from %.3f to %.3f; are the units right?",
            recipe.source, units, least, most,
        )  # fmt: skip
    return units, conversion
