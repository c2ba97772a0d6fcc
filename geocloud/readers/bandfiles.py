"""Products of one file per band: the base class of their readers, and readers that rely on file names alone."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError
from geocloud.io.remote import is_remote
from geocloud.readers.archive import Listing
from geocloud.readers.band_names import COLOURS, SENTINEL2_NAME, ProductName, Wanted, is_msi, missing_bands, shorten
from geocloud.readers.source import BandSource, Candidate, Reader, ReadOptions, SceneRecipe, Source, parse_time
from geocloud.readers.stack import count_bands

log = logging.getLogger(__name__)

SUFFIX = r"\.(?:tiff?|jp2|img)"
METADATA_FILE = re.compile(r"(?P<prefix>.*?)_?MTL\.(?P<format>txt|json|xml)", re.IGNORECASE)  # Landsat's metadata file
GRANULE_ID = r"HLS\.[LS]30\.T\d{2}[A-Z]{3}\.\d{7}T\d{6}\.v\d+(?:\.\d+)*"
TIME = re.compile(r"(?:^|[^0-9])(\d{8}T\d{6})(?:[^0-9]|$)", re.IGNORECASE)
BROWSER = re.compile(r"Sentinel-2[_ ]L(?:1C|2A)_B\w+_\(Raw\)", re.IGNORECASE)
"""Single bands from Copernicus Browser or EO Browser; values 0 to 65535 are reflectance 0 to 1."""
SIZES = ("10m", "", "20m", "60m")
"""Pixel sizes in file names, finest first; without a size, red, green, blue and B08 are at 10 m."""
SEPARATORS = "_-. "

Described = tuple[tuple[str, ...], dict[str, Any]]


class Product(NamedTuple):
    """Band files whose names differ only in the band."""

    prefix: str
    """File names up to the band, with folders."""
    files: dict[str, str]
    """Band → file name in the listing."""
    group: str = ""
    """Processing level or pixel size, which distinguishes sets of bands with the same prefix."""

    @property
    def stem(self) -> str:
        """The prefix without folders and separators."""
        return self.prefix.rpartition("/")[2].strip(SEPARATORS)

    def choose(self, wanted: Wanted) -> tuple[str, ...] | None:
        """The first existing name of each wanted band; None if a band is missing."""
        chosen = tuple(next((name for name in names if name in self.files), "") for names in wanted)
        return chosen if all(chosen) else None


class BandFileReader(Reader):
    """Reader of products with one file per band; subclasses define the file names and the units."""

    one_band = True
    form: re.Pattern[str]
    """Pattern of a band file's name; its group ``prefix`` distinguishes products."""
    metadata = re.compile("(?!)")
    """Pattern of a metadata file's name."""
    usual: Wanted = ()
    """Default names of red, green, blue and nir."""
    kind = "raster"
    """Product type, for display."""
    needed = "fetch the product whole"
    """Advice at the end of the message about missing bands."""

    def key(self, parts: re.Match[str]) -> tuple[str, str] | None:
        """Group and band of a matching file name; None to ignore the file."""
        return "", parts["band"].upper()

    def wanted(self, product: Product) -> Wanted:
        """Names of red, green, blue and nir in a product."""
        return self.usual

    def describe(self, source: Source, listing: Listing, product: Product, options: ReadOptions) -> Described:
        """The bands to read, and further fields of `SceneRecipe`. Raises SceneError."""
        return self.pick(listing, product, self.asked(product, options)), {"kind": self.kind}

    def inside(self, source: Source) -> Listing:
        """Listing of a source's files."""
        return source.listing

    def products(self, listing: Listing) -> list[Product]:
        """Products in a listing, complete or not."""
        groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for name in listing.names:
            folder, slash, base = name.rpartition("/")
            parts = None if base.startswith("._") else self.form.fullmatch(base)  # macOS adds ._ files to archives
            if parts and (key := self.key(parts)):
                groups[folder + slash + parts["prefix"], key[0]].setdefault(key[1], name)
        return [Product(prefix, files, group) for (prefix, group), files in groups.items()]

    def match(self, source: Source) -> bool:
        """True if the source contains bands of a product or, as a single file, belongs to one."""
        products = [] if source.form in ("url", "name") else self.products(source.listing)
        return any(source.member or self.is_product(product) for product in self.meant(source, products))

    def is_product(self, product: Product) -> bool:
        """True for a product with at least one of the wanted bands."""
        return any(name in product.files for names in self.wanted(product) for name in names)

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """One candidate per prefix."""
        prefixes: dict[str, list[Product]] = defaultdict(list)
        for product in self.products(listing):
            prefixes[product.prefix].append(product)
        for products in prefixes.values():
            files = frozenset(name for product in products for name in product.files.values())
            scenes = [product for product in products if self.is_product(product)]
            member = next(iter((scenes or products)[0].files.values()))
            if len(files) == 1 and not is_remote(listing.source) and count_bands(listing.path_of(member), 1) > 1:
                continue  # a raster of several bands that is named like a band
            yield Candidate(member, products[0].stem, files, 0, bool(scenes), True)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        listing = self.inside(source)
        product = self.select(listing, self.meant(source, self.products(listing)), options)
        bands, fields = self.describe(source, listing, product, options)
        files = [product.files[band] for band in bands]
        sources = tuple(BandSource(listing.path_of(file), listing.label(file)) for file in files)
        facts: dict[str, Any] = {"name": product.stem or listing.stem} | fields
        return SceneRecipe(source=source.label, bands=sources, **facts)

    def asked(self, product: Product, options: ReadOptions) -> Wanted:
        """Names of the bands that the user gave by number, or else the default names."""
        return [(f"B{number:02}",) for number in options.band_numbers or ()] or self.wanted(product)

    def pick(self, listing: Listing, product: Product, wanted: Wanted) -> tuple[str, ...]:
        """The bands to read. Raises BandError if one is missing."""
        if bands := product.choose(wanted):
            return bands
        where = f" at {product.group} m" if product.group.isdecimal() else ""
        of = f", of {product.stem}" if product.stem else ""
        raise BandError(f"{listing.source}: {missing_bands(wanted, product.files, where)}{of}; {self.needed}")

    def select(self, listing: Listing, products: Sequence[Product], options: ReadOptions) -> Product:
        """The complete product, or else the one with the most bands. Raises BandError for several."""
        complete = [product for product in products if product.choose(self.asked(product, options))]
        candidates = complete or [max(products, key=lambda product: len(product.files))]
        prefixes = sorted({product.prefix for product in candidates})
        if len(prefixes) > 1:
            names = shorten(prefix.rpartition("/")[2].rstrip(SEPARATORS) for prefix in prefixes)
            raise BandError(f"{listing.source}: {len(prefixes)} products in one place ({names}); name a file of one")
        if len(candidates) > 1:
            raise BandError(f"{listing.source}: several files for the same band; name one of the files to use")
        return candidates[0]

    def files(self, source: Source) -> tuple[str, ...]:
        """Paths of bands and metadata; for an archive, its own path."""
        if source.form == "archive":
            return (source.place,)
        names, prefix = source.listing.names, ""
        if source.member is not None:
            prefix = self.meant(source, self.products(source.listing))[0].prefix.rstrip(SEPARATORS)
        return tuple(source.listing.path_of(n) for n in sorted(names) if n.startswith(prefix) and self._is_part(n))

    def _is_part(self, name: str) -> bool:
        """True for the name of a band or metadata file."""
        base = name.rpartition("/")[2]
        return bool(self.form.fullmatch(base) or self.metadata.fullmatch(base))

    def meant(self, source: Source, products: list[Product]) -> list[Product]:
        """All products or, for a single file, those that contain it or share its prefix."""
        member = source.member
        if member is None:
            return products
        if holding := [product for product in products if member in product.files.values()]:
            return holding
        stems = [product.prefix.lower().rstrip(SEPARATORS) for product in products]
        stem = max((stem for stem in stems if member.lower().startswith(stem)), key=len, default="")
        stem = stem or ("" if self._is_part(member) else "/")
        return [product for product, own in zip(products, stems, strict=True) if own == stem]


