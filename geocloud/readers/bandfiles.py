"""Products of one file per band, side by side in a folder, archive or bucket: shared by several makers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from geocloud.errors import BandError
from geocloud.readers.archive import Listing
from geocloud.readers.band_names import Wanted, missing_bands, shorten
from geocloud.readers.source import BandSource, Candidate, Form, Reader, ReadOptions, SceneRecipe, Source

NUMBERED = re.compile(r"(?:^|[_\-. ])(?:SR_?|TOA_|TA)?(?:B|band)\d", re.IGNORECASE)
"""A band's number in a file name: a quick look, of half a million names, before the whole form is tried."""
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
    hint: re.Pattern[str] | None = None
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

    def facts(self, source: Source, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Fields of `SceneRecipe` for the chosen bands, beyond name, source and bands; none unless a maker has some."""
        return {}

    def products(self, listing: Listing) -> list[Product]:
        """The products among files, complete or not."""
        groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for name in listing.names:
            folder, slash, base = name.rpartition("/")
            if (self.hint and not self.hint.search(base)) or base.startswith("._"):  # added to archives by macOS
                continue
            if (parts := self.form.fullmatch(base)) and (key := self.key(parts)):
                groups[folder + slash + parts["prefix"], key[0]].setdefault(key[1], name)
        return [Product(prefix, files, group) for (prefix, group), files in groups.items()]

    def match(self, source: Source) -> bool:
        """True if band files are found, or for one file, if it belongs to a product and holds a single band."""
        products = [] if source.form in (Form.URL, Form.NAME) else self.products(source.listing)
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
        products = self.products(source.listing)
        named = self._meant(source, products)
        if source.member is not None:
            named = self.siblings(products, named)
        return self.assemble(source, self.select(source.listing, named, options), options)

    def siblings(self, products: list[Product], named: list[Product]) -> list[Product]:
        """The products that a named file stands for, of all, given those that it belongs to."""
        return named

    def select(self, listing: Listing, products: list[Product], options: ReadOptions) -> Product:
        """The product to read, of several that may be meant. Raises BandError."""
        return select_one(listing, products, [p for p in products if p.choose(self.asked(p, options))])

    def asked(self, product: Product, options: ReadOptions) -> Wanted:
        """The bands that a user gave by their numbers, or else the usual ones."""
        return [(f"B{number:02}",) for number in options.band_numbers or ()] or self.wanted(product)

    def assemble(self, source: Source, product: Product, options: ReadOptions) -> SceneRecipe:
        """The recipe of a product. Raises BandError for missing bands, SceneError."""
        name = product.stem or source.listing.stem
        return self.fill(source, product, self.asked(product, options), name=name)

    def fill(self, source: Source, product: Product, wanted: Wanted, **facts: Any) -> SceneRecipe:
        """The recipe of wanted bands, with `facts`. Raises BandError for missing bands, SceneError."""
        listing, bands = source.listing, product.choose(wanted)
        if bands is None:
            of = f", of {product.stem}" if product.stem else ""
            raise BandError(f"{listing.source}: {missing_bands(wanted, product.files)}{of}; {self.needed}")
        label = listing.source if source.member is None else listing.label(source.member)
        sources = band_sources(listing, [product.files[band] for band in bands])
        return SceneRecipe(source=label, bands=sources, **facts, **self.facts(source, product, bands))

    def files(self, source: Source) -> tuple[str, ...]:
        """Bands and metadata; of an archive itself."""
        if source.form is Form.ARCHIVE:
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


def band_sources(listing: Listing, files: Iterable[str]) -> tuple[BandSource, ...]:
    """Files of one band each."""
    return tuple(BandSource(listing.path_of(file), listing.label(file)) for file in files)
