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
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geocloud.bands import LANDSAT_L2, Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.readers.archive import Listing, local_name, parse_xml
from geocloud.readers.bandfiles import (
    NUMBERED,
    BandFileReader,
    Product,
    Wanted,
    band_numbers,
    group_files,
    missing_bands,
)
from geocloud.readers.base import ReadOptions, SceneRecipe

log = logging.getLogger(__name__)

PRODUCT_ID = re.compile(
    r"L[COTEM]0(?P<satellite>[1-9])_(?:(?P<level>L1TP|L1GT|L1GS|L2SP|L2SR)|CU|AK|HI)_\d{6}_(?P<date>\d{8})"
    r"(?:_\d{8})?(?:_C?0[12])?(?:_(?:T1|T2|RT|V\d\d))?",
    re.IGNORECASE,
)
"""A Collection 1 or 2 product ID; the processing date and all after it may be missing. CU, AK, HI: ARD tiles."""

EARTH_ENGINE_ID = re.compile(r"L[COTE]0(?P<satellite>[4-9])_\d{6}_(?P<date>\d{8})(?!\d)", re.IGNORECASE)
"""Earth Engine's ``system:index``."""

SCENE_ID = re.compile(r"L[COTEM](?P<satellite>[1-9])\d{6}(?P<year>\d{4})(?P<day>\d{3})[A-Z]{3}\d{2}", re.IGNORECASE)
"""A scene ID from before collections, such as LC80200392015216LGN00."""

SATELLITE = re.compile(r"(?:^|[^a-z])(?:landsat|l[cote]?)[_\- ]?0?([4-9])(?:[^0-9]|$)", re.IGNORECASE)

BAND_FILE = re.compile(
    r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<kind>SR_?|TOA_|TA)?(?P<word>B|band)0?(?P<number>\d{1,2})(?P<rest>[_\-. ].*)?"
    r"\.(?:tiff?|jp2|img)",
    re.IGNORECASE,
)
METADATA_FILE = re.compile(r"(?P<prefix>.*?)_?MTL\.(?P<format>txt|json|xml)", re.IGNORECASE)

OLI = (4, 3, 2, 5)
TM = (3, 2, 1, 4)
"""Numbers of red, green, blue and nir: OLI on Landsat 8 and 9, TM and ETM+ on Landsat 4 to 7."""

NO_BLUE = "Landsat MSS saw green, red and near-infrared, but no blue, and cannot be masked; take a TM or OLI product"


class Level(StrEnum):
    """Contents of band files."""

    L1 = "L1"
    TOA = "TOA"
    TOA_10000 = "TOA, × 10 000"
    SR = "SR"
    SR_10000 = "SR of Collection 1"


FILE_WORDS = {Level.L1: "B", Level.TOA: "TOA_B", Level.TOA_10000: "toa_band", Level.SR: "SR_B", Level.SR_10000: "SR_B"}
TEN_THOUSAND = Conversion.uniform(1e-4)
"""Landsat 8 Collection 1 Surface Reflectance Code Product Guide: scale 0.0001, fill −9999."""


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
        return None if self.satellite is None else OLI if self.satellite >= 8 else TM

    @classmethod
    def parse(cls, name: str) -> ProductName:
        """Looks for an ID or the satellite anywhere in a name."""
        if parts := PRODUCT_ID.search(name):
            level = {"L1": Level.L1, "L2": Level.SR}.get((parts["level"] or "")[:2].upper())
            return cls(int(parts["satellite"]), level, _date(parts["date"], "%Y%m%d"), parts[0])
        if parts := EARTH_ENGINE_ID.search(name):
            return cls(int(parts["satellite"]), None, _date(parts["date"], "%Y%m%d"), parts[0])
        if parts := SCENE_ID.search(name):
            return cls(int(parts["satellite"]), None, _date(parts["year"] + parts["day"], "%Y%j"), parts[0])
        if parts := SATELLITE.search(name):
            return cls(int(parts[1]))
        return cls()