class Hls(BandFileReader):
    """Reader of HLS granules, L30 and S30: one 30 m GeoTIFF per band (HLS Product User Guide, version 2.0)."""

    product_ids = (GRANULE_ID,)
    form = re.compile(rf"(?P<prefix>{GRANULE_ID})\.(?P<band>B\d{{2}}|B8A|Fmask|[SV][AZ]A)\.tiff?", re.IGNORECASE)

    def wanted(self, product: Product) -> Wanted:
        """Names of red, green, blue and nir; nir is B05 in L30 and B8A in S30."""
        return (("B04",), ("B03",), ("B02",), ("B05" if product.stem[4:5].upper() == "L" else "B8A",))

    def describe(self, source: Source, listing: Listing, product: Product, options: ReadOptions) -> Described:
        bands, _ = super().describe(source, listing, product, options)
        _, sensor, _, time, *_ = product.stem.upper().split(".")
        facts = {"acquired": parse_time(time, "%Y%jT%H%M%S"), "kind": f"HLS {sensor}"}
        return bands, {"units": Units.REFLECTANCE, "conversion": Conversion.uniform(1e-4), "fill": -9999, **facts}


class Sentinel2Bands(BandFileReader):
    """Reader of Sentinel-2 band files outside a product. B05 is red edge; on Landsat 8 it is near-infrared."""

    form = re.compile(
        r"(?!MSK_)(?P<prefix>.*?)(?:^|[_\-. ])(?:B|band)(?P<band>0?[1-9]|1[0-2]|8A)(?P<rest>[_\-. ].*)?" + SUFFIX,
        re.IGNORECASE,
    )
    usual = (("B04",), ("B03",), ("B02",), ("B08", "B8A"))
    kind = "Sentinel-2 bands"
    needed = "B04, B03, B02 and B08 or B8A are needed (or, without near-infrared, ReadOptions(bands=(4, 3, 2)))"

    def key(self, parts: re.Match[str]) -> tuple[str, str]:
        """Group (the pixel size or other text after the band) and band of a file name."""
        return (parts["rest"] or "").strip(SEPARATORS).lower(), f"B{parts['band'].upper().zfill(2)}"

    def products(self, listing: Listing) -> list[Product]:
        """Sets of Sentinel-2 bands, by prefix and pixel size."""
        products = super().products(listing)
        has_mtl = any(METADATA_FILE.fullmatch(name.rpartition("/")[2]) for name in listing.names)
        files: dict[str, dict[str, str]] = defaultdict(dict)
        for product in products:
            files[product.prefix] |= product.files
        return [p for p in products if _is_sentinel2(p.prefix, files[p.prefix], listing.stem, has_mtl)]

    def meant(self, source: Source, products: list[Product]) -> list[Product]:
        """All products or, for a single file, those with its prefix, at all pixel sizes."""
        meant = super().meant(source, products)
        own = [product for product in meant if product.group not in SIZES and product.choose(self.usual)]
        prefixes = {product.prefix for product in meant}
        return own or [p for p in products if p.prefix in prefixes] if source.member else products

    def select(self, listing: Listing, products: Sequence[Product], options: ReadOptions) -> Product:
        """The complete set with the finest pixels. Raises BandError."""
        sized = [p for p in products if p.group in SIZES and p.choose(self.asked(p, options))]
        if len({product.prefix for product in sized}) == 1 and all(p.group in SIZES for p in products):
            return min(sized, key=lambda product: SIZES.index(product.group))
        return super().select(listing, products, options)

    def describe(self, source: Source, listing: Listing, product: Product, options: ReadOptions) -> Described:
        bands, facts = super().describe(source, listing, product, options)
        browser = BROWSER.search(product.files[bands[0]])
        nir = f", near-infrared is {bands[3]}" if len(bands) == 4 else ""
        note = "values 0 to 65535 are reflectance 0 to 1" if browser else "no metadata, so values determine the units"
        log.warning("%s: identified by name as Sentinel-2 bands%s; %s", listing.source, nir, note)
        times = (parse_time(t[1].upper(), "%Y%m%dT%H%M%S") for t in map(TIME.search, (product.stem, listing.stem)) if t)
        units = Units.SCALED_16BIT if browser else Units.AUTO
        return bands, facts | {"units": units, "acquired": next(filter(None, times), None)}


