"""Sentinel-2 products as ESA gives them: a folder ….SAFE, or an archive of one, Level-1C and Level-2A.

Their metadata tell what the values mean. Names changed in December 2016; both kinds are read, and a product from before
may hold several granules.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.readers.archive import Listing, list_bucket, list_folder
from geocloud.readers.band_names import Wanted, shorten
from geocloud.readers.bandfiles import BandFileReader, Product
from geocloud.readers.metadata import Metadata
from geocloud.readers.source import Candidate, ReadOptions, SceneRecipe, Source, parse_time
from geocloud.readers.stack import count_bands

log = logging.getLogger(__name__)

PRODUCT_ID = (
    r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{6}"
    r"|S2[A-D]_(?:OPER|USER)_PRD_MSIL(?:1C|2A)_\w{4}_\d{8}T\d{6}_R\d{3}_V\d{8}T\d{6}_\d{8}T\d{6}(?:_T\d{2}[A-Z]{3})?"
)
FOLDER = re.compile(r"^(.+)\.SAFE$", re.IGNORECASE)
PRODUCT_FILE = re.compile(r"(?:MTD_MSIL(?:1C|2A)|S2[A-D]_(?:OPER|USER)_MTD_SAFL(?:1C|2A)\w*)\.xml", re.IGNORECASE)
TILE_FILE = re.compile(r"(?:MTD_TL|S2[A-D]_(?:OPER|USER)_MTD_L(?:1C|2A)_\w+)\.xml", re.IGNORECASE)
BAND_FILE = re.compile(r"(?!MSK_)(?:.*_)?(?P<band>B(?:0[1-9]|1[0-2]|8A))(?:_(?P<size>[1-6]0)m)?\.jp2", re.IGNORECASE)
TILE = re.compile(r"_(T\d{2}[A-Z]{3})(?:_|$)", re.IGNORECASE)

GRANULES = "GRANULE"
RASTERS = (".jp2", ".tif", ".tiff")
ASIDE = {"QI_DATA", "AUX_DATA", "DATASTRIP", "HTML"}  # folders whose rasters are named like bands and are none


class Sentinel2(BandFileReader):
    """ESA's SAFE products."""

    one_band = False
    product_ids = (PRODUCT_ID,)
    names = re.compile(r"GRANULE|MTD_|manifest\.safe|\.jp2", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        """True for a product, a part of one, and a folder or archive around one."""
        if source.form == "archive":
            return bool(find_packed(source.listing.names))
        if source.form == "bucket":
            return bool(FOLDER.fullmatch(source.place.rstrip("/").rpartition("/")[2]))
        return source.form in ("file", "folder") and _locate(source) is not None

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """The product of which this is the folder, or each of its granules if it has several."""
        if not is_product(listing.stem, (*listing.names, *listing.folders)):
            return
        files, name, tiles = frozenset(listing.names), FOLDER.sub(r"\1", listing.stem), dict[str, str]()
        if listing.folders:
            try:
                tiles = _tiles(self.products(list_folder(Path(listing.source), below=True)))
            except SceneReadError:
                log.debug("%s: masking reports it", listing.source)
        if len(tiles) < 2:
            yield Candidate("", name, files, is_tree=True)
            return
        for granule, tile in tiles.items():
            yield Candidate(f"{GRANULES}/{granule}", f"{name}_{tile}", files, is_tree=True)

    def products(self, listing: Listing) -> list[Product]:
        """The bands of each granule, whose folder is the prefix, by pixel size; without one, of Level-1C, 10 m."""
        groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for name in listing.names:
            *folders, base = name.split("/")
            if (band := BAND_FILE.fullmatch(base)) and not ASIDE & {folder.upper() for folder in folders}:
                granule = folders[1] if len(folders) > 1 and folders[0] == GRANULES else ""
                groups[granule, band["size"] or "10"].setdefault(band["band"].upper(), name)
        outside = not any(granule for granule, _ in groups)
        return [Product(key[0], files, key[1]) for key, files in sorted(groups.items()) if key[0] or outside]

    def wanted(self, product: Product) -> Wanted:
        return (("B04",), ("B03",), ("B02",), ("B08" if product.group == "10" else "B8A",))

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        label, listing, products, chosen = self._open(source)
        if not products:
            raise BandError(f"{label}: no band files (GRANULE/…/IMG_DATA/…_B04.jp2) in it; fetch the product whole")
        tiles, name = _tiles(products), FOLDER.sub(r"\1", listing.stem)
        if len({product.prefix for product in chosen}) > 1:
            several = f"{len(tiles)} granules in one product (tiles {shorten(sorted(tiles.values()), 12)})"
            raise BandError(f"{label}: {several}; name the folder of one, below GRANULE")
        product = next((p for p in chosen if p.choose(self.asked(p, options))), chosen[0])
        tile = tiles[product.prefix]
        name = name if len(tiles) == 1 else f"{name}_{tile}"
        told = {"listing": listing, "label": label, "where": f" at {product.group} m", "name": name}
        recipe = self.assemble(source, product, options, **told)
        return replace(recipe, kind=f"Sentinel-2 {recipe.kind}, tile {tile}")

    def facts(self, listing: Listing, product: Product, bands: Sequence[str], options: ReadOptions) -> dict[str, Any]:
        files = [name for name in listing.names if PRODUCT_FILE.fullmatch(name)]
        if len(files) > 1:
            raise SceneReadError(f"{listing.source}: several products in one folder ({', '.join(files)}); part them")
        if not files and options.units is Units.AUTO and options.scale is None:
            wanted = "(MTD_MSIL1C.xml or MTD_MSIL2A.xml), which tell what the values mean"
            raise SceneReadError(
                f"{listing.source}: no product metadata {wanted}; fetch the product whole, or say ReadOptions(units=…)"
            )
        mtd, tile = (
            parse_mtd(listing.read_text(names[0]), listing.label(names[0]), roots) if names else Mtd()
            for names, roots in ((files, tuple(LEVELS)), (_parts(listing, product, TILE_FILE), TILES))
        )
        units, conversion, baseline = Units.AUTO, None, mtd.number("PROCESSING_BASELINE") or 0
        if mtd.root and not mtd.has_offsets and baseline >= 4:
            log.warning("%s: of baseline %05.2f, and says no offsets; the values must tell", mtd.label, baseline)
        elif mtd.root:
            units = Units.SENTINEL2_BASELINE4 if mtd.has_offsets else Units.SENTINEL2
            conversion = mtd.conversion(bands)
        facts = tile.facts | {"acquired": mtd.facts["acquired"] or tile.facts["acquired"], "fill": 0}
        return facts | {"units": units, "conversion": conversion, "kind": mtd.level or "product"}

    def files(self, source: Source) -> tuple[str, ...]:
        if source.form == "archive":
            return (source.place,)
        _, listing, _, chosen = self._open(source)
        names = {name for name in listing.names if PRODUCT_FILE.fullmatch(name)}
        for product in chosen:
            names |= {*product.files.values(), *_parts(listing, product, TILE_FILE)}
        return tuple(listing.path_of(name) for name in sorted(names))

    def _open(self, source: Source) -> tuple[str, Listing, list[Product], list[Product]]:
        """A product's name and files, its granules, and those that are meant: one, if the source is in it."""
        label, member = source.place, ""
        if source.form == "bucket":
            listing = list_bucket(source.place, below=True)
        elif source.form == "archive":
            label, roots = source.listing.source, find_packed(source.listing.names)
            if len(roots) > 1:
                several = f"{len(roots)} Sentinel-2 products in one archive ({shorten(roots)})"
                raise BandError(f"{label}: {several}; unpack it and name one")
            listing = source.listing.below(roots[0])
        else:
            root = _locate(source)
            assert root is not None
            within, whole, listing = source.path.absolute(), root.absolute(), list_folder(root, below=True)
            if within.is_relative_to(whole):
                member = "".join(within.relative_to(whole).parts[1:2])
        products = self.products(listing)
        return label, listing, products, [product for product in products if product.prefix == member] or products


def _tiles(products: list[Product]) -> dict[str, str]:
    """Granule → T32TQM, or its folder's name if names do not tell the tile."""
    tiles: dict[str, str] = {}
    for granule, files, _ in products:
        found = map(TILE.search, (granule, *(name.replace("/", "_") for name in files.values())))
        tiles.setdefault(granule, next((parts[1].upper() for parts in found if parts), granule))
    return tiles


def _parts(listing: Listing, product: Product, form: re.Pattern[str]) -> list[str]:
    """The first file of such a name in a granule."""
    inside = (name for name in listing.names if not product.prefix or name.startswith(f"{GRANULES}/{product.prefix}/"))
    return [name for name in inside if form.fullmatch(name.rpartition("/")[2])][:1]


def is_product(folder: str, names: Iterable[str]) -> bool:
    """True for a product's folder, complete or not, by its name and the names of what is in it."""
    names = tuple(names)
    named = FOLDER.fullmatch(folder) and (folder.upper().startswith("S2") or GRANULES in names)
    return bool(named) or any(map(PRODUCT_FILE.fullmatch, names))


def _locate(source: Source) -> Path | None:
    """The folder of the product that a source is, is part of, or holds as its only one."""
    root = find_root(source.path)
    if source.form == "file":
        raster = source.path.suffix.lower() in RASTERS and not BAND_FILE.fullmatch(source.path.name)
        return (
            None if raster and count_bands(source.place, 1) > 1 else root
        )  # the true-colour image is a raster of its own
    if root is None and not any(name.lower().endswith(RASTERS) for name in source.listing.names):
        below = [source.path / name for name in source.listing.folders if _is_root(source.path / name)]
        root = below[0] if len(below) == 1 else None
    return root


def find_root(path: Path) -> Path | None:
    """The folder of the product that this is, or that this (below GRANULE, metadata, a band) belongs to, else None."""
    if path.is_dir() and _is_root(path):
        return path
    here = path.absolute()
    if granules := next((folder for folder in (here, *here.parents) if folder.name == GRANULES), None):
        return granules.parent if _is_root(granules.parent) else None
    known = PRODUCT_FILE.fullmatch(path.name) or BAND_FILE.fullmatch(path.name) or path.name.lower() == "manifest.safe"
    return path.parent if known and path.is_file() and _is_root(path.parent) else None


def _is_root(folder: Path) -> bool:
    try:
        return is_product(folder.absolute().name, (entry.name for entry in folder.iterdir()))
    except OSError:
        return False


def find_packed(names: Sequence[str]) -> list[str]:
    """The folders of products in an archive, by their paths in it; ``""`` for one without a folder of its own."""
    roots = set()
    for name in names:
        *folders, base = name.split("/")
        if "__MACOSX" in folders:
            continue
        if PRODUCT_FILE.fullmatch(base):
            roots.add("/".join(folders))
        for depth, folder in enumerate(folders, 1):
            if FOLDER.fullmatch(folder) and is_product(folder, folders[depth : depth + 1]):
                roots.add("/".join(folders[:depth]))
    return sorted(roots)


BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands in the order of their ``band_id``."""
LEVELS = {"Level-1C_User_Product": "L1C", "Level-2A_User_Product": "L2A"}
OFFSETS = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET", "": "RADIO_ADD_OFFSET"}
TILES = ("Level-1C_Tile_ID", "Level-2A_Tile_ID")  # root elements, of products and of tiles
QUANTIFICATION = ("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
"""Elements of Level-1C, of Level-2A, and of Level-2A products from before 2018."""


class Mtd(Metadata):
    """Sentinel-2's metadata file, of a product (MTD_MSIL1C.xml, MTD_MSIL2A.xml) or of a tile (MTD_TL.xml)."""

    __slots__ = ()

    @property
    def level(self) -> str:
        """L1C or L2A; ``""`` for a tile's metadata, which do not tell."""
        return LEVELS.get(self.root, "")

    @property
    def has_offsets(self) -> bool:
        """True if values are shifted, as they are from baseline 04.00 on, so that dark pixels are not cut off."""
        return self.text(OFFSETS[self.level]) is not None

    @property
    def facts(self) -> dict[str, Any]:
        """The product's start or the tile's sensing time, UTC, and the sun's place over a tile in degrees."""
        zenith = self.number("ZENITH_ANGLE", "Mean_Sun_Angle")
        return {
            "acquired": parse_time(self.text("PRODUCT_START_TIME") or self.text("SENSING_TIME") or ""),
            "sun_elevation": 90 - zenith if zenith is not None and 0 <= zenith <= 180 else None,
            "sun_azimuth": self.number("AZIMUTH_ANGLE", "Mean_Sun_Angle"),
        }

    def conversion(self, bands: Sequence[str]) -> Conversion:
        """Conversion of some bands: reflectance = (value + offset) / quantification. Raises SceneReadError.

        Source: Sentinel-2 Products Specification Document, from processing baseline 04.00 on.
        """
        key = next((key for key in QUANTIFICATION if self.text(key) is not None), QUANTIFICATION[0])
        quantification, offsets = self.number(key), [0.0] * len(bands)
        if quantification is None:
            raise SceneReadError(f"{self.label}: no {key}, which tells what the values mean; fetch the product again")
        if not quantification >= 1:
            raise SceneReadError(f"{self.label}: {key} is {quantification:g}, wanted 1 or more, as a rule 10000")
        for position, band in enumerate(bands if self.has_offsets else ()):
            number, key = BAND_IDS.index(band), OFFSETS[self.level]
            value = self.number(f"{key}/{number}")
            if value is None:
                raise SceneReadError(f"{self.label}: no {key} of {band} (band_id {number}), and some of other bands")
            offsets[position] = value / quantification
        return Conversion.of([1 / quantification] * len(bands), offsets)


def parse_mtd(text: str, label: str, roots: Sequence[str] = (*LEVELS, *TILES)) -> Mtd:
    """Parses a file of either kind. Raises SceneReadError for anything else, if it is cut off or has a DOCTYPE."""
    mtd = Mtd.of_xml(text, label, "Sentinel-2")
    if mtd.root not in roots:
        raise SceneReadError(f"{label}: Sentinel-2 metadata hold {' or '.join(roots)}, this holds {mtd.root[:50]}")
    return mtd
