"""Single bands named by colour: ``red.tif``, ``green.tif``, ``blue.tif`` and ``nir.tif``, as Earth Search has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from geocloud.errors import BandError
from geocloud.readers.archive import Listing
from geocloud.readers.bandfiles import BandFileReader, Product, Wanted, band_numbers, group_files
from geocloud.readers.base import ReadOptions, SceneRecipe

BAND_FILE = re.compile(
    r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<band>red|green|blue|nir(?:0?8|1)?)\.(?:tiff?|jp2|img)", re.IGNORECASE
)
COLOUR = re.compile(r"red|green|blue|nir", re.IGNORECASE)
WANTED: Wanted = (("red",), ("green",), ("blue",), ("nir", "nir08", "nir8", "nir1"))


class NamedBands(BandFileReader):
    """Bands named by colour."""

    title = "single bands named `red`, `green`, `blue` and `nir` (or `nir08`) in a folder or archive, or one of them"
    notes = "whichever satellite they are from; their values tell the units, or `--units`"
    parts = (BAND_FILE,)

    def products(self, listing: Listing) -> list[Product]:
        """Grouped by prefix."""
        groups = group_files(listing.names, BAND_FILE, lambda parts: ("", parts["band"].lower()), COLOUR)
        return [product for product in groups if {"red", "green", "blue"} <= set(product.files)]

    def wanted(self, product: Product) -> Wanted:
        """The same in all products."""
        return WANTED

    def assemble(self, listing: Listing, product: Product, options: ReadOptions, member: str | None) -> SceneRecipe:
        """As for others, without numbers of bands."""
        if band_numbers(options):
            raise BandError(f"{listing.source}: its bands are named by colour; leave --bands out")
        return super().assemble(listing, product, options, member)

    def facts(self, listing: Listing, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Nothing but what they are."""
        return {"kind": "bands named by colour"}
