"""Products of one file per band, side by side in a folder, archive or bucket: shared by several makers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from geocloud.bands import BANDS
from geocloud.errors import BandError
from geocloud.readers.archive import Listing
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe
from geocloud.readers.source import Candidate, Form, Reader, Source

Wanted = Sequence[tuple[str, ...]]
"""Names of red, green, blue and nir in file names; of several for one band the first that exists is used."""


@dataclass(frozen=True, slots=True)
class Product:
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
        return self.prefix.rpartition("/")[2].strip("_-. ")

    def choose(self, wanted: Wanted) -> tuple[str, ...] | None:
        """The first existing name of each wanted band; None if a band is missing."""
        chosen = tuple(next((name for name in names if name in self.files), "") for names in wanted)
        return chosen if all(chosen) else None

    def sources(self, listing: Listing, bands: Sequence[str]) -> tuple[BandSource, ...]:
        """The files of some of its bands."""
        files = [self.files[band] for band in bands]
        return tuple(BandSource(listing.path_of(file), listing.label(file)) for file in files)


class BandFileReader(Reader):
    """Reads products of one file per band; a subclass says how their files are named."""

    parts: tuple[re.Pattern[str], ...] = ()
    """Names of files that belong to a product: bands and metadata."""
    needed = "fetch the product whole"
    """End of the message about missing bands."""

    def products(self, listing: Listing) -> list[Product]:
        """The products among files, complete or not."""
        raise NotImplementedError

    def facts(self, listing: Listing, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Fields of `SceneRecipe` for the chosen bands, beyond name, source and bands."""
        raise NotImplementedError

    def wanted(self, product: Product) -> Wanted:
        """Names of red, green, blue and nir, as far as file names tell."""
        raise NotImplementedError

    def match(self, source: Source) -> bool:
        """True if band files are found, or for one file, if it belongs to a product and holds a single band."""
        if source.form in (Form.URL, Form.NAME) or (source.member is not None and source.has_many_bands):
            return False  # before the folder is listed: there may be many such files in it
        products = self.products(source.listing)
        if source.member is None:
            return any(self._is_product(product) for product in products)
        return bool(belonging(products, source.member, self.is_part))

    def _is_product(self, product: Product) -> bool:
        """True for a product with some of the bands that are looked for."""
        return any(name in product.files for names in self.wanted(product) for name in names)

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """One for each prefix."""
        prefixes: dict[str, list[Product]] = defaultdict(list)
        for product in self.products(listing):
            prefixes[product.prefix].append(product)
        for products in prefixes.values():
            files = frozenset(name for product in products for name in product.files.values())
            scenes = [product for product in products if self._is_product(product)]
            member = next(iter((scenes or products)[0].files.values()))
            yield Candidate(member, products[0].stem, files, 0, bool(scenes), True)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        """The recipe of the one product, or of that to which a named file belongs. Raises SceneError."""
        products = self.products(source.listing)
        if source.member is not None:
            products = self.siblings(products, belonging(products, source.member, self.is_part))
        return self.assemble(source.listing, self.select(source.listing, products, options), options, source.member)

    def assemble(self, listing: Listing, product: Product, options: ReadOptions, member: str | None) -> SceneRecipe:
        """The recipe of a product. Raises BandError for missing bands, SceneError."""
        numbers = band_numbers(options)
        wanted = [(f"B{number:02}",) for number in numbers] if numbers else self.wanted(product)
        bands = product.choose(wanted)
        if bands is None:
            of = f", of {product.stem}" if product.stem else ""
            raise BandError(f"{listing.source}: {missing_bands(wanted, product)}{of}; {self.needed}")
        source = listing.source if member is None else listing.label(member)
        return SceneRecipe(
            name=product.stem or listing.stem,
            source=source,
            bands=product.sources(listing, bands),
            **self.facts(listing, product, bands),
        )

    def siblings(self, products: list[Product], named: list[Product]) -> list[Product]:
        """The products that a named file stands for, of all, given those that it belongs to."""
        return named

    def select(self, listing: Listing, products: list[Product], options: ReadOptions) -> Product:
        """The product to read, of several that may be meant. Raises BandError."""
        names = [tuple(_numbered(number)) for number in band_numbers(options) or ()]
        complete = [product for product in products if product.choose(names or self.wanted(product))]
        candidates = complete or [max(products, key=lambda product: len(product.files))]
        prefixes = sorted({product.prefix for product in candidates})
        if len(prefixes) > 1:
            raise BandError(
                f"{listing.source}: {len(prefixes)} products in one place "
                f"({shorten(prefix.rpartition('/')[2].rstrip('_-. ') for prefix in prefixes)}); name one file of one"
            )
        if len(candidates) > 1:
            raise BandError(
                f"{listing.source}: several files for the same band; name one file of the ones that you mean"
            )
        return candidates[0]

    def files(self, source: Source) -> tuple[str, ...]:
        """Bands and metadata; of an archive itself."""
        if source.form is Form.ARCHIVE:
            return (source.place,)
        names = source.listing.names
        if source.member is not None:
            products = belonging(self.products(source.listing), source.member, self.is_part)
            prefix = products[0].prefix.rstrip("_-. ")
            names = tuple(name for name in names if name.startswith(prefix))
        return tuple(sorted(source.listing.path_of(name) for name in names if self.is_part(name)))

    def is_part(self, name: str) -> bool:
        """True for the name of a band or metadata file."""
        return any(form.fullmatch(name.rpartition("/")[2]) for form in self.parts)