def _date(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None


class Landsat(BandFileReader):
    """Landsat 4 to 9."""

    title = "a folder or archive of Landsat band files, or any one file of it (`…_MTL.txt`, `…_B4.TIF`)"
    notes = (
        "Landsat 4–9 (TM, ETM+, OLI): Collection 1 and 2, Level 1 and Level 2, Analysis Ready Data, ESPA's `toa_band` "
        "and `sr_band`; product IDs may be shortened or missing; `MTL.txt`, `MTL.json` or `MTL.xml` is used if it is "
        "there. Landsat 4–7 Level 1 needs it"
    )
    product_ids = (PRODUCT_ID.pattern, SCENE_ID.pattern)
    parts = (BAND_FILE, METADATA_FILE)

    def products(self, listing: Listing) -> list[Product]:
        """Grouped by prefix and level."""
        return group_files(listing.names, BAND_FILE, _level_and_band, NUMBERED)

    def wanted(self, product: Product) -> Wanted:
        """Numbers of the satellite that the name tells, or that the bands can be from."""
        numbers = ProductName.parse(product.stem).numbers or next(
            (numbers for numbers in (OLI, TM) if {f"B{n}" for n in numbers} <= set(product.files)), OLI
        )
        return [(f"B{number}",) for number in numbers]

    def _is_product(self, product: Product) -> bool:
        return bool({f"B{n}" for n in (1, 2, 3, 4, 5, 8)} & set(product.files))

    def select(self, listing: Listing, products: list[Product], options: ReadOptions) -> Product:
        """Complete ones first, Level 1 before others; files of other resolutions may lie beside the bands."""
        levels = {Units.LANDSAT_L1: ("L1",), Units.LANDSAT_L2: ("SR",)}.get(options.units, ("L1", "TOA", "SR"))
        asked = [product for product in products if product.group.startswith(levels)] or products
        complete = [product for product in asked if product.choose(self.wanted(product))]
        if not complete and len({_level(product) for product in asked if self._is_product(product)}) > 1:
            parts = "; ".join(f"{_level(p)}: {', '.join(sorted(p.files))}" for p in asked)
            raise BandError(f"{listing.source}: Level-1 and surface reflectance bands mixed, neither whole ({parts})")
        best = min((list(Level).index(_level(product)) for product in complete), default=None)
        chosen = [product for product in complete if list(Level).index(_level(product)) == best]
        others = {product.prefix for product in complete} - {product.prefix for product in chosen}
        if any(_contradict(one, other.prefix) for one in others for other in chosen):
            chosen = complete
        elif len({_level(product) for product in complete}) > 1:
            word = "Level-1" if best == 0 else f"{_level(chosen[0])}"
            log.warning("%s: holds Level-1 and surface reflectance bands; %s is used", listing.source, word)
        return super().select(listing, chosen or asked, replace(options, bands=None))

    def assemble(self, listing: Listing, product: Product, options: ReadOptions, member: str | None) -> SceneRecipe:
        """The recipe, by the metadata file if there is one, else by names. Raises BandError, SceneReadError."""
        mtl, level, name = _metadata(listing, product, member), _level(product), _product_name(listing, product)
        if name.is_mss or (mtl is not None and mtl.sensor == "MSS"):
            raise BandError(f"{listing.source}: {NO_BLUE}")
        satellite = (mtl.satellite if mtl else None) or name.satellite
        numbers = band_numbers(options) or _numbers(listing, product, satellite)
        bands = [f"B{number}" for number in numbers]
        if not set(bands) <= set(product.files):
            words = replace(product, files={f"{FILE_WORDS[level]}{b[1:]}": f for b, f in product.files.items()})
            raise BandError(
                f"{listing.source}: {missing_bands([(f'{FILE_WORDS[level]}{n}',) for n in numbers], words)}; all of "
                "red, green, blue and nir of one product are needed (or, without nir, --bands with the first three)"
            )
        units, conversion, fill, kind = Units.LANDSAT_L1, None, None, f"Landsat {level}"
        if level in (Level.SR_10000, Level.TOA_10000):
            units = Units.LANDSAT_L2 if level is Level.SR_10000 else Units.REFLECTANCE
            conversion, fill = TEN_THOUSAND, -9999
        elif level is Level.TOA:  # of Analysis Ready Data, scaled like Level 2
            units, conversion, fill = Units.REFLECTANCE, LANDSAT_L2, 0
        elif level is Level.SR:
            units, conversion = Units.LANDSAT_L2, mtl.conversion(numbers, LEVEL2_GROUPS) if mtl else None
        elif mtl:
            conversion = mtl.conversion(numbers, LEVEL1_GROUPS)
        elif name.level is not Level.L1:  # bare bands, in any units
            units, kind = Units.AUTO, "Landsat bands"
        own = ProductName.parse(product.stem).text
        return SceneRecipe(
            name=product.stem if own else name.text or product.stem or listing.stem,
            source=listing.source if member is None else listing.label(member),
            bands=product.sources(listing, bands),
            units=units,
            conversion=conversion,
            fill=fill,
            acquired=(mtl.acquired if mtl else None) or name.acquired,
            sun_elevation=mtl.sun_elevation if mtl else None,
            sun_azimuth=mtl.sun_azimuth if mtl else None,
            georeference=mtl.grid if mtl else None,
            kind=kind,
        )


def _level_and_band(parts: re.Match[str]) -> tuple[str, str] | None:
    if parts["prefix"].upper().endswith("_ST"):
        return None  # surface temperature
    kind, word = (parts["kind"] or "").lower(), parts["word"].lower()
    level = {"sr_": Level.SR, "sr": Level.SR_10000, "toa_": Level.TOA, "ta": Level.TOA_10000}.get(kind, Level.L1)
    if word == "band" and level in (Level.SR, Level.TOA):
        level = Level.SR_10000 if level is Level.SR else Level.TOA_10000
    return f"{level}|{(parts['rest'] or '').lower()}", f"B{int(parts['number'])}"


def _level(product: Product) -> Level:
    return Level(product.group.partition("|")[0])


def _metadata(listing: Listing, product: Product, member: str | None) -> Mtl | None:
    """The metadata file of a product: the one that was named, the one with its prefix, or the only one there."""
    if member is not None and METADATA_FILE.fullmatch(member):
        return parse_mtl(listing.read_text(member), listing.label(member))
    folder, _, stem = product.prefix.rpartition("/")
    stem = stem.lower().rstrip("_-. ")
    candidates = []
    for name in listing.names:
        parts = METADATA_FILE.fullmatch(name.rpartition("/")[2])
        if parts and name.rpartition("/")[0] == folder:
            candidates.append((parts["prefix"].lower(), name))
    same = [name for prefix, name in candidates if prefix == stem]
    if not same and len({prefix for prefix, _ in candidates}) == 1:
        same = [name for prefix, name in candidates if not _contradict(prefix, stem)]
    if not same:
        return None
    name = min(same, key=lambda name: ("txt", "json", "xml").index(name.lower().rpartition(".")[2]))
    return parse_mtl(listing.read_text(name), listing.label(name))


def _contradict(one: str, other: str) -> bool:
    """True if two names hold product IDs of different acquisitions."""
    ids = [re.search(r"l[cotem]0\d_l\w{3}_(\d{6}_\d{8})", name, re.IGNORECASE) for name in (one, other)]
    return all(ids) and len({parts[1] for parts in ids if parts}) == 2


def _product_name(listing: Listing, product: Product) -> ProductName:
    """Taken from the files' own names, or else from the folder's or archive's."""
    own, outer = ProductName.parse(product.stem), ProductName.parse(listing.stem)
    return own if own.text or (own.satellite is not None and not outer.text) else outer


def _numbers(listing: Listing, product: Product, satellite: int | None) -> tuple[int, ...]:
    if satellite is not None:
        return OLI if satellite >= 8 else TM
    present = {int(band[1:]) for band in product.files}
    if 5 in present and 8 in present and not {9, 10, 11} & present:
        raise BandError(
            f"{listing.source}: bands {', '.join(sorted(product.files))} may be Landsat's or Sentinel-2's; say --bands "
            "4,3,2,5 for Landsat 8-9, --bands 3,2,1,4 for Landsat 4-7 or --bands 4,3,2,8 for Sentinel-2"
        )
    oli, tm = set(OLI) <= present, set(TM) <= present
    if oli and tm and not present & {9, 10, 11}:
        raise BandError(
            f"{listing.source}: bands {', '.join(sorted(product.files))} may be Landsat 4-7's or 8-9's; "
            "say --bands 4,3,2,5 for Landsat 8-9 or --bands 3,2,1,4 for Landsat 4-7"
        )
    return TM if tm and not oli else OLI


ROOTS = ("LANDSAT_METADATA_FILE", "L1_METADATA_FILE")
LEVEL1_GROUPS = ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
LEVEL2_GROUPS = ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS",)
PLACES = ("PROJECTION_ATTRIBUTES", "PROJECTION_PARAMETERS", "PRODUCT_METADATA", "LEVEL1_PROJECTION_PARAMETERS")


@dataclass(frozen=True, slots=True)
class Mtl:
    """The groups of a metadata file. They are never flattened: Level 2 holds the same key in two groups."""

    label: str
    """The file, for messages."""
    groups: dict[str, dict[str, str]]
    """Group → key → value. Of two equal groups or keys the first counts."""

    def text(self, key: str, *groups: str) -> str | None:
        """A value from the first of the groups that has it."""
        return next((self.groups[group][key] for group in groups if key in self.groups.get(group, {})), None)

    def number(self, key: str, *groups: str) -> float | None:
        """A finite number, None if it is missing or NaN. Raises SceneReadError for anything else."""
        value = self.text(key, *groups)
        try:
            number = math.nan if value is None else float(value)
        except ValueError as error:
            raise SceneReadError(f"{self.label}: {key} is {value!r}, wanted a number") from error
        return number if math.isfinite(number) else None

    @property
    def satellite(self) -> int | None:
        """8 for Landsat 8."""
        parts = re.fullmatch(r"LANDSAT_?(\d)", self.text("SPACECRAFT_ID", "IMAGE_ATTRIBUTES", "PRODUCT_METADATA") or "")
        return int(parts[1]) if parts else None

    @property
    def sensor(self) -> str | None:
        """OLI_TIRS, ETM, TM or MSS, for example."""
        return self.text("SENSOR_ID", "IMAGE_ATTRIBUTES", "PRODUCT_METADATA")

    @property
    def sun_elevation(self) -> float | None:
        """Degrees."""
        return self.number("SUN_ELEVATION", "IMAGE_ATTRIBUTES")

    @property
    def sun_azimuth(self) -> float | None:
        """Degrees clockwise from north."""
        azimuth = self.number("SUN_AZIMUTH", "IMAGE_ATTRIBUTES")
        return None if azimuth is None else azimuth % 360

    @property
    def acquired(self) -> datetime | None:
        """The time of the scene's centre, UTC."""
        groups = ("IMAGE_ATTRIBUTES", "PRODUCT_METADATA")
        day, clock = self.text("DATE_ACQUIRED", *groups), self.text("SCENE_CENTER_TIME", *groups) or "00:00:00"
        try:
            return datetime.fromisoformat(f"{day}T{clock.rstrip('Z')[:15]}").replace(tzinfo=UTC)
        except ValueError:
            return None

    def conversion(self, numbers: Sequence[int], groups: tuple[str, ...]) -> Conversion | None:
        """Reflectance scale and offset of the numbered bands, without the sun; None if the groups lack one."""
        scales = [self.number(f"REFLECTANCE_MULT_BAND_{n}", *groups) for n in numbers]
        offsets = [self.number(f"REFLECTANCE_ADD_BAND_{n}", *groups) for n in numbers]
        if None in scales or None in offsets:
            return None
        return Conversion.of([v for v in scales if v is not None], [v for v in offsets if v is not None])

    @property
    def grid(self) -> GeoBox | None:
        """The grid of the reflective bands, if the file gives a UTM zone and corners that fit the size."""
        zone, cell = self.number("UTM_ZONE", *PLACES), self.number("GRID_CELL_SIZE_REFLECTIVE", *PLACES)
        size = [self.number(f"REFLECTIVE_{side}", *PLACES) for side in ("LINES", "SAMPLES")]
        corners = [self.number(f"CORNER_{c}_PROJECTION_{a}_PRODUCT", *PLACES) for c in ("UL", "LR") for a in "XY"]
        if self.text("MAP_PROJECTION", *PLACES) != "UTM" or zone is None or not 1 <= zone <= 60:
            return None
        if not cell or cell <= 0 or None in size or None in corners:
            return None
        left, top, right, bottom = (float(c) for c in corners if c is not None)
        # Corners are pixel centres, so both ends count. Landsat gives southern scenes negative northings of a
        # northern zone.
        if [round((top - bottom) / cell) + 1, round((right - left) / cell) + 1] != size:
            return None
        transform = Affine(cell, 0, left - cell / 2, 0, -cell, top + cell / 2)
        return GeoBox(int(size[0] or 0), int(size[1] or 0), transform, CRS.from_epsg(32600 + int(zone)))


def parse_mtl(text: str, label: str) -> Mtl:
    """Parses MTL.txt, MTL.json or MTL.xml. Raises SceneReadError for anything else, and if it is cut off."""
    start = text.lstrip()
    parse = _parse_json if start.startswith("{") else _parse_xml if start.startswith("<") else _parse_odl
    tree = parse(text, label)
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
