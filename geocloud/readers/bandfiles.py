"""Products of one file per band, side by side, and the makers of whose files names alone tell all."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError
from geocloud.readers.archive import Listing
from geocloud.readers.band_names import COLOURS, SENTINEL2_NAME, ProductName, Wanted, is_msi, missing_bands, shorten
from geocloud.readers.source import BandSource, Candidate, Reader, ReadOptions, SceneRecipe, Source, parse_time

log = logging.getLogger(__name__)

SUFFIX = r"\.(?:tiff?|jp2|img)"
NUMBERED = re.compile(r"(?:^|[_\-. ])(?:SR_?|TOA_|TA)?(?:B|band)\d", re.IGNORECASE)
"""A band's number in a file name: a quick look, of half a million names, before the whole form is tried."""
METADATA_FILE = re.compile(r"(?P<prefix>.*?)_?MTL\.(?P<format>txt|json|xml)", re.IGNORECASE)  # Landsat's metadata file
GRANULE_ID = r"HLS\.[LS]30\.T\d{2}[A-Z]{3}\.\d{7}T\d{6}\.v\d+(?:\.\d+)*"
TIME = re.compile(r"(?:^|[^0-9])(\d{8}T\d{6})(?:[^0-9]|$)", re.IGNORECASE)
BROWSER = re.compile(r"Sentinel-2[_ ]L(?:1C|2A)_B\w+_\(Raw\)", re.IGNORECASE)
"""Names of Copernicus (EO) Browser's single bands, whose 16 bits are 0 to 65535 for reflectance 0 to 1."""
SIZES = ("10m", "", "20m", "60m")
"""Suffixes of band names, finest first; without a size, red, green, blue and B08 are at 10 m."""
SEPARATORS = "_-. "


class Product(NamedTuple):
    """Band files whose names differ only in the band."""

    prefix: str
    """Their names up to the band, with folders."""
    files: dict[str, str]
    """Band → name in the listing."""
    group: str = ""
    """Tells sets of bands with one prefix apart: processing level or pixel size."""

    @property
    def stem(self) -> str:
        """The prefix without folders and separators."""
        return self.prefix.rpartition("/")[2].strip(SEPARATORS)

    def choose(self, wanted: Wanted) -> tuple[str, ...] | None:
        """The first existing name of each wanted band; None if a band is missing."""
        chosen = tuple(next((name for name in names if name in self.files), "") for names in wanted)
        return chosen if all(chosen) else None


