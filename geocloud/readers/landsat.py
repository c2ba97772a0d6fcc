"""Landsat products: band files side by side in a folder or archive, with or without their metadata file (MTL).

Level 1 and 2 of Collections 1 and 2, Analysis Ready Data, ESPA's orders, and names that Earth Engine gives.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geocloud.bands import LANDSAT_L2, Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.readers.archive import Listing, local_name, parse_xml
from geocloud.readers.bandfiles import NUMBERED, BandFileReader, Product, Wanted, band_numbers, missing_bands
from geocloud.readers.base import ReadOptions, SceneRecipe, parse_time

log = logging.getLogger(__name__)

PRODUCT_ID = re.compile(
    r"L[COTEM]0(?P<satellite>[1-9])_(?:(?P<level>L1TP|L1GT|L1GS|L2SP|L2SR)|CU|AK|HI)_\d{6}_(?P<date>\d{8})"
    r"(?:_\d{8})?(?:_C?0[12])?(?:_(?:T1|T2|RT|V\d\d))?",
    re.IGNORECASE,
)
"""A Collection 1 or 2 product ID; the processing date and all after it may be missing. CU, AK, HI: ARD tiles."""

EARTH_ENGINE_ID = re.compile(r"L[COTE]0(?P<satellite>[4-9])_\d{6}_(?P<date>\d{8})(?!\d)", re.IGNORECASE)
"""Earth Engine's ``system:index``."""

SCENE_ID = re.compile(r"L[COTEM](?P<satellite>[1-9])\d{6}(?P<date>\d{7})[A-Z]{3}\d{2}", re.IGNORECASE)
"""A scene ID from before collections, such as LC80200392015216LGN00."""

IDS = ((PRODUCT_ID, "%Y%m%d"), (EARTH_ENGINE_ID, "%Y%m%d"), (SCENE_ID, "%Y%j"))
SATELLITE = re.compile(r"(?:^|[^a-z])(?:landsat|l[cote]?)[_\- ]?0?([4-9])(?:[^0-9]|$)", re.IGNORECASE)
METADATA_FILE = re.compile(r"(?P<prefix>.*?)_?MTL\.(?P<format>txt|json|xml)", re.IGNORECASE)

OLI = (4, 3, 2, 5)
TM = (3, 2, 1, 4)
"""Numbers of red, green, blue and nir: OLI on Landsat 8 and 9, TM and ETM+ on Landsat 4 to 7."""

NO_BLUE = "Landsat MSS saw green, red and near-infrared, but no blue, and cannot be masked; take a TM or OLI product"


class Level(StrEnum):
    """Contents of band files, the best to mask first."""

    L1 = "L1"
    TOA = "TOA"
    TOA_10000 = "TOA, × 10 000"
    SR = "SR"
    SR_10000 = "SR of Collection 1"


FILE_WORDS = {Level.L1: "B", Level.TOA: "TOA_B", Level.TOA_10000: "toa_band", Level.SR: "SR_B", Level.SR_10000: "SR_B"}
KINDS = {"sr_": Level.SR, "sr": Level.SR_10000, "toa_": Level.TOA, "ta": Level.TOA_10000}
"""Level by the word before the band's number in a file name."""

TEN_THOUSAND = Conversion.uniform(1e-4)
FIXED: dict[Level, tuple[Units, Conversion, int]] = {
    Level.SR_10000: (Units.LANDSAT_L2, TEN_THOUSAND, -9999),
    Level.TOA_10000: (Units.REFLECTANCE, TEN_THOUSAND, -9999),
    Level.TOA: (Units.REFLECTANCE, LANDSAT_L2, 0),
}
"""Units, conversion and fill that no metadata change.

Landsat 8 Collection 1 Surface Reflectance Code Product Guide; TOA is Analysis Ready Data's, scaled like Level 2."""


