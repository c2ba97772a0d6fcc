"""Landsat products: band files side by side in a folder or archive, with or without their metadata file (MTL).

Level 1 and 2 of Collections 1 and 2, Analysis Ready Data, ESPA's orders, and names that Earth Engine gives.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geocloud.bands import LANDSAT_L2, Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.grid import GeoBox
from geocloud.readers.archive import Listing
from geocloud.readers.band_names import LANDSAT_IDS, NO_BLUE, OLI, TM, ProductName, Wanted, choose_landsat
from geocloud.readers.bandfiles import METADATA_FILE, NUMBERED, SEPARATORS, BandFileReader, Product, select_one
from geocloud.readers.metadata import Metadata
from geocloud.readers.source import ReadOptions, SceneRecipe, Source, parse_time

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
"""Contents of band files, the best to mask first → word before the band's number, units, and the conversion and fill
that no metadata change. Landsat 8 Collection 1 Surface Reflectance Code Product Guide; TOA is Analysis Ready Data's,
scaled like Level 2."""
KINDS = {"srb": "SR", "sr": "SR of Collection 1", "toab": "TOA", "toa": "TOA, × 10 000", "ta": "TOA, × 10 000"}
"""Level by what precedes the band's number in a file name."""


class Landsat(BandFileReader):
    """Landsat 4 to 9."""

    product_ids = LANDSAT_IDS
    form = re.compile(
        r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<kind>SR_?|TOA_|TA)?(?P<word>B|band)0?(?P<number>\d{1,2})(?P<rest>[_\-. ].*)?"
        r"\.(?:tiff?|jp2|img)",
        re.IGNORECASE,
    )
    metadata = METADATA_FILE
    hint = NUMBERED
    needed = "red, green, blue and nir of one product are needed (or, without nir, ReadOptions(bands=…) with three)"

    def key(self, parts: re.Match[str]) -> tuple[str, str] | None:
        """Level and whatever follows the band, and the band; not for surface temperature."""
        if parts["prefix"].upper().endswith("_ST"):
            return None
        kind, word = (parts["kind"] or "").lower(), parts["word"].lower()
        level = KINDS.get(kind.replace("_", "b" if word == "b" else ""), "L1")
        return f"{level}|{(parts['rest'] or '').lower()}", f"{LEVELS[level][0]}{int(parts['number'])}"

    def wanted(self, product: Product) -> Wanted:
        own = ProductName.parse(product.stem).numbers
        fitting = (numbers for numbers in (OLI, TM) if {*_names(product, numbers)} <= {*product.files})
        return [(name,) for name in _names(product, own or next(fitting, OLI))]

    def is_product(self, product: Product) -> bool:
        return not {*_names(product, (1, 2, 3, 4, 5, 8))}.isdisjoint(product.files)

    def select(self, source: Source, products: list[Product], options: ReadOptions) -> Product:
        """Complete ones first, Level 1 before others; files of other resolutions may lie beside the bands."""
        levels = {Units.LANDSAT_L1: ("L1",), Units.LANDSAT_L2: ("SR",)}.get(options.units, ("L1", "TOA", "SR"))
        asked = [product for product in products if product.group.startswith(levels)] or products
        complete = [product for product in asked if product.choose(self.wanted(product))]
        if not complete and len({_level(product) for product in asked if self.is_product(product)}) > 1:
            parts = "; ".join(f"{_level(p)}: {', '.join(sorted(p.files))}" for p in asked)
            mixed = f"Level-1 and surface reflectance bands mixed, neither whole ({parts})"
            raise BandError(f"{source.listing.source}: {mixed}")
        found = {_level(product) for product in complete}
        best = next((level for level in LEVELS if level in found), None)
        chosen = [product for product in complete if _level(product) == best]
        others = {product.prefix for product in complete} - {product.prefix for product in chosen}
        if any(_contradict(one, other.prefix) for one in others for other in chosen):
            chosen = complete
        elif len(found) > 1:
            word = "Level-1" if best == "L1" else best
            log.warning("%s: holds Level-1 and surface reflectance bands; %s is used", source.listing.source, word)
        return select_one(source.listing, asked, chosen)

    def assemble(self, source: Source, product: Product, options: ReadOptions, **told: Any) -> SceneRecipe:
        listing, level = source.listing, _level(product)
        own, outer = ProductName.parse(product.stem), ProductName.parse(listing.stem)
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
        elif level == "L1" and name.level != "L1":  # bare bands, in any units
            units, kind = Units.AUTO, "Landsat bands"
        return super().assemble(
            source,
            product,
            options,
            wanted=[(band,) for band in _names(product, numbers)],
            name=product.stem if own.text else name.text or product.stem or listing.stem,
            units=units,
            conversion=conversion,
            fill=fill,
            georeference=mtl.grid,
            kind=kind,
            swir1=mtl.conversion((5, 5, 5), LEVEL1_GROUPS) if level == "L1" and numbers == TM else None,
            **mtl.facts | ({} if mtl.facts["acquired"] else {"acquired": name.acquired}),
        )


def _level(product: Product) -> str:
    return product.group.partition("|")[0]


def _names(product: Product, numbers: Sequence[int]) -> list[str]:
    return [f"{LEVELS[_level(product)][0]}{number}" for number in numbers]


