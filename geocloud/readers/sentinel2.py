"""Sentinel-2 products in ESA's SAFE format, Level-1C and Level-2A, as folders or archives.

Units are read from the metadata. File names changed in December 2016; old and new names are read, and old products may
contain several granules.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.readers.archive import Listing, list_bucket, list_folder
from geocloud.readers.band_names import Wanted, shorten
from geocloud.readers.bandfiles import BandFileReader, Described, Product
from geocloud.readers.metadata import Metadata
from geocloud.readers.source import Candidate, ReadOptions, Source, parse_time
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
ASIDE = {"QI_DATA", "AUX_DATA", "DATASTRIP", "HTML"}  # folders whose rasters are named like bands but are not


class Sentinel2(BandFileReader):
    """Reader of ESA's SAFE products. A `Product`'s prefix is the folder of its granule, its group the pixel size."""

    one_band = False
    product_ids = (PRODUCT_ID,)
    names = re.compile(r"GRANULE|MTD_|manifest\.safe|\.jp2", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        """True for a product, a file or folder in one, and a folder or archive that contains one."""
        if source.form == "archive":
            return bool(find_packed(source.listing.names))
        if source.form == "bucket":
            return bool(FOLDER.fullmatch(source.place.rstrip("/").rpartition("/")[2]))
        return source.form in ("file", "folder") and _locate(source) is not None

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """The product, if the listing is that of its folder."""
        if is_product(listing.stem, (*listing.names, *listing.folders)):
            yield Candidate("", FOLDER.sub(r"\1", listing.stem), frozenset(listing.names), is_tree=True)

    def inside(self, source: Source) -> Listing:
        """Listing of the product that a source is, contains or belongs to. Raises BandError for several."""
        if source.form == "bucket":
            return list_bucket(source.place, below=True)
        if source.form != "archive":
            return list_folder(_locate(source) or source.path, below=True)
        roots = find_packed(source.listing.names)
        if len(roots) > 1:
            several = f"{len(roots)} Sentinel-2 products in one archive ({shorten(roots)})"
            raise BandError(f"{source.label}: {several}; unpack it and name one")
        return source.listing.below(roots[0])

    def products(self, listing: Listing) -> list[Product]:
        """Bands of each granule by pixel size; names without a size, of Level-1C, count as 10 m."""
        groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for name in listing.names:
            *folders, base = name.split("/")
            if (band := BAND_FILE.fullmatch(base)) and not ASIDE & {folder.upper() for folder in folders}:
                granule = folders[1] if len(folders) > 1 and folders[0] == GRANULES else ""
                groups[granule, band["size"] or "10"].setdefault(band["band"].upper(), name)
        outside = not any(granule for granule, _ in groups)
        return [Product(key[0], files, key[1]) for key, files in sorted(groups.items()) if key[0] or outside]

    def meant(self, source: Source, products: list[Product]) -> list[Product]:
        """Products of the granule that a source is in, or else all."""
        folders = {*source.path.absolute().parts} if source.form in ("file", "folder") else set[str]()
        return [product for product in products if product.prefix in folders] or products

    def wanted(self, product: Product) -> Wanted:
        return (("B04",), ("B03",), ("B02",), ("B08" if product.group == "10" else "B8A",))

    def select(self, listing: Listing, products: Sequence[Product], options: ReadOptions) -> Product:
        """The complete set with the finest pixels. Raises BandError for several granules or none."""
        if not products:
            bands = "no band files (GRANULE/…/IMG_DATA/…_B04.jp2) in it; fetch the product whole"
            raise BandError(f"{listing.source}: {bands}")
        if len({product.prefix for product in products}) > 1:
            tiles = sorted({_tile(product) for product in products})
            several = f"{len(tiles)} granules in one product (tiles {shorten(tiles, 12)})"
            raise BandError(f"{listing.source}: {several}; name the folder of one, below GRANULE")
        return next((p for p in products if p.choose(self.asked(p, options))), products[0])

    def describe(self, source: Source, listing: Listing, product: Product, options: ReadOptions) -> Described:
        bands, files = self.pick(listing, product, self.asked(product, options)), _named(listing, PRODUCT_FILE)
        if len(files) > 1:
            raise SceneReadError(f"{listing.source}: several products in one folder ({', '.join(files)}); split them")
        if not files and options.units is Units.AUTO and options.scale is None:
            wanted = "(MTD_MSIL1C.xml or MTD_MSIL2A.xml), which give the units"
            raise SceneReadError(
                f"{listing.source}: no product metadata {wanted}; fetch the product whole, or say ReadOptions(units=…)"
            )
        mtd, tile = (
            parse_mtd(listing.read_text(names[0]), listing.label(names[0]), roots) if names else Mtd()
            for names, roots in ((files, tuple(LEVELS)), (_named(listing, TILE_FILE, product), TILES))
        )
        units, conversion, baseline = Units.AUTO, None, mtd.number("PROCESSING_BASELINE") or 0
        if mtd.root and not mtd.has_offsets and baseline >= 4:
            log.warning("%s: baseline %05.2f without offsets; the values determine the units", mtd.label, baseline)
        elif mtd.root:
            units = Units.SENTINEL2_BASELINE4 if mtd.has_offsets else Units.SENTINEL2
            conversion = mtd.conversion(bands)
        several = len({other.prefix for other in self.products(listing)}) > 1
        facts = tile.facts | {
            "name": FOLDER.sub(r"\1", listing.stem) + (f"_{_tile(product)}" if several else ""),
            "acquired": mtd.facts["acquired"] or tile.facts["acquired"],
            "fill": 0,
            "units": units,
            "conversion": conversion,
            "kind": f"Sentinel-2 {mtd.level or 'product'}, tile {_tile(product)}",
        }
        return bands, facts

    def files(self, source: Source) -> tuple[str, ...]:
        if source.form == "archive":
            return (source.place,)
        listing = self.inside(source)
        names = {*_named(listing, PRODUCT_FILE)}
        for product in self.meant(source, self.products(listing)):
            names |= {*product.files.values(), *_named(listing, TILE_FILE, product)[:1]}
        return tuple(listing.path_of(name) for name in sorted(names))


def _tile(product: Product) -> str:
    """Tile ID, such as T32TQM, or the granule's folder if no name contains it."""
    names = (product.prefix, *(name.replace("/", "_") for name in product.files.values()))
    return next((parts[1].upper() for parts in map(TILE.search, names) if parts), product.prefix)