@dataclass(frozen=True, slots=True)
class ProductName:
    """Facts that a product's or file's name holds."""

    satellite: int | None = None
    level: Level | None = None
    acquired: datetime | None = None
    text: str | None = None

    @property
    def is_mss(self) -> bool:
        """True for a product of the Multispectral Scanner, which flew on Landsat 1 to 5."""
        return (self.text or "").upper().startswith("LM")

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """Numbers of red, green, blue and nir; None if the satellite is unknown."""
        return _numbers_of(self.satellite)

    @classmethod
    def parse(cls, name: str) -> ProductName:
        """Looks for an ID or the satellite anywhere in a name."""
        for form, date in IDS:
            if parts := form.search(name):
                level = {"L1": Level.L1, "L2": Level.SR}.get((parts.groupdict().get("level") or "")[:2].upper())
                return cls(int(parts["satellite"]), level, parse_time(parts["date"], date), parts[0])
        parts = SATELLITE.search(name)
        return cls(int(parts[1]) if parts else None)


def _numbers_of(satellite: int | None) -> tuple[int, ...] | None:
    return None if satellite is None else OLI if satellite >= 8 else TM


class Landsat(BandFileReader):
    """Landsat 4 to 9."""

    title = "a folder or archive of Landsat band files, or any one file of it (`…_MTL.txt`, `…_B4.TIF`)"
    notes = (
        "Landsat 4–9 (TM, ETM+, OLI): Collection 1 and 2, Level 1 and Level 2, Analysis Ready Data, ESPA's `toa_band` "
        "and `sr_band`; product IDs may be shortened or missing; `MTL.txt`, `MTL.json` or `MTL.xml` is used if it is "
        "there. Landsat 4–7 Level 1 needs it"
    )
    product_ids = (PRODUCT_ID.pattern, SCENE_ID.pattern)
    form = re.compile(
        r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<kind>SR_?|TOA_|TA)?(?P<word>B|band)0?(?P<number>\d{1,2})(?P<rest>[_\-. ].*)?"
        r"\.(?:tiff?|jp2|img)",
        re.IGNORECASE,
    )
    metadata = METADATA_FILE
    hint = NUMBERED

    def key(self, parts: re.Match[str]) -> tuple[str, str] | None:
        """Level and whatever follows the band, and the band; not for surface temperature."""
        if parts["prefix"].upper().endswith("_ST"):
            return None
        level = KINDS.get((parts["kind"] or "").lower(), Level.L1)
        if parts["word"].lower() == "band":
            level = {Level.SR: Level.SR_10000, Level.TOA: Level.TOA_10000}.get(level, level)
        return f"{level}|{(parts['rest'] or '').lower()}", f"B{int(parts['number'])}"

    def wanted(self, product: Product) -> Wanted:
        """Numbers of the satellite that the name tells, or that the bands can be from."""
        numbers = ProductName.parse(product.stem).numbers or next(
            (numbers for numbers in (OLI, TM) if {f"B{n}" for n in numbers} <= set(product.files)), OLI
        )
        return [(f"B{number}",) for number in numbers]

    def is_product(self, product: Product) -> bool:
        """True for a product with some of the bands that any sensor needs."""
        return bool({f"B{n}" for n in (1, 2, 3, 4, 5, 8)} & set(product.files))

    def select(self, listing: Listing, products: list[Product], options: ReadOptions) -> Product:
        """Complete ones first, Level 1 before others; files of other resolutions may lie beside the bands."""
        levels = {Units.LANDSAT_L1: ("L1",), Units.LANDSAT_L2: ("SR",)}.get(options.units, ("L1", "TOA", "SR"))
        asked = [product for product in products if product.group.startswith(levels)] or products
        complete = [product for product in asked if product.choose(self.wanted(product))]
        if not complete and len({_level(product) for product in asked if self.is_product(product)}) > 1:
            parts = "; ".join(f"{_level(p)}: {', '.join(sorted(p.files))}" for p in asked)
            raise BandError(f"{listing.source}: Level-1 and surface reflectance bands mixed, neither whole ({parts})")
        found = {_level(product) for product in complete}
        best = next((level for level in Level if level in found), None)
        chosen = [product for product in complete if _level(product) is best]
        others = {product.prefix for product in complete} - {product.prefix for product in chosen}
        if any(_contradict(one, other.prefix) for one in others for other in chosen):
            chosen = complete
        elif len(found) > 1:
            word = "Level-1" if best is Level.L1 else best
            log.warning("%s: holds Level-1 and surface reflectance bands; %s is used", listing.source, word)
        return super().select(listing, chosen or asked, replace(options, bands=None))

    def assemble(self, listing: Listing, product: Product, options: ReadOptions, member: str | None) -> SceneRecipe:
        """The recipe, by the metadata file if there is one, else by names. Raises BandError, SceneReadError."""
        level, own, outer = _level(product), ProductName.parse(product.stem), ProductName.parse(listing.stem)
        name = own if own.text or (own.satellite is not None and not outer.text) else outer
        mtl = _metadata(listing, product, member) or Mtl("", {})
        if name.is_mss or mtl.sensor == "MSS":
            raise BandError(f"{listing.source}: {NO_BLUE}")
        numbers = band_numbers(options) or _numbers(listing, product, mtl.satellite or name.satellite)
        bands = [f"B{number}" for number in numbers]
        if not set(bands) <= set(product.files):
            wanted = [(f"{FILE_WORDS[level]}{number}",) for number in numbers]
            present = [f"{FILE_WORDS[level]}{band[1:]}" for band in product.files]
            raise BandError(
                f"{listing.source}: {missing_bands(wanted, present)}; all of "
                "red, green, blue and nir of one product are needed (or, without nir, --bands with the first three)"
            )
        units, conversion, fill = FIXED.get(level, (Units.LANDSAT_L1, None, None))
        kind = f"Landsat {level}"
        if level is Level.SR:
            units, conversion = Units.LANDSAT_L2, mtl.conversion(numbers, LEVEL2_GROUPS)
        elif level is Level.L1 and mtl.groups:
            conversion = mtl.conversion(numbers, LEVEL1_GROUPS)
        elif level is Level.L1 and name.level is not Level.L1:  # bare bands, in any units
            units, kind = Units.AUTO, "Landsat bands"
        return SceneRecipe(
            name=product.stem if own.text else name.text or product.stem or listing.stem,
            source=listing.source if member is None else listing.label(member),
            bands=product.sources(listing, bands),
            units=units,
            conversion=conversion,
            fill=fill,
            acquired=mtl.acquired or name.acquired,
            sun_elevation=mtl.sun_elevation,
            sun_azimuth=mtl.sun_azimuth,
            georeference=mtl.grid,
            kind=kind,
        )