def _metadata(listing: Listing, product: Product, member: str | None) -> Mtl:
    """The metadata file of a product: the one that was named, the one with its prefix, or the only one there."""
    folder, _, stem = product.prefix.lower().rstrip(SEPARATORS).rpartition("/")
    files: dict[str, list[str]] = defaultdict(list)
    for path in listing.names:
        place, _, base = path.rpartition("/")
        if (parts := METADATA_FILE.fullmatch(base)) and place.lower() == folder:
            files[parts["prefix"].lower()].append(path)
    if stem not in files and len(files) == 1 and not _contradict(next(iter(files)), stem):
        (stem,) = files
    names = sorted(files.get(stem, []), key=lambda path: ("txt", "json", "xml").index(path.lower().rpartition(".")[2]))
    name = member if member and METADATA_FILE.fullmatch(member) else next(iter(names), None)
    return parse_mtl(listing.read_text(name), listing.label(name)) if name else Mtl()


def _contradict(one: str, other: str) -> bool:
    """True if two names hold product IDs of different acquisitions."""
    ids = [re.search(r"l[cotem]0\d_l\w{3}_(\d{6}_\d{8})", name, re.IGNORECASE) for name in (one, other)]
    return all(ids) and len({parts[1] for parts in ids if parts}) == 2


ROOTS = ("LANDSAT_METADATA_FILE", "L1_METADATA_FILE")
LEVEL1_GROUPS = ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
LEVEL2_GROUPS = ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS",)
FACTS = ("IMAGE_ATTRIBUTES", "PRODUCT_METADATA")
PLACES = ("PROJECTION_ATTRIBUTES", "PROJECTION_PARAMETERS", "PRODUCT_METADATA", "LEVEL1_PROJECTION_PARAMETERS")


class Mtl(Metadata):
    """Landsat's metadata file."""

    __slots__ = ()

    @property
    def satellite(self) -> int | None:
        """8 for Landsat 8."""
        parts = re.fullmatch(r"LANDSAT_?(\d)", self.text("SPACECRAFT_ID", *FACTS) or "")
        return int(parts[1]) if parts else None

    @property
    def facts(self) -> dict[str, Any]:
        """Time of the scene's centre, UTC, and the sun's place in degrees; None: unknown."""
        time = f"{self.text('DATE_ACQUIRED', *FACTS)}T{(self.text('SCENE_CENTER_TIME', *FACTS) or '00:00').rstrip('Z')}"
        sun = {key.lower(): self.number(key, *FACTS) for key in ("SUN_ELEVATION", "SUN_AZIMUTH")}
        return {"acquired": parse_time(time), **sun}

    def conversion(self, numbers: Sequence[int], groups: Sequence[str]) -> Conversion | None:
        """Reflectance scale and offset of the numbered bands, without the sun; None if the groups lack one."""
        scales = self.numbers([f"REFLECTANCE_MULT_BAND_{n}" for n in numbers], *groups)
        offsets = self.numbers([f"REFLECTANCE_ADD_BAND_{n}" for n in numbers], *groups)
        return Conversion.of(scales, offsets) if scales and offsets else None

    @property
    def grid(self) -> GeoBox | None:
        """The grid of the reflective bands, if the file gives a UTM zone and corners that fit the size."""
        corners = [f"CORNER_{corner}_PROJECTION_{axis}_PRODUCT" for corner in ("UL", "LR") for axis in "XY"]
        keys = ["UTM_ZONE", "GRID_CELL_SIZE_REFLECTIVE", "REFLECTIVE_LINES", "REFLECTIVE_SAMPLES", *corners]
        if self.text("MAP_PROJECTION", *PLACES) != "UTM" or not (numbers := self.numbers(keys, *PLACES)):
            return None
        zone, cell, height, width, left, top, right, bottom = numbers
        # Corners are pixel centres, so both ends count. Landsat gives southern scenes negative northings of a
        # northern zone.
        fits = cell > 0 and (round((top - bottom) / cell) + 1, round((right - left) / cell) + 1) == (height, width)
        if not fits or not 1 <= zone <= 60:
            return None
        transform = Affine(cell, 0, left - cell / 2, 0, -cell, top + cell / 2)
        return GeoBox(int(height), int(width), transform, CRS.from_epsg(32600 + int(zone)))


def parse_mtl(text: str, label: str) -> Mtl:
    """Parses MTL.txt, MTL.json or MTL.xml. Raises SceneReadError for anything else, and if it is cut off."""
    start = text.lstrip()[:1]
    mtl = (
        Mtl.of_xml(text, label, "Landsat")
        if start == "<"
        else Mtl(label, *(_json if start == "{" else _odl)(text, label))
    )
    if mtl.root not in ROOTS:
        raise SceneReadError(f"{label}: no Landsat metadata, wanted a group {' or '.join(ROOTS)}")
    return mtl


def _json(text: str, label: str) -> tuple[str, dict[str, dict[str, str]]]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SceneReadError(f"{label}: damaged or cut off, no valid JSON ({error})") from error
    root = next((name for name in ROOTS if isinstance(tree.get(name), dict)), "")
    groups = {name: group for name, group in tree.get(root, {}).items() if isinstance(group, dict)}
    return root, {name: {key: str(group[key]) for key in group} for name, group in groups.items()}


def _odl(text: str, label: str) -> tuple[str, dict[str, dict[str, str]]]:
    groups: dict[str, dict[str, str]] = {}
    names: list[str] = []
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        value = value.strip('"')
        if key == "GROUP":
            names.append(value)
            groups.setdefault(value, {})
        elif key == "END_GROUP" and (not names or names.pop() != value):
            raise SceneReadError(f"{label}: damaged, END_GROUP = {value} closes no open group")
        elif equals and names:
            groups[names[-1]].setdefault(key, value)
    if names:
        raise SceneReadError(f"{label}: cut off, group {names[-1]} has no end; fetch the file again")
    return next(iter(groups), ""), groups