def band_numbers(options: ReadOptions) -> tuple[int, ...] | None:
    """Band numbers that a user gave; None for an order in letters, which is for rasters without band names."""
    return None if isinstance(options.bands, str) else options.bands


def _numbered(number: int) -> Iterator[str]:
    yield from (f"B{number:02}", f"B{number}")


NUMBERED = re.compile(r"(?:^|[_\-. ])(?:SR_?|TOA_|TA)?(?:B|band)\d", re.IGNORECASE)
"""A band's number in a file name: a quick look, of half a million names, before the whole form is tried."""


def group_files(
    names: Sequence[str],
    form: re.Pattern[str],
    key: Callable[[re.Match[str]], tuple[str, str] | None],
    hint: re.Pattern[str] | None = None,
) -> list[Product]:
    """Groups files by prefix and group of their names.

    Args:
        names: Names in a listing.
        form: The whole name of a file; its group ``prefix`` tells products apart.
        key: Gives group and band of a name, None for other files.
        hint: Part of each such name, found in less time.
    """
    groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in names:
        folder, _, base = name.rpartition("/")
        if hint and not hint.search(base):
            continue
        parts = None if base.startswith("._") else form.fullmatch(base)  # ._: added to archives by macOS
        told = key(parts) if parts else None
        if parts and told:
            prefix = f"{folder}/{parts['prefix']}" if folder else parts["prefix"]
            groups[prefix, told[0]].setdefault(told[1], name)
    return [Product(prefix, files, group) for (prefix, group), files in groups.items()]


def belonging(products: list[Product], member: str, is_part: Callable[[str], bool]) -> list[Product]:
    """The products that a file belongs to: as a band, or by a name that begins like theirs."""
    holding = [product for product in products if member in product.files.values()]
    if holding:
        return holding
    stems = {id(product): product.prefix.lower().rstrip("_-. ") for product in products}
    named = [product for product in products if stems[id(product)] and member.lower().startswith(stems[id(product)])]
    longest = max((len(stems[id(product)]) for product in named), default=0)
    named = [product for product in named if len(stems[id(product)]) == longest]
    return named or [product for product in products if not stems[id(product)] and is_part(member)]


def missing_bands(wanted: Wanted, product: Product) -> str:
    """``no red (B4) and no nir (B5); found B2, B3``."""
    missing = [
        f"{band} ({' or '.join(names)})"
        for band, names in zip(BANDS, wanted, strict=False)
        if not set(names) & set(product.files)
    ]
    return f"no {' and no '.join(missing)}; found {', '.join(sorted(product.files))}"


def shorten(names: Iterator[str] | Sequence[str], limit: int = 4) -> str:
    """The first of some names, for a message."""
    names = list(names)
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")