def _level(product: Product) -> Level:
    return Level(product.group.partition("|")[0])


def _metadata(listing: Listing, product: Product, member: str | None) -> Mtl | None:
    """The metadata file of a product: the one that was named, the one with its prefix, or the only one there."""
    name = member
    if name is None or not METADATA_FILE.fullmatch(name):
        folder, _, stem = product.prefix.rpartition("/")
        stem = stem.lower().rstrip("_-. ")
        prefixes: dict[str, list[str]] = {}
        for path in listing.names:
            parts = METADATA_FILE.fullmatch(path.rpartition("/")[2])
            if parts and path.rpartition("/")[0] == folder:
                prefixes.setdefault(parts["prefix"].lower(), []).append(path)
        if stem not in prefixes:
            prefixes = {p: paths for p, paths in prefixes.items() if len(prefixes) == 1 and not _contradict(p, stem)}
        same = prefixes.get(stem) or next(iter(prefixes.values()), [])
        name = min(same, key=lambda path: ("txt", "json", "xml").index(path.lower().rpartition(".")[2]), default=None)
    return parse_mtl(listing.read_text(name), listing.label(name)) if name else None


def _contradict(one: str, other: str) -> bool:
    """True if two names hold product IDs of different acquisitions."""
    ids = [re.search(r"l[cotem]0\d_l\w{3}_(\d{6}_\d{8})", name, re.IGNORECASE) for name in (one, other)]
    return all(ids) and len({parts[1] for parts in ids if parts}) == 2


