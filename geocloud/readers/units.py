"""What a source's numbers mean: said by the user, by the metadata, or, where they leave no doubt, by the numbers."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable

import numpy as np

from geocloud.bands import CONVERSIONS, Conversion, Units
from geocloud.errors import UnitsError
from geocloud.readers.base import ReadOptions, Sample, SceneRecipe

log = logging.getLogger(__name__)

CHOICES = ", ".join(u for u in Units if u is not Units.AUTO)

FAINT, DIM = 1600, 2500
"""Values that the brightest band of a picture of land reaches in reflectance × 10 000: surely, and nearly always.

Of 327 real scenes with some land or cloud one stays below the first, and four in a hundred below the second; of 5000
small parts of them 0.2 and 5 in a hundred. Water alone, which is dark in near-infrared, may be at 800."""

DARKEST = 500
"""What even water reaches."""

LIKELY = (0.99, 10.0)
"""Reflectances of the largest number of a type, with the scales that are in use."""

FULL = (1023, 2047, 4095)
"""Where numbers of 10, 11 and 12 bits end."""


IMPOSSIBLE = 10.0
"""Reflectance that half of a band never has, not even where a sensor is saturated: the units are wrong."""

LEAST_SHIFTED = 700
"""The lowest value that Sentinel-2's baseline 4 and later can have, whose reflectance of zero is 1000."""


def resolve(
    recipe: SceneRecipe, options: ReadOptions, dtype: str, in_file: Conversion | None, look: Callable[[], Sample]
) -> tuple[Units, Conversion]:
    """The units of a source and its way to reflectance, the sun included.

    ``in_file`` is the scale and offset that the raster itself carries. ``look`` samples the values, which takes time:
    it is asked unless a product's metadata or a likely scale of the raster settle it. Raises UnitsError where nothing
    tells, and where two things contradict each other.
    """
    if options.scale is not None:
        conversion = Conversion.uniform(options.scale, options.offset or 0.0)
        if options.sun_elevation is not None:
            conversion = _lit(conversion, options.sun_elevation, recipe)
        return _checked(recipe, Units.REFLECTANCE, conversion, look())

    if options.units is not Units.AUTO:
        units: Units = options.units
        own = recipe.conversion if recipe.units is units else None
        conversion = own or CONVERSIONS[units]
    elif recipe.units is not Units.AUTO:
        units = recipe.units
        conversion = recipe.conversion or CONVERSIONS[units]
    elif in_file is not None:
        units, conversion = Units.REFLECTANCE, in_file
    elif recipe.unknown is not None:
        raise UnitsError(recipe.unknown)
    else:
        units = _from_values(recipe, dtype, look())
        conversion = CONVERSIONS[units]

    if units is Units.LANDSAT_L1 and dtype == "uint8" and conversion is CONVERSIONS[units]:
        raise UnitsError(
            f"{recipe.source}: 8-bit Level-1 values, as of Landsat 4 to 7, mean nothing without their MTL file; "
            "put it beside the bands, or say --scale and --offset"
        )
    sun = options.sun_elevation if options.sun_elevation is not None else recipe.sun_elevation
    if units is Units.LANDSAT_L1:
        if sun is not None:
            conversion = _lit(conversion, sun, recipe)
        else:
            log.warning(
                "%s: sun elevation unknown, reflectance stays too dark; say it with --sun-elevation", recipe.source
            )
    elif options.sun_elevation is not None:
        raise UnitsError(
            f"{recipe.source}: a sun elevation was given, but the values are {units}, which hold it already; "
            "leave it out, or say --units landsat-l1"
        )
    told = recipe.units is not Units.AUTO or (in_file is not None and _is_likely(in_file, dtype))
    told = told and options.units is Units.AUTO
    return (units, conversion) if told else _checked(recipe, units, conversion, look())


def _is_likely(conversion: Conversion, dtype: str) -> bool:
    """True for a scale with which a type's largest number is a reflectance from 1 to 10, as 16 bits × 10 000 are.

    There are tags to divide by, 10000 instead of 0.0001 (MODIS's): the values then show that something is wrong.
    """
    if "int" not in dtype:
        return False
    largest = np.iinfo(dtype).max
    pairs = zip(conversion.scale, conversion.offset, strict=True)
    return all(LIKELY[0] <= scale * largest + offset <= LIKELY[1] for scale, offset in pairs)