def _named(listing: Listing, form: re.Pattern[str], product: Product | None = None) -> list[str]:
    """Files that match ``form``, in the product's folder or, with ``product``, in its granule's folder."""
    inside = f"{GRANULES}/{product.prefix}/" if product and product.prefix else ""
    return [
        name for name in listing.names
        if name.startswith(inside) and form.fullmatch(name.rpartition("/")[2] if product else name)
    ]  # fmt: skip


def is_product(folder: str, names: Iterable[str]) -> bool:
    """True for the folder of a product, complete or not, by its name and the names of its entries."""
    names = tuple(names)
    named = FOLDER.fullmatch(folder) and (folder.upper().startswith("S2") or GRANULES in names)
    return bool(named) or any(map(PRODUCT_FILE.fullmatch, names))


def _locate(source: Source) -> Path | None:
    """Folder of the product that a source is, belongs to, or contains as the only one; None if there is none."""
    root, path = find_root(source.path), source.path
    if source.form == "file":  # the true-colour image is read as a raster
        is_raster = path.suffix.lower() in RASTERS and not BAND_FILE.fullmatch(path.name)
        return None if is_raster and count_bands(source.place, 1) > 1 else root
    if root is None and not any(name.lower().endswith(RASTERS) for name in source.listing.names):
        below = [path / name for name in source.listing.folders if _is_root(path / name)]
        root = below[0] if len(below) == 1 else None
    return root


def find_root(path: Path) -> Path | None:
    """Folder of the product that a path is, or belongs to as metadata, a band or part of GRANULE; else None."""
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
    """Paths of product folders in an archive; ``""`` for a product without its own folder."""
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
TILES = ("Level-1C_Tile_ID", "Level-2A_Tile_ID")  # root elements of tile metadata; those of products: LEVELS
QUANTIFICATION = ("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
"""Elements in Level-1C, in Level-2A, and in Level-2A from before 2018."""


class Mtd(Metadata):
    """Sentinel-2 metadata file, of a product (MTD_MSIL1C.xml, MTD_MSIL2A.xml) or of a tile (MTD_TL.xml)."""

    __slots__ = ()

    @property
    def level(self) -> str:
        """L1C or L2A; ``""`` for tile metadata."""
        return LEVELS.get(self.root, "")

    @property
    def has_offsets(self) -> bool:
        """True if values have an offset, which since baseline 04.00 keeps dark pixels from being clipped."""
        return self.text(OFFSETS[self.level]) is not None

    @property
    def facts(self) -> dict[str, Any]:
        """Product start or tile sensing time in UTC, and a tile's sun elevation and azimuth in degrees."""
        zenith = self.number("ZENITH_ANGLE", "Mean_Sun_Angle")
        return {
            "acquired": parse_time(self.text("PRODUCT_START_TIME") or self.text("SENSING_TIME") or ""),
            "sun_elevation": 90 - zenith if zenith is not None and 0 <= zenith <= 180 else None,
            "sun_azimuth": self.number("AZIMUTH_ANGLE", "Mean_Sun_Angle"),
        }

    def conversion(self, bands: Sequence[str]) -> Conversion:
        """Conversion of the given bands: reflectance = (value + offset) / quantification. Raises SceneReadError.

        Source: Sentinel-2 Products Specification Document, from processing baseline 04.00 on.
        """
        key = next((key for key in QUANTIFICATION if self.text(key) is not None), QUANTIFICATION[0])
        quantification = self.number(key)
        if quantification is None or not quantification >= 1:
            found = f"no {key}" if quantification is None else f"{key} is {quantification:g}"
            raise SceneReadError(f"{self.label}: {found}, wanted 1 or more, as a rule 10000; fetch the product again")
        offsets, key = [0.0] * len(bands), OFFSETS[self.level]
        for position, band in enumerate(bands if self.has_offsets else ()):
            value = self.number(f"{key}/{BAND_IDS.index(band)}")
            if value is None:
                number = f"band_id {BAND_IDS.index(band)}"
                raise SceneReadError(f"{self.label}: no {key} of {band} ({number}), and some of other bands")
            offsets[position] = value / quantification
        return Conversion.of([1 / quantification] * len(bands), offsets)


def parse_mtd(text: str, label: str, roots: Sequence[str] = (*LEVELS, *TILES)) -> Mtd:
    """Parses product or tile metadata. Raises SceneReadError for other or truncated files, or with a DOCTYPE."""
    return Mtd.parse(text, label, "Sentinel-2", roots)