def _numbers(listing: Listing, product: Product, satellite: int | None) -> tuple[int, ...]:
    """Numbers of red, green, blue and nir by the satellite, or by the bands. Raises BandError if those fit several."""
    if numbers := _numbers_of(satellite):
        return numbers
    present = {int(band[1:]) for band in product.files}
    oli, tm = set(OLI) <= present, set(TM) <= present
    if not present & {9, 10, 11}:
        shown = f"{listing.source}: bands {', '.join(sorted(product.files))} may be"
        if {5, 8} <= present:
            raise BandError(
                f"{shown} Landsat's or Sentinel-2's; say --bands 4,3,2,5 for Landsat 8-9, --bands 3,2,1,4 for "
                "Landsat 4-7 or --bands 4,3,2,8 for Sentinel-2"
            )
        if oli and tm:
            raise BandError(
                f"{shown} Landsat 4-7's or 8-9's; say --bands 4,3,2,5 for Landsat 8-9 or --bands 3,2,1,4 for Landsat "
                "4-7"
            )
    return TM if tm and not oli else OLI


ROOTS = ("LANDSAT_METADATA_FILE", "L1_METADATA_FILE")
LEVEL1_GROUPS = ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
LEVEL2_GROUPS = ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS",)
FACTS = ("IMAGE_ATTRIBUTES", "PRODUCT_METADATA")
PLACES = ("PROJECTION_ATTRIBUTES", "PROJECTION_PARAMETERS", "PRODUCT_METADATA", "LEVEL1_PROJECTION_PARAMETERS")


@dataclass(frozen=True, slots=True)
class Mtl:
    """The groups of a metadata file. They are never flattened: Level 2 holds the same key in two groups."""

    label: str
    """The file, for messages."""
    groups: dict[str, dict[str, str]]
    """Group → key → value. Of two equal groups or keys the first counts."""

    def text(self, key: str, groups: Sequence[str] = FACTS) -> str | None:
        """A value from the first of the groups that has it."""
        return next((self.groups[group][key] for group in groups if key in self.groups.get(group, {})), None)

    def number(self, key: str, groups: Sequence[str] = FACTS) -> float | None:
        """A finite number, None if it is missing or NaN. Raises SceneReadError for anything else."""
        value = self.text(key, groups)
        try:
            number = math.nan if value is None else float(value)
        except ValueError as error:
            raise SceneReadError(f"{self.label}: {key} is {value!r}, wanted a number") from error
        return number if math.isfinite(number) else None

    def numbers(self, keys: Sequence[str], groups: Sequence[str]) -> list[float]:
        """Several numbers; an empty list if one is missing."""
        numbers = [self.number(key, groups) for key in keys]
        return [] if None in numbers else [number for number in numbers if number is not None]

    @property
    def satellite(self) -> int | None:
        """8 for Landsat 8."""
        parts = re.fullmatch(r"LANDSAT_?(\d)", self.text("SPACECRAFT_ID") or "")
        return int(parts[1]) if parts else None

    @property
    def sensor(self) -> str | None:
        """OLI_TIRS, ETM, TM or MSS, for example."""
        return self.text("SENSOR_ID")

    @property
    def sun_elevation(self) -> float | None:
        """Degrees."""
        return self.number("SUN_ELEVATION")

    @property
    def sun_azimuth(self) -> float | None:
        """Degrees clockwise from north."""
        azimuth = self.number("SUN_AZIMUTH")
        return None if azimuth is None else azimuth % 360

    @property
    def acquired(self) -> datetime | None:
        """The time of the scene's centre, UTC."""
        clock = self.text("SCENE_CENTER_TIME") or "00:00:00"
        return parse_time(f"{self.text('DATE_ACQUIRED')}T{clock.rstrip('Z')[:15]}")

    def conversion(self, numbers: Sequence[int], groups: Sequence[str]) -> Conversion | None:
        """Reflectance scale and offset of the numbered bands, without the sun; None if the groups lack one."""
        scales = self.numbers([f"REFLECTANCE_MULT_BAND_{n}" for n in numbers], groups)
        offsets = self.numbers([f"REFLECTANCE_ADD_BAND_{n}" for n in numbers], groups)
        return Conversion.of(scales, offsets) if scales and offsets else None

    @property
    def grid(self) -> GeoBox | None:
        """The grid of the reflective bands, if the file gives a UTM zone and corners that fit the size."""
        facts = self.numbers(
            ("UTM_ZONE", "GRID_CELL_SIZE_REFLECTIVE", "REFLECTIVE_LINES", "REFLECTIVE_SAMPLES"), PLACES
        )
        corners = self.numbers([f"CORNER_{c}_PROJECTION_{a}_PRODUCT" for c in ("UL", "LR") for a in "XY"], PLACES)
        if self.text("MAP_PROJECTION", PLACES) != "UTM" or not facts or not corners:
            return None
        (zone, cell, height, width), (left, top, right, bottom) = facts, corners
        # Corners are pixel centres, so both ends count. Landsat gives southern scenes negative northings of a
        # northern zone.
        if not 1 <= zone <= 60 or cell <= 0 or round((top - bottom) / cell) + 1 != height:
            return None
        if round((right - left) / cell) + 1 != width:
            return None
        transform = Affine(cell, 0, left - cell / 2, 0, -cell, top + cell / 2)
        return GeoBox(int(height), int(width), transform, CRS.from_epsg(32600 + int(zone)))


