"""Sentinel-2's metadata files: of a product (MTD_MSIL1C.xml, MTD_MSIL2A.xml) and of a tile (MTD_TL.xml).

`Container.read_text` limits their size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from geocloud.bands import Conversion
from geocloud.errors import SceneReadError
from geocloud.readers.xml import parse_xml

BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands in the order of their ``band_id``."""

LEVELS = {"Level-1C_User_Product": "L1C", "Level-2A_User_Product": "L2A"}
TILES = ("Level-1C_Tile_ID", "Level-2A_Tile_ID")
"""Root elements, of products and of tiles."""

QUANTIFICATION = {
    "L1C": ("QUANTIFICATION_VALUE",),
    "L2A": ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"),  # of old products
}
OFFSET = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}
SUN = "Mean_Sun_Angle/ZENITH_ANGLE"
SUN_AZIMUTH = "Mean_Sun_Angle/AZIMUTH_ANGLE"

WANTED = {
    "PRODUCT_START_TIME",
    "PROCESSING_BASELINE",
    "SENSING_TIME",
    SUN,
    SUN_AZIMUTH,
    *OFFSET.values(),
    *(name for names in QUANTIFICATION.values() for name in names),
}
LONGEST = 200
"""Characters of a value that is wanted."""


@dataclass(frozen=True, slots=True)
class Mtd:
    """What one file says that is of use.

    ``root`` is its outermost element. ``texts``: element → value, of several the first. ``offsets``: element and
    ``band_id`` → value.
    """

    label: str
    root: str
    texts: dict[str, str]
    offsets: dict[tuple[str, str], str]

    @property
    def level(self) -> str:
        """L1C or L2A. Raises SceneReadError for a tile's metadata, which do not tell."""
        if self.root not in LEVELS:
            raise SceneReadError(f"{self.label}: metadata of a tile, wanted a product's")
        return LEVELS[self.root]

    @property
    def baseline(self) -> float | None:
        """The processing baseline, 5.09 for N0509."""
        return self._number("PROCESSING_BASELINE", self.texts.get("PROCESSING_BASELINE"))

    @property
    def acquired(self) -> datetime | None:
        """The product's start or the tile's sensing time, UTC."""
        text = self.texts.get("PRODUCT_START_TIME") or self.texts.get("SENSING_TIME") or ""
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    @property
    def sun_elevation(self) -> float | None:
        """Degrees above the horizon in the middle of a tile; reflectance holds it already."""
        zenith = self._number(SUN, self.texts.get(SUN))
        return 90 - zenith if zenith is not None and 0 <= zenith <= 180 else None

    @property
    def sun_azimuth(self) -> float | None:
        """Degrees clockwise from north in the middle of a tile."""
        azimuth = self._number(SUN_AZIMUTH, self.texts.get(SUN_AZIMUTH))
        return None if azimuth is None else azimuth % 360

    @property
    def has_offsets(self) -> bool:
        """True from baseline 04.00 on: values are shifted, so that dark pixels are not cut off."""
        return any(element == OFFSET[self.level] for element, _ in self.offsets)

    def conversion(self, bands: tuple[str, ...]) -> Conversion:
        """Of the bands named, red first: reflectance = (value + offset) / quantification. Raises SceneReadError.

        Source: Sentinel-2 Products Specification Document, from processing baseline 04.00 on.
        """
        quantification = self._quantification()
        offsets = [self._offset(band) / quantification for band in bands]
        scales, fill = [1 / quantification] * len(bands), range(4 - len(bands))  # without near-infrared
        return Conversion((*scales, *(1 for _ in fill)), (*offsets, *(0 for _ in fill)))  # type: ignore[arg-type]

    def _quantification(self) -> float:
        names = QUANTIFICATION[self.level]
        for name in names:
            value = self._number(name, self.texts.get(name))
            if value is not None:
                if not value >= 1:
                    raise SceneReadError(f"{self.label}: {name} is {value:g}, wanted 1 or more, as a rule 10000")
                return value
        raise SceneReadError(f"{self.label}: no {names[0]}, which tells what the values mean; fetch the product again")

    def _offset(self, band: str) -> float:
        if not self.has_offsets:
            return 0.0
        element, number = OFFSET[self.level], str(BAND_IDS.index(band))
        value = self._number(element, self.offsets.get((element, number)))
        if value is None:
            raise SceneReadError(f"{self.label}: no {element} of {band} (band_id {number}), and some of other bands")
        return value

    def _number(self, name: str, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise SceneReadError(f"{self.label}: {name} is {text!r}, wanted a number")
        return number


def parse_mtd(text: str, label: str) -> Mtd:
    """Parses a file of either kind. Raises SceneReadError where it is none, is cut off, or has a DOCTYPE."""
    reader = _Reader(label)
    parse_xml(text, label, "Sentinel-2", reader.start, reader.end, reader.text)
    return Mtd(label, reader.root, reader.texts, reader.offsets)


class _Reader:
    """Keeps what is wanted of the elements."""

    def __init__(self, label: str) -> None:
        self.label, self.root = label, ""
        self.texts: dict[str, str] = {}
        self.offsets: dict[tuple[str, str], str] = {}
        self._open: list[str] = []
        self._name, self._band, self._value = "", "", ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._open:
            self.root = name
            if name not in LEVELS and name not in TILES:
                raise SceneReadError(
                    f"{self.label}: no Sentinel-2 metadata, wanted {', '.join((*LEVELS, *TILES))}, found {name[:50]!r}"
                )
        within = f"{self._open[-1]}/{name}" if self._open else name
        self._open.append(name)
        self._name = within if within in WANTED else name if name in WANTED else ""
        self._band, self._value = attributes.get("band_id", ""), ""

    def text(self, data: str) -> None:
        if self._name and len(self._value) < LONGEST:
            self._value += data[:LONGEST]

    def end(self, _: str) -> None:
        self._open.pop()
        value = self._value.strip()
        if self._name in OFFSET.values():
            self.offsets.setdefault((self._name, self._band), value)
        elif self._name:
            self.texts.setdefault(self._name, value)
        self._name = ""