def _lit(conversion: Conversion, sun: float, recipe: SceneRecipe) -> Conversion:
    try:
        return conversion.lit_by(sun)
    except UnitsError as error:
        raise UnitsError(f"{recipe.source}: {error}") from error


def _from_values(recipe: SceneRecipe, dtype: str, sample: Sample) -> Units:
    """Units that fit the sampled values and no others; raises UnitsError where several do."""
    low, high = sample.low, sample.high
    if math.isnan(low):  # no data at all: any units give the same mask
        return Units.REFLECTANCE
    if dtype.startswith("float"):
        if low >= -0.2 and high <= 2:
            return Units.REFLECTANCE
        likely = CHOICES
    elif dtype == "uint8":
        likely = str(Units.SCALED_8BIT)
    elif dtype == "uint16" and 4000 <= low < 6900 and max(band.low for band in sample.bands) > low + 1200:
        # Landsat Level-1: a floor at 5000 to 6500 (surface reflectance of zero is DN 7273), and blue air far above it:
        # 1350 or more in 150 real scenes and parts of them, but at most 1100 in Sentinel-2's of nothing but cloud.
        return Units.LANDSAT_L1
    elif 0 <= low < 1000 and (_stays_below(sample, FAINT) or high in FULL):
        raise UnitsError(
            f"{recipe.source}: nothing tells what the values mean ({dtype}, {low:g} to {high:g}), too dark for "
            f"reflectance × 10 000, rather as numbers of 10 to 12 bits are, radiance, or per mille; say --scale and "
            f"--offset, or, if it is a dark scene, --units {Units.SENTINEL2}"
        )
    elif _baseline(recipe.name) >= 4 and low >= LEAST_SHIFTED and high < 20_000:
        log.warning("%s: read as sentinel2-baseline4, as its name tells; if not, say --units sentinel2", recipe.source)
        return Units.SENTINEL2_BASELINE4
    elif 0 <= low < 1000 and high < 20_000:
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
    elif 2000 <= low < 4000 and high < 20_000:
        log.warning(
            "%s: read as sentinel2; should it be of baseline 4 or later, say --units sentinel2-baseline4", recipe.source
        )
        return Units.SENTINEL2  # nothing dark in it, cloud or snow all over: 0.1 of reflectance changes little
    elif low >= 6900:
        likely = f"{Units.LANDSAT_L1}, {Units.LANDSAT_L2}"
    elif 1000 <= low < 2000:
        likely = f"{Units.SENTINEL2}, {Units.SENTINEL2_BASELINE4}"
    else:
        likely = f"{Units.SENTINEL2}, {Units.SENTINEL2_BASELINE4}, {Units.LANDSAT_L1}, {Units.LANDSAT_L2}"
    raise UnitsError(
        f"{recipe.source}: nothing tells what the values mean ({dtype}, {low:g} to {high:g}); "
        f"say --units {' or '.join(likely.split(', '))}, or --scale and --offset"
    )


def _baseline(name: str) -> int:
    """4 for N0400, of a Sentinel-2 product's name; 0 where it tells none."""
    found = re.search(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d\d)\d\d", name, re.IGNORECASE)
    return int(found[1]) if found else 0


def _stays_below(sample: Sample, limit: float) -> bool:
    """True where land or cloud stay below a limit, or whatever it is below the darkest there is.

    Land and cloud are about as bright in near-infrared as elsewhere, or brighter; without near-infrared nothing tells.
    """
    visible, nir = sample.bands[:3], sample.bands[3:]
    seen = nir and nir[0].middle >= 0.8 * max(band.middle for band in visible)
    return sample.high < (limit if seen else DARKEST)


def _checked(recipe: SceneRecipe, units: Units, conversion: Conversion, sample: Sample) -> tuple[Units, Conversion]:
    """Warns when the brightest or darkest values cannot be reflectance; raises UnitsError if most of a band cannot."""
    bands = list(zip(sample.bands, conversion.scale, conversion.offset, strict=False))
    values = [scale * value + offset for band, scale, offset in bands for value in (band.low, band.high)]
    middle = max(scale * band.middle + offset for band, scale, offset in bands)
    if middle > IMPOSSIBLE:
        raise UnitsError(
            f"{recipe.source}: read as {units}, half of a band would have a reflectance above {middle:.4g}, wanted 0 "
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
