"""Sets of single bands that their file names alone tell: HLS granules, bare Sentinel-2 bands, bands named by colour."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from geocloud.bands import Conversion, Units
from geocloud.readers.archive import Listing
from geocloud.readers.band_names import COLOURS, SENTINEL2_NAME, ProductName, Wanted, is_msi
from geocloud.readers.bandfiles import NUMBERED, BandFileReader, Product
from geocloud.readers.landsat import METADATA_FILE
from geocloud.readers.source import ReadOptions, Source, parse_time

log = logging.getLogger(__name__)

GRANULE_ID = r"HLS\.[LS]30\.T\d{2}[A-Z]{3}\.\d{7}T\d{6}\.v\d+(?:\.\d+)*"
TIME = re.compile(r"(?:^|[^0-9])(\d{8}T\d{6})(?:[^0-9]|$)", re.IGNORECASE)
BROWSER = re.compile(r"Sentinel-2[_ ]L(?:1C|2A)_B\w+_\(Raw\)", re.IGNORECASE)
"""Names of Copernicus (EO) Browser's single bands, whose 16 bits are 0 to 65535 for reflectance 0 to 1."""

SIZES = ("10m", "", "20m", "60m")
"""Suffixes of band names, finest first; without a size, red, green, blue and B08 are at 10 m."""


class Hls(BandFileReader):
    """HLS granules, L30 and S30: a Cloud Optimized GeoTIFF a band, 30 m (HLS Product User Guide, version 2.0)."""

    product_ids = (GRANULE_ID,)
    form = re.compile(rf"(?P<prefix>{GRANULE_ID})\.(?P<band>B\d{{2}}|B8A|Fmask|[SV][AZ]A)\.tiff?", re.IGNORECASE)

    def wanted(self, product: Product) -> Wanted:
        """In Landsat's and in Sentinel-2's granules the same numbers mean different bands."""
        return (("B04",), ("B03",), ("B02",), ("B05" if product.stem[4:5].upper() == "L" else "B8A",))

    def facts(self, source: Source, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Date and kind from the granule's ID."""
        _, sensor, _, time, *_ = product.stem.upper().split(".")
        told = {"acquired": parse_time(time, "%Y%jT%H%M%S"), "kind": f"HLS {sensor}"}
        return {"units": Units.REFLECTANCE, "conversion": Conversion.uniform(1e-4), "fill": -9999, **told}


class Sentinel2Bands(BandFileReader):
    """Sentinel-2's bands without their product. B05 is near-infrared on Landsat 8, and red edge here."""

    form = re.compile(
        r"(?!MSK_)(?P<prefix>.*?)(?:^|[_\-. ])(?:B|band)(?P<band>0?[1-9]|1[0-2]|8A)(?P<rest>[_\-. ].*)?"
        r"\.(?:tiff?|jp2|img)",
        re.IGNORECASE,
    )
    hint = NUMBERED
    usual = (("B04",), ("B03",), ("B02",), ("B08", "B8A"))
    needed = "red B04, green B03, blue B02, near-infrared B08 or B8A are needed (or --bands 4,3,2, without it)"

    def key(self, parts: re.Match[str]) -> tuple[str, str]:
        """Pixel size, or whatever follows the band, and the band."""
        return (parts["rest"] or "").strip("_-. ").lower(), f"B{parts['band'].upper().zfill(2)}"

    def products(self, listing: Listing) -> list[Product]:
        """Sets of bands that are Sentinel-2's, by prefix and size."""
        products = super().products(listing)
        has_mtl = any(METADATA_FILE.fullmatch(name.rpartition("/")[2]) for name in listing.names)
        files: dict[str, dict[str, str]] = defaultdict(dict)
        for product in products:
            files[product.prefix] |= product.files
        return [p for p in products if _is_sentinel2(p.prefix, files[p.prefix], listing.stem, has_mtl)]

    def select(self, listing: Listing, products: list[Product], options: ReadOptions) -> Product:
        """The finest complete set."""
        sized = [p for p in products if p.group in SIZES and p.choose(self.asked(p, options))]
        if len({product.prefix for product in sized}) == 1 and all(p.group in SIZES for p in products):
            return min(sized, key=lambda product: SIZES.index(product.group))
        return super().select(listing, products, options)

    def siblings(self, products: list[Product], named: list[Product]) -> list[Product]:
        """A named file of one size stands for the bands of all sizes."""
        own = [product for product in named if product.group not in SIZES and product.choose(self.usual)]
        return own or [product for product in products if product.prefix in {other.prefix for other in named}]

    def facts(self, source: Source, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Values tell the units, but for the Browser's files."""
        listing, browser = source.listing, BROWSER.search(product.files[bands[0]])
        nir = f", near-infrared is {bands[3]}" if len(bands) == 4 else ""
        told = "16 bits are 0 to 65535 for 0 to 1" if browser else "no metadata, so their values tell the units"
        log.warning("%s: bands of Sentinel-2 by their names%s; %s", listing.source, nir, told)
        times = (parse_time(t[1].upper(), "%Y%m%dT%H%M%S") for t in map(TIME.search, (product.stem, listing.stem)) if t)
        acquired = next(filter(None, times), None)
        units = Units.SCALED_16BIT if browser else Units.AUTO
        return {"units": units, "acquired": acquired, "kind": "Sentinel-2 bands"}


class NamedBands(BandFileReader):
    """Bands named by colour: ``red.tif``, ``green.tif``, ``blue.tif`` and ``nir.tif``, as Earth Search has them."""

    form = re.compile(
        r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<band>red|green|blue|nir(?:0?8|1)?)\.(?:tiff?|jp2|img)", re.IGNORECASE
    )
    hint = re.compile(r"red|green|blue|nir", re.IGNORECASE)
    usual = COLOURS
    needed = "all of one product are needed; leave --bands out, for their names tell the bands"

    def key(self, parts: re.Match[str]) -> tuple[str, str]:
        """One group."""
        return "", parts["band"].lower()

    def products(self, listing: Listing) -> list[Product]:
        """Only with the three colours."""
        return [product for product in super().products(listing) if product.choose(self.usual[:3])]

    def facts(self, source: Source, product: Product, bands: Sequence[str]) -> dict[str, Any]:
        """Nothing but what they are."""
        return {"kind": "bands named by colour"}


def _is_sentinel2(prefix: str, files: dict[str, str], stem: str, has_mtl: bool) -> bool:
    """Looks at the names of files, then of the folder, then at the bands that exist."""
    prefix = prefix.rpartition("/")[2]
    if SENTINEL2_NAME.search(prefix) or "B8A" in files:
        return True
    if has_mtl or any(ProductName.parse(name).satellite is not None for name in (prefix, stem)):
        return False
    padded = any(re.search(r"B0[2-8]", name, re.IGNORECASE) for name in files.values())
    return bool(SENTINEL2_NAME.search(stem)) or is_msi([band[1:].lstrip("0") for band in files], padded)
