"""The four bands, and the conversion of pixel values to reflectance.

Arrays in memory are reflectance: float32, bands in the order of `BANDS`. A `Conversion` converts the values stored in
files to reflectance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from geocloud.errors import UnitsError

BANDS = ("red", "green", "blue", "nir")
"""Band order of all arrays."""


class Units(StrEnum):
    """Units of the pixel values in a file."""

    AUTO = "auto"
    REFLECTANCE = "reflectance"
    LANDSAT_L1 = "landsat-l1"
    LANDSAT_L2 = "landsat-l2"
    SENTINEL2 = "sentinel2"
    SENTINEL2_BASELINE4 = "sentinel2-baseline4"
    SCALED_8BIT = "scaled-8bit"
    SCALED_16BIT = "scaled-16bit"


@dataclass(frozen=True, slots=True)
class Conversion:
    """Conversion of stored values to reflectance, per band: reflectance = scale · value + offset."""

    scale: tuple[float, ...]
    """One scale per band, not zero."""
    offset: tuple[float, ...]
    """One offset per band."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (*self.scale, *self.offset)) or not all(self.scale):
            raise UnitsError(f"scale {self.scale} and offset {self.offset}: wanted finite numbers, no zero scale")

    @classmethod
    def uniform(cls, scale: float, offset: float = 0.0) -> Conversion:
        """Conversion with the same scale and offset for all four bands."""
        return cls((scale,) * 4, (offset,) * 4)

    @classmethod
    def of(cls, scales: Sequence[float], offsets: Sequence[float] = ()) -> Conversion:
        """Conversion of four bands, or of three without near-infrared; offsets default to 0."""
        return cls((*scales, 1.0)[:4], (*(offsets or [0.0] * len(scales)), 0.0)[:4])

    def lit_by(self, sun_elevation: float) -> Conversion:
        """This conversion divided by the sine of the sun's elevation (degrees): Landsat Level-1 to TOA reflectance.

        Source: Landsat 8 Data Users Handbook, section 5: ρλ = (Mρ · Qcal + Aρ) / sin(θSE).
        """
        if not 0 < sun_elevation <= 90:
            raise UnitsError(
                f"sun elevation {sun_elevation:g}°: wanted more than 0 and at most 90 degrees; "
                "a scene without sunlight shows no clouds in these bands"
            )
        sine = math.sin(math.radians(sun_elevation))
        return Conversion(tuple(v / sine for v in self.scale), tuple(v / sine for v in self.offset))

    def apply(self, values: Any, out: Any) -> Any:
        """Converts values ``(4, h, w)`` to reflectance in ``out`` (float32, same shape), and returns it.

        Values may lack near-infrared, ``(3, h, w)``; ``out[3]`` is then NaN.
        """
        for band, band_values in enumerate(values):
            out[band] = band_values
            out[band] *= self.scale[band]
            out[band] += self.offset[band]
        out[len(values) :] = math.nan
        return out

    def invert(self, reflectance: Any) -> Any:
        """Converts reflectance ``(4, h, w)`` to stored values, as floats."""
        scale = [[[v]] for v in self.scale]
        offset = [[[v]] for v in self.offset]
        return (reflectance - offset) / scale


LANDSAT_L1 = Conversion.uniform(2.0e-5, -0.1)
"""Conversion of Level-1, Collections 1 and 2, without the sun's elevation (Landsat 8 Data Users Handbook)."""

LANDSAT_L2 = Conversion.uniform(2.75e-5, -0.2)
"""Conversion of Level-2 surface reflectance, Collection 2 (Landsat 8-9 Collection 2 Level 2 Science Product Guide)."""

CONVERSIONS: dict[Units, Conversion] = {
    Units.REFLECTANCE: Conversion.uniform(1.0),
    Units.LANDSAT_L1: LANDSAT_L1,
    Units.LANDSAT_L2: LANDSAT_L2,
    Units.SENTINEL2: Conversion.uniform(1e-4),
    Units.SENTINEL2_BASELINE4: Conversion.uniform(1e-4, -0.1),
    Units.SCALED_8BIT: Conversion.uniform(1 / 255),
    Units.SCALED_16BIT: Conversion.uniform(1 / 65535),
}
