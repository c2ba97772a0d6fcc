"""Harmonized Landsat and Sentinel-2 (HLS): granules of one Cloud Optimized GeoTIFF a band, 30 m, surface reflectance.

Bands, scale and fill: HLS Product User Guide, version 2.0.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime

from geocloud.bands import BANDS, Conversion, Units
from geocloud.errors import BandError
from geocloud.readers.archive import Container
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe

GRANULE_ID = re.compile(
    r"HLS\.(?P<product>[LS]30)\.T\d{2}[A-Z]{3}\.(?P<date>\d{7}T\d{6})\.v\d+(?:\.\d+)*", re.IGNORECASE
)
GRANULE_FILE = re.compile(
    rf"(?P<id>{GRANULE_ID.pattern})\.(?P<layer>B\d{{2}}|B8A|Fmask|[SV][AZ]A)\.tiff?", re.IGNORECASE
)

FILES = {"L30": ("B04", "B03", "B02", "B05"), "S30": ("B04", "B03", "B02", "B8A")}
"""Red, green, blue and nir: of Landsat's and of Sentinel-2's granules the same numbers mean different bands."""

SCALE, FILL = 1e-4, -9999


def find_granules(names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The granules that files belong to: id → layer (B04) → name."""
    granules: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        if found := GRANULE_FILE.fullmatch(name.rpartition("/")[2]):
            granules[found["id"]].setdefault(found["layer"].upper(), name)
    return dict(granules)


def hls_recipe(container: Container, options: ReadOptions, member: str | None = None) -> SceneRecipe:
    """The recipe of the one granule in a container, or of that which a named file (``member``) belongs to.

    Raises BandError.
    """
    granules = find_granules(container.names)
    if member is not None:
        granules = {name: layers for name, layers in granules.items() if member.startswith(name)}
    if len(granules) != 1:
        shown = ", ".join(list(granules)[:4]) + (" …" if len(granules) > 4 else "")
        raise BandError(f"{container.source}: {len(granules)} HLS granules in one place ({shown}); name a file of one")
    ((name, layers),) = granules.items()
    about = GRANULE_ID.fullmatch(name)
    assert about is not None
    product = about["product"].upper()
    wanted = tuple(f"B{number:02}" for number in options.bands) if options.bands else FILES[product]
    missing = [f"{band} ({layer})" for band, layer in zip(BANDS, wanted, strict=False) if layer not in layers]
    if missing:
        found = ", ".join(sorted(layers))
        raise BandError(f"{container.source}: no {' and no '.join(missing)} of {name}; found {found}")
    return SceneRecipe(
        name=name,
        source=container.source if member is None else container.label(member),
        bands=tuple(BandSource(container.path_of(layers[x]), container.label(layers[x])) for x in wanted),
        units=Units.REFLECTANCE,
        conversion=Conversion.uniform(SCALE),
        fill=FILL,
        acquired=_date(about["date"]),
        kind=f"HLS {product}",
    )


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text.upper(), "%Y%jT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
