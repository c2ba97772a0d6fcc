"""STAC items: a scene whose four bands are assets, wherever those are.

Bands are told by their common names (``bands`` of STAC 1.1, ``eo:bands`` before), then by the assets' keys: Landsat
Collection 2, HLS, Sentinel-2.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlparse
from urllib.request import url2pathname

from geocloud.bands import BANDS, Conversion, Units
from geocloud.errors import BandError, GeocloudError, SceneNotFoundError, SceneReadError, UnitsError, without_secrets
from geocloud.io.remote import is_remote, is_store, read_bytes
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe
from geocloud.readers.landsat import Level, ProductName
from geocloud.readers.mtl import LEVEL1_GROUPS, parse_mtl

NAMES = {"red": ("red",), "green": ("green",), "blue": ("blue",), "nir": ("nir", "nir08")}
"""Common names; of two near-infrared bands the first."""

KEYS = (
    (r"^HLS\.?L30|^HLSL30", ("B04", "B03", "B02", "B05")),
    (r"^HLS\.?S30|^HLSS30", ("B04", "B03", "B02", "B8A")),
    (r"^S2", ("B04", "B03", "B02", "B08")),
    (r"^L[CO]0[89]", ("SR_B4", "SR_B3", "SR_B2", "SR_B5")),
    (r"^L[CO]0[89]", ("B4", "B3", "B2", "B5")),
    (r"^L[TE]0[457]", ("SR_B3", "SR_B2", "SR_B1", "SR_B4")),
    (r"^L[TE]0[457]", ("B3", "B2", "B1", "B4")),
)
"""An item's id → the keys of red, green, blue and nir."""

FRESH = 600
"""Seconds for which a remote item collection is not fetched again."""

MTL_KEYS = ("mtl.txt", "MTL.txt", "mtl.json", "MTL.json", "MTL")
STAC_SUFFIXES = (".json", ".geojson")
SHOWN = {"thumbnail", "overview", "visual"}
"""Roles of assets that are pictures."""

Item = dict[str, Any]


def is_item_path(path: Path) -> bool:
    """True for a JSON file that says it is STAC."""
    if path.suffix.lower() not in STAC_SUFFIXES or not path.is_file():
        return False
    try:
        found = read_document(str(path))
    except (OSError, ValueError):
        return False
    return bool(found.items) or "stac_version" in found.rest or found.rest.get("type") == "FeatureCollection"


@dataclass(frozen=True, slots=True)
class Document:
    """What a JSON file of STAC holds: an item, an item collection, a collection or a catalog."""

    rest: dict[str, Any]
    """All of it but the items, in whose place stand their ids."""
    items: dict[str, bytes | None]
    """Items as JSON, by id; None: several have this id."""

    @classmethod
    def parse(cls, text: bytes) -> Document:
        """Parses a file, of whose items one at a time is in memory as Python objects. Raises ValueError."""
        items: dict[str, bytes | None] = {}

        def keep(found: dict[str, Any]) -> Any:
            if found.get("type") != "Feature" or not ("assets" in found or "stac_version" in found):
                return found
            name = str(found.get("id"))
            items[name] = None if name in items else json.dumps(found, separators=(",", ":")).encode()
            return name

        rest = json.loads(text, object_hook=keep)
        return cls(rest if isinstance(rest, dict) else {}, items)


def read_document(place: str) -> Document:
    """The STAC file at a path or URL. Raises SceneNotFoundError, SceneReadError, FileNotFoundError, ValueError."""
    return _load(place, int(time.time() / FRESH) if is_remote(place) else Path(place).stat().st_mtime_ns)