class BandFileReader(Reader):
    """Reads products of one file per band; a subclass says how their files are named, and what their values mean."""

    one_band = True
    form: re.Pattern[str]
    """The whole name of a band file; its group ``prefix`` tells products apart."""
    metadata: re.Pattern[str] | None = None
    """The name of a metadata file."""
    hint = re.compile("")
    """Part of the name of each band file, found in less time."""
    usual: Wanted = ()
    """Names of red, green, blue and nir."""
    needed = "fetch the product whole"
    """End of the message about missing bands."""

    def key(self, parts: re.Match[str]) -> tuple[str, str] | None:
        """Group and band of a file name; None for other files."""
        return "", parts["band"].upper()

    def wanted(self, product: Product) -> Wanted:
        """Names of red, green, blue and nir, as far as file names tell."""
        return self.usual

    def facts(self, listing: Listing, product: Product, bands: Sequence[str], options: ReadOptions) -> dict[str, Any]:
        """Fields of `SceneRecipe` for the chosen bands, beyond name, source and bands; none unless a maker has some."""
        return {}

    def products(self, listing: Listing) -> list[Product]:
        """The products among files, complete or not."""
        groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for name in listing.names:
            folder, slash, base = name.rpartition("/")
            if not self.hint.search(base) or base.startswith("._"):  # added to archives by macOS
                continue
            if (parts := self.form.fullmatch(base)) and (key := self.key(parts)):
                groups[folder + slash + parts["prefix"], key[0]].setdefault(key[1], name)
        return [Product(prefix, files, group) for (prefix, group), files in groups.items()]

    def match(self, source: Source) -> bool:
        """True if band files are found, or for one file, if it belongs to a product."""
        products = [] if source.form in ("url", "name") else self.products(source.listing)
        return any(source.member or self.is_product(product) for product in self._meant(source, products))

    def is_product(self, product: Product) -> bool:
        """True for a product with some of the bands that are looked for."""
        return any(name in product.files for names in self.wanted(product) for name in names)

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """One for each prefix."""
        prefixes: dict[str, list[Product]] = defaultdict(list)
        for product in self.products(listing):
            prefixes[product.prefix].append(product)
        for products in prefixes.values():
            files = frozenset(name for product in products for name in product.files.values())
            scenes = [product for product in products if self.is_product(product)]
            member = next(iter((scenes or products)[0].files.values()))
            yield Candidate(member, products[0].stem, files, 0, bool(scenes), True)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        """The recipe of the one product, or of that to which a named file belongs. Raises SceneError."""
        products = self._meant(source, self.products(source.listing))
        return self.assemble(source, self.select(source, products, options), options)

    def select(self, source: Source, products: list[Product], options: ReadOptions) -> Product:
        """The product to read, of several that may be meant. Raises BandError."""
        return select_one(source.listing, products, [p for p in products if p.choose(self.asked(p, options))])

    def asked(self, product: Product, options: ReadOptions) -> Wanted:
        """The bands that a user gave by their numbers, or else the usual ones."""
        return [(f"B{number:02}",) for number in options.band_numbers or ()] or self.wanted(product)

    def assemble(self, source: Source, product: Product, options: ReadOptions, **told: Any) -> SceneRecipe:
        """The recipe of a product; wanted, listing, label, where, fields may be told. Raises BandError, SceneError."""
        listing = told.pop("listing", None) or source.listing
        wanted = told.pop("wanted", None) or self.asked(product, options)
        bands, where = product.choose(wanted), told.pop("where", "")
        if bands is None:
            of = f", of {product.stem}" if product.stem else ""
            raise BandError(f"{listing.source}: {missing_bands(wanted, product.files, where)}{of}; {self.needed}")
        usual = listing.source if source.member is None else listing.label(source.member)
        files = [product.files[band] for band in bands]
        sources = tuple(BandSource(listing.path_of(file), listing.label(file)) for file in files)
        fields = {"name": product.stem or listing.stem, "source": told.pop("label", usual), "bands": sources}
        return SceneRecipe(**fields | self.facts(listing, product, bands, options) | told)

    def files(self, source: Source) -> tuple[str, ...]:
        """Bands and metadata; of an archive itself."""
        if source.form == "archive":
            return (source.place,)
        names, prefix = source.listing.names, ""
        if source.member is not None:
            prefix = self._meant(source, self.products(source.listing))[0].prefix.rstrip(SEPARATORS)
        return tuple(source.listing.path_of(n) for n in sorted(names) if n.startswith(prefix) and self._is_part(n))

    def _is_part(self, name: str) -> bool:
        """True for the name of a band or metadata file."""
        base = name.rpartition("/")[2]
        return bool(self.form.fullmatch(base) or (self.metadata and self.metadata.fullmatch(base)))

    def _meant(self, source: Source, products: list[Product]) -> list[Product]:
        """All products, or those that a named file belongs to: as a band, or by a name that begins like theirs."""
        member = source.member
        if member is None:
            return products
        if holding := [product for product in products if member in product.files.values()]:
            return holding
        stems = [product.prefix.lower().rstrip(SEPARATORS) for product in products]
        stem = max((stem for stem in stems if member.lower().startswith(stem)), key=len, default="")
        stem = stem or ("" if self._is_part(member) else "/")
        return [product for product, own in zip(products, stems, strict=True) if own == stem]


def select_one(listing: Listing, products: Sequence[Product], complete: Sequence[Product]) -> Product:
    """The one that is complete, or else holds the most bands. Raises BandError if several are complete."""
    candidates = complete or [max(products, key=lambda product: len(product.files))]
    prefixes = sorted({product.prefix for product in candidates})
    if len(prefixes) > 1:
        names = shorten(prefix.rpartition("/")[2].rstrip(SEPARATORS) for prefix in prefixes)
        raise BandError(f"{listing.source}: {len(prefixes)} products in one place ({names}); name one file of one")
    if len(candidates) > 1:
        raise BandError(f"{listing.source}: several files for the same band; name one file of those that you mean")
    return candidates[0]


class Hls(BandFileReader):
    """HLS granules, L30 and S30: a Cloud Optimized GeoTIFF a band, 30 m (HLS Product User Guide, version 2.0)."""

    product_ids = (GRANULE_ID,)
    form = re.compile(rf"(?P<prefix>{GRANULE_ID})\.(?P<band>B\d{{2}}|B8A|Fmask|[SV][AZ]A)\.tiff?", re.IGNORECASE)

    def wanted(self, product: Product) -> Wanted:
        """In Landsat's and in Sentinel-2's granules the same numbers mean different bands."""
        return (("B04",), ("B03",), ("B02",), ("B05" if product.stem[4:5].upper() == "L" else "B8A",))

    def facts(self, listing: Listing, product: Product, bands: Sequence[str], options: ReadOptions) -> dict[str, Any]:
        _, sensor, _, time, *_ = product.stem.upper().split(".")
        told = {"acquired": parse_time(time, "%Y%jT%H%M%S"), "kind": f"HLS {sensor}"}
        return {"units": Units.REFLECTANCE, "conversion": Conversion.uniform(1e-4), "fill": -9999, **told}


