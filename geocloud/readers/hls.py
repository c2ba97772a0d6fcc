"""Harmonized Landsat and Sentinel-2 (HLS): granules of one Cloud Optimized GeoTIFF a band, 30 m, surface reflectance.

Bands, scale and fill: HLS Product User Guide, version 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError
from geocloud.readers.archive import Listing
from geocloud.readers.bandfiles import BandFileReader, Product, Wanted, group_files, shorten
from geocloud.readers.base import ReadOptions

GRANULE_ID = re.compile(
    r"HLS\.(?P<product>[LS]30)\.T\d{2}[A-Z]{3}\.(?P<date>\d{7}T\d{6})\.v\d+(?:\.\d+)*", re.IGNORECASE
)
GRANULE_FILE = re.compile(
    rf"(?P<prefix>{GRANULE_ID.pattern})\.(?P<layer>B\d{{2}}|B8A|Fmask|[SV][AZ]A)\.tiff?", re.IGNORECASE
)

BANDS = {"L30": ("B04", "B03", "B02", "B05"), "S30": ("B04", "B03", "B02", "B8A")}
"""Red, green, blue and nir: in Landsat's and in Sentinel-2's granules the same numbers mean different bands."""

SCALE, FILL = 1e-4, -9999


class Hls(BandFileReader):
    """HLS granules, L30 and S30."""

    title = "an HLS granule: a folder or archive of its GeoTIFFs, or one of them"
    notes = "L30 and S30, version 1.5 and 2.0, surface reflectance; near-infrared is B05 of L30 and B8A of S30"
    product_ids = (GRANULE_ID.pattern,)
    parts = (GRANULE_FILE,)

    def products(self, listing: Listing) -> list[Product]:
        """Grouped by granule."""
        return group_files(listing.names, GRANULE_FILE, lambda parts: ("", parts["layer"].upper()))

    def wanted(self, product: Product) -> Wanted:
        """Depends on the granule's kind."""
        parts = GRANULE_ID.search(product.prefix)
        return [(band,) for band in BANDS[parts["product"].upper() if parts else "L30"]]

    def select(self, listing: Listing, products: list[Product], options: ReadOptions) -> Product:
        """The only granule. Raises BandError for several."""
        if len(products) != 1:
            names = shorten(product.stem for product in products)
            raise BandError(
                f"{listing.source}: {len(products)} HLS granules in one place ({names}); name a file of one"
            )
        return products[0]

    def facts(self, listing: Listing, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Date and kind from the granule's ID."""
        parts = GRANULE_ID.fullmatch(product.stem)
        assert parts is not None
        told = {"acquired": _date(parts["date"]), "kind": f"HLS {parts['product'].upper()}"}
        return {"units": Units.REFLECTANCE, "conversion": Conversion.uniform(SCALE), "fill": FILL, **told}


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text.upper(), "%Y%jT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
