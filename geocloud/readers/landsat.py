"""Landsat products: band files in a folder or archive, with or without a metadata file (MTL).

Level 1 and 2 of Collections 1 and 2, Analysis Ready Data, ESPA orders, and file names of Earth Engine.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geocloud.bands import LANDSAT_L2, Conversion, Units
from geocloud.errors import BandError
from geocloud.grid import GeoBox
from geocloud.readers.archive import Listing
from geocloud.readers.band_names import NO_BLUE, OLI, PRODUCT_ID, SCENE_ID, TM, ProductName, Wanted, choose_landsat
from geocloud.readers.bandfiles import METADATA_FILE, SEPARATORS, BandFileReader, Described, Product
from geocloud.readers.metadata import Metadata
from geocloud.readers.source import ReadOptions, Source, parse_time

log = logging.getLogger(__name__)

HOW = "ReadOptions(bands=(4, 3, 2, 5)) for Landsat 8-9 or ReadOptions(bands=(3, 2, 1, 4)) for Landsat 4-7"
TEN_THOUSAND = Conversion.uniform(1e-4)
LEVELS: dict[str, tuple[str, Units, Conversion | None, int | None]] = {
    "L1": ("B", Units.LANDSAT_L1, None, None),
    "TOA": ("TOA_B", Units.REFLECTANCE, LANDSAT_L2, 0),
    "TOA, × 10 000": ("toa_band", Units.REFLECTANCE, TEN_THOUSAND, -9999),
    "SR": ("SR_B", Units.LANDSAT_L2, None, None),
    "SR of Collection 1": ("SR_B", Units.LANDSAT_L2, TEN_THOUSAND, -9999),
}
"""Level, best for masking first → prefix of the band number, units, conversion and fill (None: from metadata or units).
Source: Landsat 8 Collection 1 Surface Reflectance Code Product Guide. TOA is that of Analysis Ready Data, scaled like
Level 2."""
KINDS = {"srb": "SR", "sr": "SR of Collection 1", "toab": "TOA", "toa": "TOA, × 10 000", "ta": "TOA, × 10 000"}
"""Prefix of the band number in a file name → level."""


class Landsat(BandFileReader):
    """Reader of Landsat 4 to 9 products."""

    product_ids = (PRODUCT_ID.pattern, SCENE_ID.pattern)
    form = re.compile(
        r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<kind>SR_?|TOA_|TA)?(?P<word>B|band)0?(?P<number>\d{1,2})(?P<rest>[_\-. ].*)?"
        r"\.(?:tiff?|jp2|img)",
        re.IGNORECASE,
    )
    metadata = METADATA_FILE
    needed = "all four of one product are needed (or, without nir, ReadOptions(bands=…) with the first three)"

    def key(self, parts: re.Match[str]) -> tuple[str, str] | None:
        """Group (level and text after the band) and band of a file name; None for surface temperature."""
        if parts["prefix"].upper().endswith("_ST"):
            return None
        kind, word = (parts["kind"] or "").lower(), parts["word"].lower()
        level = KINDS.get(kind.replace("_", "b" if word == "b" else ""), "L1")
        return f"{level}|{(parts['rest'] or '').lower()}", f"{LEVELS[level][0]}{int(parts['number'])}"

    def wanted(self, product: Product) -> Wanted:
        own = ProductName.parse(product.stem).numbers
        fitting = (numbers for numbers in (OLI, TM) if product.choose(_names(product, numbers)))
        return _names(product, own or next(fitting, OLI))

    def asked(self, product: Product, options: ReadOptions) -> Wanted:
        """Default names, whatever numbers the user gave: the best product may lack those bands."""
        return self.wanted(product)

    def is_product(self, product: Product) -> bool:
        return any(name in product.files for (name,) in _names(product, (1, 2, 3, 4, 5, 8)))

    def select(self, listing: Listing, products: Sequence[Product], options: ReadOptions) -> Product:
        """The product to read: complete ones first, Level 1 before others. Raises BandError."""
        levels = {Units.LANDSAT_L1: ("L1",), Units.LANDSAT_L2: ("SR",)}.get(options.units, ("L1", "TOA", "SR"))
        asked = [product for product in products if product.group.startswith(levels)] or products
        complete = [product for product in asked if product.choose(self.wanted(product))]
        if not complete and len({_level(product) for product in asked if self.is_product(product)}) > 1:
            parts = "; ".join(f"{_level(p)}: {', '.join(sorted(p.files))}" for p in asked)
            raise BandError(f"{listing.source}: Level-1 and surface reflectance bands mixed, neither whole ({parts})")
        ranked = sorted({_level(product) for product in complete}, key=[*LEVELS].index)
        best = [product for product in complete if _level(product) == ranked[0]]
        if len(ranked) > 1 and not any(_contradict(one.prefix, other.prefix) for one in best for other in complete):
            word = "Level-1" if ranked[0] == "L1" else ranked[0]
            log.warning("%s: holds Level-1 and surface reflectance bands; %s is used", listing.source, word)
            complete = best
        return super().select(listing, complete or asked, options)

    def describe(self, source: Source, listing: Listing, product: Product, options: ReadOptions) -> Described:
        level, own, outer = _level(product), ProductName.parse(product.stem), ProductName.parse(listing.stem)
        name = own if own.text or (own.satellite is not None and not outer.text) else outer
        mtl = _metadata(listing, product, source.member)
        if name.is_mss or mtl.text("SENSOR_ID", *FACTS) == "MSS":
            raise BandError(f"{listing.source}: {NO_BLUE}")
        word, units, conversion, fill = LEVELS[level]
        numbers = options.band_numbers or name._replace(satellite=mtl.satellite or name.satellite).numbers
        if not numbers:
            present = [band.removeprefix(word) for band in product.files]
            other = f"{HOW} or ReadOptions(bands=(4, 3, 2, 8)) for Sentinel-2"
            numbers = choose_landsat(present, listing.source, HOW, other) or OLI
        kind = f"Landsat {level}"
        if level in ("L1", "SR") and mtl.groups:
            conversion = mtl.conversion(numbers, LEVEL1_GROUPS if level == "L1" else LEVEL2_GROUPS)
        elif level == "L1" and name.level != "L1":  # neither MTL nor product ID: units unknown
            units, kind = Units.AUTO, "Landsat bands"
        facts = mtl.facts | {
            "name": product.stem if own.text else name.text or product.stem or listing.stem,
            "units": units,
            "conversion": conversion,
            "fill": fill,
            "georeference": mtl.grid,
            "kind": kind,
            "swir1": mtl.conversion((5, 5, 5), LEVEL1_GROUPS) if level == "L1" and numbers == TM else None,
        }
        facts["acquired"] = facts["acquired"] or name.acquired
        return self.pick(listing, product, _names(product, numbers)), facts


def _level(product: Product) -> str:
    return product.group.partition("|")[0]


def _names(product: Product, numbers: Sequence[int]) -> list[tuple[str]]:
    return [(f"{LEVELS[_level(product)][0]}{number}",) for number in numbers]


def _metadata(listing: Listing, product: Product, member: str | None) -> Mtl:
    """Metadata of a product: the file named by the user, the one with the product's prefix, or the only one."""
    stem = product.prefix.lower().rstrip(SEPARATORS)
    files: dict[str, list[str]] = defaultdict(list)
    for path in listing.names:
        parts = METADATA_FILE.fullmatch(path)
        if parts and path.lower().rpartition("/")[0] == stem.rpartition("/")[0]:
            files[parts["prefix"].lower()].append(path)
    if stem not in files and len(files) == 1 and not _contradict(next(iter(files)), stem):
        (stem,) = files
    names = sorted(files.get(stem, []), key=lambda path: ("txt", "json", "xml").index(path.lower().rpartition(".")[2]))
    name = member if member and METADATA_FILE.fullmatch(member) else next(iter(names), None)
    return parse_mtl(listing.read_text(name), listing.label(name)) if name else Mtl()


