"""Identification of bands by the names of products, files and bands."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from geocloud.bands import BANDS, Units
from geocloud.errors import BandError
from geocloud.readers.source import parse_time

Indexes = tuple[int, ...]  # band numbers of red, green, blue and, if present, nir
Wanted = Sequence[tuple[str, ...]]
"""Alternative names of red, green, blue and nir; the first existing name of each band is used."""

COLOURS: Wanted = (("red",), ("green",), ("blue",), ("nir", "nir08", "nir8", "nir1"))
OLI, TM = (4, 3, 2, 5), (3, 2, 1, 4)  # numbers of red, green, blue and nir on Landsat 8 and 9, and on 4 to 7
NUMBER = re.compile(r"(?<![A-Za-z])((?:SR_?|TOA_|TA)?(?:B|band)[ _]?)(0?)(\d{1,2}A?)(?![0-9A-Za-z])", re.IGNORECASE)
"""Band number in a description or file name. Groups: prefix, padding zero, number."""

PRODUCT_ID = re.compile(
    r"L[COTEM]0(?P<satellite>[1-9])_(?:(?P<level>L1TP|L1GT|L1GS|L2SP|L2SR)|CU|AK|HI)_\d{6}_(?P<date>\d{8})"
    r"(?:_\d{8})?(?:_C?0[12])?(?:_(?:T1|T2|RT|V\d\d))?",
    re.IGNORECASE,
)
"""Landsat Collection 1 or 2 product ID; the processing date and later parts are optional. CU, AK and HI are ARD."""
EARTH_ENGINE_ID = re.compile(r"L[COTE]0(?P<satellite>[4-9])_\d{6}_(?P<date>\d{8})(?!\d)", re.IGNORECASE)
"""Landsat ``system:index`` in Earth Engine."""
SCENE_ID = re.compile(r"L[COTEM](?P<satellite>[1-9])\d{6}(?P<date>\d{7})[A-Z]{3}\d{2}", re.IGNORECASE)
"""Landsat scene ID from before collections, such as LC80200392015216LGN00."""
IDS = ((PRODUCT_ID, "%Y%m%d"), (EARTH_ENGINE_ID, "%Y%m%d"), (SCENE_ID, "%Y%j"))
SATELLITE = re.compile(r"(?:^|[^a-z])(?:landsat|l[cote]?)[_\- ]?0?([4-9])(?:[^0-9]|$)", re.IGNORECASE)
SENTINEL2_NAME = re.compile(
    r"(?:^|[^A-Z0-9])(?:T\d{2}[A-Z]{3}_\d{8}T\d{6}|(?:S|sentinel[_\- ]?)2[A-D]?)(?:[^A-Z0-9]|$)", re.IGNORECASE
)
"""Sentinel-2 tile and time, or satellite, in a file or folder name."""

LEVELS: dict[str, Literal["L1", "SR"]] = {"L1": "L1", "L2": "SR"}
FOUR = "the numbers of red, green, blue and near-infrared"
NO_BLUE = "Landsat MSS saw green, red and near-infrared, but no blue, and cannot be masked; take a TM or OLI product"


class ProductName(NamedTuple):
    """Facts in the name of a Landsat product or file."""

    satellite: int | None = None
    level: Literal["L1", "SR"] | None = None
    acquired: datetime | None = None
    text: str = ""

    @property
    def is_mss(self) -> bool:
        """True for a product of the Multispectral Scanner, which flew on Landsat 1 to 5."""
        return self.text.upper().startswith("LM")

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """Numbers of red, green, blue and nir; None if the satellite is unknown."""
        return None if self.satellite is None else OLI if self.satellite >= 8 else TM

    @classmethod
    def parse(cls, name: str) -> ProductName:
        """Searches a name for a product or scene ID, or else for the satellite."""
        for form, date in IDS:
            if parts := form.search(name):
                level = (parts.groupdict().get("level") or "")[:2].upper()
                acquired = parse_time(parts["date"], date)
                return cls(int(parts["satellite"]), LEVELS.get(level), acquired, parts[0])
        parts = SATELLITE.search(name)
        return cls(int(parts[1]) if parts else None)


def is_msi(present: Collection[str], padded: bool) -> bool:
    """True if band numbers, without B, are Sentinel-2's; ``padded`` (with a zero) numbers are never Landsat's."""
    whole = {"2", "3", "4", "8"} <= {*present}
    return bool({"8A", "12"} & {*present}) or (whole and (padded or "5" not in present))


def choose_landsat(present: Collection[str], source: str, *how: str) -> tuple[int, ...] | None:
    """Landsat's numbers of red, green, blue and nir, given the numbers present; None if one is missing.

    ``how`` is advice in messages, for Landsat 4-7 or 8-9 and for Landsat or Sentinel-2. Raises BandError if both fit.
    """
    oli, tm = ({str(n) for n in numbers} <= {*present} for numbers in (OLI, TM))
    doubt = ""
    if {"5", "8"} <= {*present} and not {str(n) for n in range(1, 12)} <= {*present}:
        doubt = f"Sentinel-2's (near-infrared: B8) or Landsat's (near-infrared: B5); say {how[1]}"
    elif oli and tm and not {"9", "10", "11"} & {*present}:
        doubt = f"Landsat 4-7's or 8-9's; say {how[0]}"
    if doubt:
        raise BandError(f"{source}: bands {', '.join(f'B{n}' for n in sorted(present))} may be {doubt}")
    return OLI if oli else TM if tm else None


def find_bands(texts: Sequence[str], path: str, stem: str = "", units: Units = Units.AUTO) -> Indexes | None:
    """Band numbers identified by descriptions, colours before numbers; None: unknown.

    A description that equals a colour's name is preferred to one that contains it. ``path`` is for messages; ``stem``
    and ``units``, if the user gave them, identify the satellite. Raises BandError for ambiguous or repeated names.
    """
    words = [re.sub(r"near[ _-]?infra[ _-]?red", "nir", text.lower()).strip() for text in texts]
    tokens = [{*re.findall(r"[a-z]+\d*[a-z]?|\d+", text)} for text in words]
    places: dict[str, list[int]] = {}
    for name, colour in ((name, names[0]) for names in COLOURS for name in names):
        holding = [i for i, some in enumerate(tokens, 1) if name in some and not some & {"edge", "rededge"}]
        if indexes := [i for i, text in enumerate(words, 1) if text == name] or holding:
            places.setdefault(repr(colour), indexes)
    if not (len(places) == 4 or len(places) == len(texts) == 3):
        places = _find_numbers(texts, path, stem, units)
    for name, indexes in places.items():
        if len(indexes) > 1:
            several = f"{name} occurs {len(indexes)} times (bands {', '.join(map(str, indexes))})"
            raise BandError(f"{path}: {several}; say ReadOptions(bands=…) with the numbers that belong together")
    return tuple(indexes[0] for indexes in places.values()) or None


def _find_numbers(texts: Sequence[str], path: str, stem: str, units: Units) -> dict[str, list[int]]:
    """Name → bands, by Landsat's or Sentinel-2's numbers. Raises BandError if both fit or a band is missing."""
    name, numbers, padded = ProductName.parse(stem), dict[str, list[int]](), False
    for index, text in enumerate(texts, 1):
        if parts := NUMBER.search(text):
            numbers.setdefault(parts[3].upper(), []).append(index)
            padded |= bool(parts[2])
    if name.is_mss and numbers:
        raise BandError(f"{path}: {NO_BLUE}")
    landsat = units in (Units.LANDSAT_L1, Units.LANDSAT_L2)
    msi = units in (Units.SENTINEL2, Units.SENTINEL2_BASELINE4) or SENTINEL2_NAME.search(stem)
    wanted: Wanted = [(str(number),) for number in name.numbers or ()]
    if not wanted and {"2", "3", "4"} <= {*numbers}:
        how = f"ReadOptions(bands=…) with {FOUR}"
        which = "ReadOptions(units='sentinel2') or ReadOptions(units='landsat-l2') (or landsat-l1)"
        if not landsat and (msi or is_msi(numbers, padded)):
            wanted = (("4",), ("3",), ("2",), ("8", "8A"))
        elif choose_landsat({*numbers} - {"8" if landsat else ""}, path, how, f"{which}, or {how}") == OLI:
            wanted = [(str(number),) for number in OLI]
    chosen = [next((number for number in some if number in numbers), some[0]) for some in wanted]
    if not {*chosen} & {*numbers}:
        return {}
    if not {*chosen} <= {*numbers}:
        lacking = missing_bands([tuple(f"B{n}" for n in some) for some in wanted], [f"B{number}" for number in numbers])
        raise BandError(f"{path}: {lacking}; say ReadOptions(bands=…) with {FOUR} if they have other names")
    return {f"B{number}": numbers[number] for number in chosen}


def missing_bands(wanted: Wanted, present: Collection[str], where: str = "") -> str:
    """Message such as ``no red (B4) and no nir (B5); found B2, B3``."""
    pairs = zip(BANDS, wanted, strict=False)
    missing = [f"{band} ({' or '.join(names)})" for band, names in pairs if not {*names} & {*present}]
    return f"no {' and no '.join(missing)}{where}; found {', '.join(sorted(present)) or 'no band'}"


def shorten(names: Iterable[str], limit: int = 4) -> str:
    """The first ``limit`` names, joined for a message."""
    names = list(names)
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")