class Sentinel2Bands(BandFileReader):
    """Sentinel-2's bands without their product. B05 is near-infrared on Landsat 8, and red edge here."""

    form = re.compile(
        r"(?!MSK_)(?P<prefix>.*?)(?:^|[_\-. ])(?:B|band)(?P<band>0?[1-9]|1[0-2]|8A)(?P<rest>[_\-. ].*)?" + SUFFIX,
        re.IGNORECASE,
    )
    hint = NUMBERED
    usual = (("B04",), ("B03",), ("B02",), ("B08", "B8A"))
    needed = (
        "red B04, green B03, blue B02, near-infrared B08 or B8A are needed "
        "(or, without it, ReadOptions(bands=(4, 3, 2)))"
    )

    def key(self, parts: re.Match[str]) -> tuple[str, str]:
        """Pixel size, or whatever follows the band, and the band."""
        return (parts["rest"] or "").strip(SEPARATORS).lower(), f"B{parts['band'].upper().zfill(2)}"

    def products(self, listing: Listing) -> list[Product]:
        """Sets of bands that are Sentinel-2's, by prefix and size."""
        products = super().products(listing)
        has_mtl = any(METADATA_FILE.fullmatch(name.rpartition("/")[2]) for name in listing.names)
        files: dict[str, dict[str, str]] = defaultdict(dict)
        for product in products:
            files[product.prefix] |= product.files
        return [p for p in products if _is_sentinel2(p.prefix, files[p.prefix], listing.stem, has_mtl)]

    def select(self, source: Source, products: list[Product], options: ReadOptions) -> Product:
        """The finest complete set; a named file of one size stands for the bands of all sizes."""
        if source.member:
            own = [product for product in products if product.group not in SIZES and product.choose(self.usual)]
            prefixes = {product.prefix for product in products}
            products = own or [product for product in self.products(source.listing) if product.prefix in prefixes]
        sized = [p for p in products if p.group in SIZES and p.choose(self.asked(p, options))]
        if len({product.prefix for product in sized}) == 1 and all(p.group in SIZES for p in products):
            return min(sized, key=lambda product: SIZES.index(product.group))
        return super().select(source, products, options)

    def facts(self, listing: Listing, product: Product, bands: Sequence[str], options: ReadOptions) -> dict[str, Any]:
        browser = BROWSER.search(product.files[bands[0]])
        nir = f", near-infrared is {bands[3]}" if len(bands) == 4 else ""
        told = "16 bits are 0 to 65535 for 0 to 1" if browser else "no metadata, so their values tell the units"
        log.warning("%s: bands of Sentinel-2 by their names%s; %s", listing.source, nir, told)
        times = (parse_time(t[1].upper(), "%Y%m%dT%H%M%S") for t in map(TIME.search, (product.stem, listing.stem)) if t)
        units = Units.SCALED_16BIT if browser else Units.AUTO
        return {"units": units, "acquired": next(filter(None, times), None), "kind": "Sentinel-2 bands"}


def _is_sentinel2(prefix: str, files: dict[str, str], stem: str, has_mtl: bool) -> bool:
    """Looks at the names of files, then of the folder, then at the bands that exist."""
    prefix = prefix.rpartition("/")[2]
    if SENTINEL2_NAME.search(prefix) or "B8A" in files:
        return True
    if has_mtl or any(ProductName.parse(name).satellite is not None for name in (prefix, stem)):
        return False
    padded = any(re.search(r"B0[2-8]", name, re.IGNORECASE) for name in files.values())
    return bool(SENTINEL2_NAME.search(stem)) or is_msi([band[1:].lstrip("0") for band in files], padded)


class NamedBands(BandFileReader):
    """Bands named by colour: ``red.tif``, ``green.tif``, ``blue.tif`` and ``nir.tif``, as Earth Search has them."""

    form = re.compile(r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<band>red|green|blue|nir(?:0?8|1)?)" + SUFFIX, re.IGNORECASE)
    hint = re.compile(r"red|green|blue|nir", re.IGNORECASE)
    usual = COLOURS
    needed = "all of one product are needed; leave ReadOptions(bands=…) out, for their names tell the bands"

    def key(self, parts: re.Match[str]) -> tuple[str, str]:
        return "", parts["band"].lower()

    def products(self, listing: Listing) -> list[Product]:
        """Only with the three colours."""
        return [product for product in super().products(listing) if product.choose(self.usual[:3])]

    def facts(self, listing: Listing, product: Product, bands: Sequence[str], options: ReadOptions) -> dict[str, Any]:
        return {"kind": "bands named by colour"}