def read_item(source: str) -> Item:
    """The item in a file or at an address; ``FILE#ID`` names one of an item collection.

    Raises SceneNotFoundError, SceneReadError.
    """
    place, _, wanted = source.partition("#")
    try:
        items = read_document(place).items
    except FileNotFoundError as error:
        raise SceneNotFoundError(f"{place}: no such file") from error
    except (OSError, ValueError) as error:
        if isinstance(error, SceneReadError):
            raise
        raise SceneReadError(f"{place}: cannot be read as a STAC item ({error})") from error
    if not items or (wanted and wanted not in items):
        raise SceneReadError(f"{source}: no STAC item there; 'geocloud batch' reads catalogs and collections")
    if not wanted and len(items) > 1:
        raise SceneReadError(f"{place}: {len(items)} items; name one as {place}#ID, or give all to 'geocloud batch'")
    text = items[wanted or next(iter(items))]
    if text is None:
        raise SceneReadError(f"{source}: several items have this id; give each its own")
    found: Item = json.loads(text)
    return found


@lru_cache(maxsize=4)
def _load(place: str, stamp: int) -> Document:
    """A file's content, kept while ``stamp`` is the same: of an item collection every item is asked for by itself."""
    return Document.parse(read_bytes(place) if is_remote(place) else Path(place).read_bytes())


def item_recipe(source: str, options: ReadOptions) -> SceneRecipe:
    """The recipe of an item. Raises BandError for assets that cannot be told, SceneReadError."""
    try:
        return _recipe(source, options)
    except (KeyError, TypeError, AttributeError, IndexError, FileNotFoundError) as error:
        if isinstance(error, GeocloudError):
            raise
        raise SceneReadError(f"{source}: not as a STAC item should be ({type(error).__name__}: {error})") from error


def item_files(source: str) -> tuple[str, ...]:
    """Where the four bands of an item are. Raises as `item_recipe` does."""
    return tuple(band.path for band in item_recipe(source, ReadOptions()).bands)


def _recipe(source: str, options: ReadOptions) -> SceneRecipe:
    item = read_item(source)
    if options.bands:
        raise BandError(f"{source}: a STAC item names its bands; leave --bands out, or name one of its assets")
    base, name = source.partition("#")[0], str(item.get("id", PurePosixPath(source).stem))
    assets, properties = item.get("assets") or {}, item.get("properties") or {}
    if not isinstance(assets, dict) or not isinstance(properties, dict):
        raise SceneReadError(f"{source}: assets and properties of a STAC item are objects, these are not")
    found = _by_name(assets) or _by_key(assets, name)
    if found is None:
        raise BandError(
            f"{source}: cannot tell red, green, blue and near-infrared among its assets "
            f"({', '.join(assets)[:300] or 'there are none'})"
        )
    bands = [
        BandSource(place, without_secrets(place), index)
        for place, index in ((absolute(base, assets[key]["href"]), index) for key, index in found)
    ]
    rasters = [_raster(assets[key], index) for key, index in found]
    shifted_back = properties.get("earthsearch:boa_offset_applied") is True
    if shifted_back:  # and yet an offset may be declared
        rasters = [raster | {"offset": 0} for raster in rasters]
    conversion, fill = _scales(rasters)
    product, units = ProductName.parse(name), Units.AUTO
    sun, azimuth = (_number(properties.get(f"view:sun_{angle}")) for angle in ("elevation", "azimuth"))
    if product.level is Level.L1:
        units, conversion = Units.LANDSAT_L1, None
        mtl_key = next((key for key in MTL_KEYS if key in assets), None)
        if mtl_key:
            place = absolute(base, assets[mtl_key]["href"])
            text = read_bytes(place) if is_remote(place) else Path(place).read_bytes()
            mtl = parse_mtl(text.decode("utf-8", "replace"), place)
            numbers = (3, 2, 1, 4) if (product.satellite or 8) < 8 else (4, 3, 2, 5)
            conversion = mtl.conversion(numbers, LEVEL1_GROUPS)
            sun = mtl.sun_elevation if mtl.sun_elevation is not None else sun
            azimuth = mtl.sun_azimuth if mtl.sun_azimuth is not None else azimuth
    elif product.level is Level.SR:
        units = Units.LANDSAT_L2
    elif conversion:
        units = Units.REFLECTANCE
    elif str(properties.get("platform", "")).lower().startswith("sentinel-2"):
        late = str(properties.get("s2:processing_baseline", "0")) >= "04"
        units = Units.SENTINEL2_BASELINE4 if late and not shifted_back else Units.SENTINEL2
    red, green, blue, nir = bands
    return SceneRecipe(
        name=re.sub(r"[^\w.\-]", "_", name),
        source=without_secrets(source),
        bands=(red, green, blue, nir),
        units=units,
        conversion=conversion,
        fill=fill,
        acquired=_time(properties.get("datetime")) or product.acquired,
        sun_elevation=sun,
        sun_azimuth=azimuth,
        kind="STAC item",
    )