def parse_mtl(text: str, label: str) -> Mtl:
    """Parses MTL.txt, MTL.json or MTL.xml. Raises SceneReadError for anything else, and if it is cut off."""
    start = text.lstrip()[:1]
    tree = {"{": _parse_json, "<": _parse_xml}.get(start, _parse_odl)(text, label)
    root = next((tree[name] for name in ROOTS if isinstance(tree.get(name), dict)), None)
    if root is None:
        raise SceneReadError(f"{label}: no Landsat metadata, wanted a group {' or '.join(ROOTS)}")
    groups = {
        name: {key: str(value) for key, value in group.items() if not isinstance(value, dict)}
        for name, group in root.items()
        if isinstance(group, dict)
    }
    return Mtl(label, groups)


def _parse_json(text: str, label: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SceneReadError(f"{label}: damaged or cut off, no valid JSON ({error})") from error
    return tree if isinstance(tree, dict) else {}


def _parse_xml(text: str, label: str) -> dict[str, Any]:
    root, groups = parse_xml(text, label, "Landsat"), dict[str, dict[str, str]]()
    for group in root:
        values = groups.setdefault(local_name(group), {})
        for element in group:
            values.setdefault(local_name(element), (element.text or "").strip())
    return {local_name(root): groups}


def _parse_odl(text: str, label: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    open_groups: list[tuple[str, dict[str, Any]]] = [("", tree)]
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            continue
        value = value.strip('"')
        if key == "GROUP":
            group: dict[str, Any] = {}
            open_groups[-1][1].setdefault(value, group)
            open_groups.append((value, group))
        elif key == "END_GROUP":
            if open_groups[-1][0] != value or len(open_groups) == 1:
                raise SceneReadError(f"{label}: damaged, END_GROUP = {value} closes no open group")
            open_groups.pop()
        else:
            open_groups[-1][1].setdefault(key, value)
    if len(open_groups) > 1:
        raise SceneReadError(f"{label}: cut off, group {open_groups[-1][0]} has no end; fetch the file again")
    return tree