def _contradict(one: str, other: str) -> bool:
    """True if two names contain product IDs of different acquisitions."""
    ids = [re.search(r"l[cotem]0\d_l\w{3}_(\d{6}_\d{8})", name, re.IGNORECASE) for name in (one, other)]
    return all(ids) and len({parts[1] for parts in ids if parts}) == 2


ROOTS = ("LANDSAT_METADATA_FILE", "L1_METADATA_FILE")
LEVEL1_GROUPS = ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
LEVEL2_GROUPS = ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS",)
FACTS = ("IMAGE_ATTRIBUTES", "PRODUCT_METADATA")
PLACES = ("PROJECTION_ATTRIBUTES", "PROJECTION_PARAMETERS", "PRODUCT_METADATA", "LEVEL1_PROJECTION_PARAMETERS")


class Mtl(Metadata):
    """Landsat metadata file (MTL)."""

    __slots__ = ()

    @property
    def satellite(self) -> int | None:
        """Satellite number, such as 8; None: unknown."""
        parts = re.fullmatch(r"LANDSAT_?(\d)", self.text("SPACECRAFT_ID", *FACTS) or "")
        return int(parts[1]) if parts else None

    @property
    def facts(self) -> dict[str, Any]:
        """Scene centre time in UTC, and the sun's elevation and azimuth in degrees; None: unknown."""
        time = f"{self.text('DATE_ACQUIRED', *FACTS)}T{(self.text('SCENE_CENTER_TIME', *FACTS) or '00:00').rstrip('Z')}"
        sun = {key.lower(): self.number(key, *FACTS) for key in ("SUN_ELEVATION", "SUN_AZIMUTH")}
        return {"acquired": parse_time(time), **sun}

    def conversion(self, numbers: Sequence[int], groups: Sequence[str]) -> Conversion | None:
        """Conversion of the numbered bands, without the sun's elevation; None if the groups lack a value."""
        scales = self.numbers([f"REFLECTANCE_MULT_BAND_{n}" for n in numbers], *groups)
        offsets = self.numbers([f"REFLECTANCE_ADD_BAND_{n}" for n in numbers], *groups)
        return Conversion.of(scales, offsets) if scales and offsets else None

    @property
    def grid(self) -> GeoBox | None:
        """Grid of the reflective bands; None unless the file gives a UTM zone and corners that match the size."""
        corners = [f"CORNER_{corner}_PROJECTION_{axis}_PRODUCT" for corner in ("UL", "LR") for axis in "XY"]
        keys = ["UTM_ZONE", "GRID_CELL_SIZE_REFLECTIVE", "REFLECTIVE_LINES", "REFLECTIVE_SAMPLES", *corners]
        if self.text("MAP_PROJECTION", *PLACES) != "UTM" or not (numbers := self.numbers(keys, *PLACES)):
            return None
        zone, cell, height, width, left, top, right, bottom = numbers
        # Corners are pixel centres, hence + 1. Southern scenes have negative northings in a northern UTM zone.
        fits = cell > 0 and (round((top - bottom) / cell) + 1, round((right - left) / cell) + 1) == (height, width)
        if not fits or not 1 <= zone <= 60:
            return None
        transform = Affine(cell, 0, left - cell / 2, 0, -cell, top + cell / 2)
        return GeoBox(int(height), int(width), transform, CRS.from_epsg(32600 + int(zone)))


def parse_mtl(text: str, label: str) -> Mtl:
    """Parses MTL.txt, MTL.json or MTL.xml. Raises SceneReadError for other and truncated files."""
    return Mtl.parse(text, label, "Landsat", ROOTS)
