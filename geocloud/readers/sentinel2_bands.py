"""Bare Sentinel-2 bands: files side by side without a product around them, told from Landsat's by their names.

The numbers are alike and mean other bands: B05 is near-infrared on Landsat 8, and red edge here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from geocloud.bands import Units
from geocloud.readers.archive import Listing
from geocloud.readers.bandfiles import NUMBERED, BandFileReader, Product, Wanted, band_numbers, group_files
from geocloud.readers.base import ReadOptions
from geocloud.readers.landsat import METADATA_FILE, ProductName

log = logging.getLogger(__name__)

BAND_FILE = re.compile(
    r"(?!MSK_)(?P<prefix>.*?)(?:^|[_\-. ])(?:B|band)(?P<band>0?[1-9]|1[0-2]|8A)(?P<rest>[_\-. ].*)?\.(?:tiff?|jp2|img)",
    re.IGNORECASE,
)
SATELLITE = re.compile(
    r"(?:^|[^A-Z0-9])(?:T\d{2}[A-Z]{3}_\d{8}T\d{6}|(?:S|sentinel[_\- ]?)2[A-D]?)(?:[^A-Z0-9]|$)", re.IGNORECASE
)
"""A tile with its time, or the satellite, in a file's or folder's name."""

TIME = re.compile(r"(?:^|[^0-9])(\d{8}T\d{6})(?:[^0-9]|$)", re.IGNORECASE)
BROWSER = re.compile(r"Sentinel-2[_ ]L(?:1C|2A)_B\w+_\(Raw\)", re.IGNORECASE)
"""Names of Copernicus (EO) Browser's single bands, whose 16 bits are 0 to 65535 for reflectance 0 to 1."""

WANTED: Wanted = (("B04",), ("B03",), ("B02",), ("B08", "B8A"))
ONLY_HERE = {"B8A", "B12"}
"""Bands that Landsat has not."""

SIZES = ("10m", "", "20m", "60m")
"""Suffixes of band names, finest first; without a size, red, green, blue and B08 are at 10 m."""


class Sentinel2Bands(BandFileReader):
    """Sentinel-2's bands without their product."""

    title = "bare Sentinel-2 bands (`B02.tif`, `T32TQM_20200101T101031_B04.jp2`) in a folder or archive, or one of them"
    notes = (
        "told from Landsat's by name, by B8A, B12, B08 without B05, or by two digits; near-infrared is B08, else B8A; "
        "their values tell the units, or `--units`"
    )
    parts = (BAND_FILE,)
    needed = "red B04, green B03, blue B02, near-infrared B08 or B8A are needed (or --bands 4,3,2, without it)"

    def products(self, listing: Listing) -> list[Product]:
        """Sets of bands that are Sentinel-2's, by prefix and size."""
        products = group_files(
            listing.names,
            BAND_FILE,
            lambda parts: ((parts["rest"] or "").strip("_-. ").lower(), f"B{parts['band'].upper().zfill(2)}"),
            NUMBERED,
        )
        has_mtl = any(METADATA_FILE.fullmatch(name.rpartition("/")[2]) for name in listing.names)
        bands: dict[str, set[str]] = {}
        padded: dict[str, bool] = {}
        for product in products:
            bands.setdefault(product.prefix, set()).update(product.files)
            padded[product.prefix] = any(re.search(r"B0[2-8]", name, re.I) for name in product.files.values())
        return [
            product
            for product in products
            if _is_sentinel2(product, bands[product.prefix], padded[product.prefix], listing.stem, has_mtl)
        ]

    def wanted(self, product: Product) -> Wanted:
        """The same in all sets."""
        return WANTED

    def select(self, listing: Listing, products: list[Product], options: ReadOptions) -> Product:
        """The finest complete set."""
        numbers = band_numbers(options)
        wanted = [(f"B{number:02}",) for number in numbers] if numbers else WANTED
        sized = [product for product in products if product.group in SIZES and product.choose(wanted)]
        if len({product.prefix for product in sized}) == 1 and not any(p.group not in SIZES for p in products):
            return min(sized, key=lambda product: SIZES.index(product.group))
        return super().select(listing, products, options)

    def siblings(self, products: list[Product], named: list[Product]) -> list[Product]:
        """A named file of one size stands for the bands of all sizes."""
        own = [product for product in named if product.group not in SIZES and product.choose(WANTED)]
        return own or [product for product in products if product.prefix in {other.prefix for other in named}]

    def facts(self, listing: Listing, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Values tell the units, but for the Browser's files."""
        browser = BROWSER.search(product.files[bands[0]])
        nir = f", near-infrared is {bands[3]}" if len(bands) == 4 else ""
        told = "16 bits are 0 to 65535 for 0 to 1" if browser else "no metadata, so their values tell the units"
        log.warning("%s: bands of Sentinel-2 by their names%s; %s", listing.source, nir, told)
        units = Units.SCALED_16BIT if browser else Units.AUTO
        return {"units": units, "acquired": _time(product.stem) or _time(listing.stem), "kind": "Sentinel-2 bands"}


def _is_sentinel2(product: Product, bands: set[str], padded: bool, stem: str, has_mtl: bool) -> bool:
    """Looks at the names of files, then of the folder, then at the bands that exist."""
    prefix = product.prefix.rpartition("/")[2]
    if SATELLITE.search(prefix) or "B8A" in bands:
        return True
    if has_mtl or ProductName.parse(prefix).satellite is not None or ProductName.parse(stem).satellite is not None:
        return False
    visible = {"B02", "B03", "B04", "B08"} <= bands
    return bool(SATELLITE.search(stem) or ONLY_HERE & bands or (visible and ("B05" not in bands or padded)))


def _time(text: str) -> datetime | None:
    parts = TIME.search(text)
    try:
        return datetime.strptime(parts[1].upper(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if parts else None
    except ValueError:
        return None