def _is_sentinel2(prefix: str, files: dict[str, str], stem: str, has_mtl: bool) -> bool:
    """True for Sentinel-2 bands, by file names, else by the folder's name, else by the bands present."""
    prefix = prefix.rpartition("/")[2]
    if SENTINEL2_NAME.search(prefix) or "B8A" in files:
        return True
    if has_mtl or any(ProductName.parse(name).satellite is not None for name in (prefix, stem)):
        return False
    padded = any(re.search(r"B0[2-8]", name, re.IGNORECASE) for name in files.values())
    return bool(SENTINEL2_NAME.search(stem)) or is_msi([band[1:].lstrip("0") for band in files], padded)


class NamedBands(BandFileReader):
    """Reader of bands named by colour, as in Earth Search: ``red.tif``, ``green.tif``, ``blue.tif``, ``nir.tif``."""

    form = re.compile(r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<band>red|green|blue|nir(?:0?8|1)?)" + SUFFIX, re.IGNORECASE)
    usual = COLOURS
    kind = "bands named by colour"
    needed = "all of one product are needed; leave ReadOptions(bands=…) out, since file names identify the bands"

    def key(self, parts: re.Match[str]) -> tuple[str, str]:
        return "", parts["band"].lower()

    def products(self, listing: Listing) -> list[Product]:
        """Products with red, green and blue."""
        return [product for product in super().products(listing) if product.choose(self.usual[:3])]