def _by_name(assets: dict[str, Any]) -> list[tuple[str, int]] | None:
    """Asset and band number of each band, told by common names: single bands before stacks, TIFF before JPEG 2000."""
    offered: dict[str, list[tuple[tuple[int, bool, int], str, int]]] = {}
    for order, (key, asset) in enumerate(assets.items()):
        if not isinstance(asset, dict) or "href" not in asset or SHOWN & set(asset.get("roles") or []):
            continue
        bands = list(_bands(asset))
        for index, band in enumerate(bands, 1):
            rank = (len(bands), "jp2" in str(asset.get("type", "")), order)
            common = band.get("eo:common_name") or band.get("common_name")
            offered.setdefault(str(common), []).append((rank, key, index))
    chosen = []
    for band_name in BANDS:
        name = next((n for n in NAMES[band_name] if n in offered), None)
        if name is None:
            return None
        _, key, index = min(offered[name])
        chosen.append((key, index))
    return chosen


def _by_key(assets: dict[str, Any], name: str) -> list[tuple[str, int]] | None:
    named = [next((key for key in NAMES[band] if key in assets), "") for band in BANDS]
    if all(named):
        return [(key, 1) for key in named]
    for pattern, keys in KEYS:
        if re.match(pattern, name) and all(key in assets for key in keys):
            return [(key, 1) for key in keys]
    return None


def _bands(asset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (b for b in asset.get("bands") or asset.get("eo:bands") or [] if isinstance(b, dict))


def _raster(asset: dict[str, Any], index: int) -> dict[str, Any]:
    """Scale, offset and nodata of a band: STAC 1.1 says them of the band or the asset, 1.0 in ``raster:bands``."""
    found: dict[str, Any] = {}
    for place in (
        asset,
        *list(asset.get("bands") or [])[index - 1 : index],
        *list(asset.get("raster:bands") or [])[index - 1 : index],
    ):
        for key in ("scale", "offset", "nodata"):
            value = place.get(f"raster:{key}", place.get(key) if place is not asset or key == "nodata" else None)
            if value is not None:
                found[key] = value
    return found


def _scales(bands: list[dict[str, Any]]) -> tuple[Conversion | None, int | None]:
    fills = {band.get("nodata") for band in bands}
    fill = fills.pop() if len(fills) == 1 else None
    if not all("scale" in band for band in bands):
        return None, fill if isinstance(fill, int) else None
    try:
        a, b, c, d = (float(band["scale"]) for band in bands)
        e, f, g, h = (float(band.get("offset", 0)) for band in bands)
    except (TypeError, ValueError) as error:
        raise UnitsError(f"a scale or offset of the STAC item is no number ({error})") from error
    return Conversion((a, b, c, d), (e, f, g, h)), fill if isinstance(fill, int) else None


def absolute(base: str, href: str) -> str:
    """The path or URL that a link in a STAC file means, which may be relative to the file."""
    if is_remote(href):
        return href
    if href.startswith("file://"):
        return url2pathname(urlparse(href).path)  # %20 is a space; on Windows a drive follows /
    if is_store(base):  # urljoin knows none of their schemes
        scheme, _, place = base.partition("://")
        return f"{scheme}://" + urljoin(f"http://{place}", href).removeprefix("http://")
    if is_remote(base):
        return urljoin(base, href)
    return str(Path(base).parent / href)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
