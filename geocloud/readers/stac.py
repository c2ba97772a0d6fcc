"""STAC items: scenes whose bands are local or remote assets.

Bands are identified by common name (``bands`` in STAC 1.1, ``eo:bands`` before), or else by the asset keys of Landsat
Collection 2, HLS and Sentinel-2. pystac is not used: it holds a whole item collection in memory, refuses items without
fields that masks do not need, takes 0.3 s to import, and does not interpret ``eo:bands`` and ``raster:bands``.
"""

from __future__ import annotations

import json
import math
import re
import time
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlparse
from urllib.request import url2pathname

from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geocloud.bands import Conversion, Units
from geocloud.errors import BandError, GeocloudError, SceneNotFoundError, SceneReadError, UnitsError, without_secrets
from geocloud.grid import GeoBox
from geocloud.io.remote import is_remote, read_bytes
from geocloud.readers.archive import decode
from geocloud.readers.band_names import COLOURS, OLI, ProductName
from geocloud.readers.landsat import LEVEL1_GROUPS, Mtl, parse_mtl
from geocloud.readers.source import STAC_SUFFIXES, BandSource, Reader, ReadOptions, SceneRecipe, Source, parse_time

KEYS = (
    (r"^HLS\.?L30", ("B04", "B03", "B02", "B05")),
    (r"^HLS\.?S30", ("B04", "B03", "B02", "B8A")),
    (r"^S2", ("B04", "B03", "B02", "B08")),
    (r"^S2", ("B04_10m", "B03_10m", "B02_10m", "B08_10m")),
    (r"^S2", ("B04_20m", "B03_20m", "B02_20m", "B8A_20m")),
    (r"^L[CO]0[89]", ("SR_B4", "SR_B3", "SR_B2", "SR_B5")),
    (r"^L[CO]0[89]", ("B4", "B3", "B2", "B5")),
    (r"^L[TE]0[457]", ("SR_B3", "SR_B2", "SR_B1", "SR_B4")),
    (r"^L[TE]0[457]", ("B3", "B2", "B1", "B4")),
)
"""Pattern of item IDs, and asset keys of red, green, blue and nir."""
BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
"""Properties with Sentinel-2's processing baseline."""
OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties that are true if the offset of baseline 4 is already applied to the values."""
FRESH = 600  # seconds for which a fetched item collection is reused
PICTURES = {"thumbnail", "overview", "visual"}  # roles of assets that are pictures


class Stac(Reader):
    """Reader of STAC items."""

    virtual = True
    names = re.compile(r"\.(?:geo)?json", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        """True for JSON at a URL, and for local JSON that contains STAC."""
        path = Path(source.label.partition("#")[0])
        if source.form == "url":
            return path.suffix.lower() in STAC_SUFFIXES
        return is_item_path(path if source.form == "name" else source.path)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        try:
            return _recipe(source.place, read_item(source.place), options)
        except UnitsError as error:
            raise UnitsError(f"{source.label}: {error}") from error
        except (KeyError, TypeError, AttributeError, IndexError, FileNotFoundError) as error:
            if isinstance(error, GeocloudError):
                raise
            found = f"{type(error).__name__}: {error}"
            raise SceneReadError(f"{source.place}: not a valid STAC item ({found})") from error

    def files(self, source: Source) -> tuple[str, ...]:
        return tuple(band.path for band in self.recipe(source, ReadOptions()).bands)


def is_item_path(path: Path) -> bool:
    """True for a JSON file that contains STAC."""
    try:
        if path.suffix.lower() not in STAC_SUFFIXES or not path.is_file():
            return False
        document = read_document(str(path))
    except (OSError, ValueError):
        return False
    return bool(document.items) or "stac_version" in document.rest or document.rest.get("type") == "FeatureCollection"


class Document(NamedTuple):
    """A STAC file: an item, an item collection, a collection or a catalog."""

    rest: dict[str, Any]
    """The JSON object, with items replaced by their IDs."""
    items: dict[str, bytes | None]
    """ID → item as JSON; None if several items have this ID."""

    @classmethod
    def parse(cls, text: bytes) -> Document:
        """Parses a STAC file, with one item at a time in memory as Python objects. Raises ValueError."""
        items: dict[str, bytes | None] = {}

        def keep(member: dict[str, Any]) -> Any:
            if member.get("type") != "Feature" or not ("assets" in member or "stac_version" in member):
                return member
            name = str(member.get("id"))
            items[name] = None if name in items else json.dumps(member, separators=(",", ":")).encode()
            return name

        try:
            rest = json.loads(text, object_hook=keep)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return cls(rest if isinstance(rest, dict) else {}, items)


def read_document(place: str) -> Document:
    """STAC file at a path or URL. Raises SceneNotFoundError, SceneReadError, FileNotFoundError, ValueError."""
    return _load(place, int(time.time() / FRESH) if is_remote(place) else Path(place).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load(place: str, stamp: int) -> Document:
    """STAC file, cached while ``stamp`` is unchanged, since items of a collection are requested one by one."""
    return Document.parse(_read(place))


def _read(place: str) -> bytes:
    return read_bytes(place) if is_remote(place) else Path(place).read_bytes()


def read_item(source: str) -> dict[str, Any]:
    """Item in a file or at a URL; ``FILE#ID`` selects one of several. Raises SceneNotFoundError, SceneReadError."""
    place, _, wanted = source.partition("#")
    try:
        items = read_document(place).items
    except SceneReadError:
        raise
    except FileNotFoundError as error:
        raise SceneNotFoundError(f"{place}: no such file") from error
    except (OSError, ValueError) as error:
        raise SceneReadError(f"{place}: cannot be read as a STAC item ({error})") from error
    if not items or (wanted and wanted not in items):
        raise SceneReadError(f"{source}: no STAC item there; 'geocloud batch' reads catalogs and collections")
    if not wanted and len(items) > 1:
        raise SceneReadError(f"{place}: {len(items)} items; name one as {place}#ID, or give all to 'geocloud batch'")
    text = items[wanted or next(iter(items))]
    if text is None:
        raise SceneReadError(f"{source}: several items have this id; give each its own")
    item: dict[str, Any] = json.loads(text)
    return item


def _recipe(source: str, item: dict[str, Any], options: ReadOptions) -> SceneRecipe:
    if options.band_numbers:
        raise BandError(f"{source}: a STAC item names its bands; leave ReadOptions(bands=…) out, or name an asset")
    base, name = source.partition("#")[0], str(item.get("id", PurePosixPath(source).stem))
    assets, properties = item.get("assets") or {}, item.get("properties") or {}
    if not isinstance(assets, dict) or not isinstance(properties, dict):
        raise SceneReadError(f"{source}: assets and properties of a STAC item are objects, these are not")
    chosen = _by_name(assets) or _by_key(assets, name)
    if chosen is None:
        known = ", ".join(assets)[:300] or "there are none"
        raise BandError(f"{source}: cannot tell red, green, blue and near-infrared among its assets ({known})")
    places = [(absolute(base, assets[key]["href"]), index) for key, index in chosen]
    rasters = [_raster(assets[key], index) for key, index in chosen]
    product, mtl = ProductName.parse(name), Mtl()
    units, conversion = _units(rasters, properties, name, product)
    mtl_key = next((key for key in assets if re.fullmatch(r"mtl(?:\.(?:txt|json|xml))?", key, re.IGNORECASE)), None)
    if product.level == "L1" and mtl_key:
        place = absolute(base, assets[mtl_key]["href"])
        mtl = parse_mtl(decode(_read(place)), place)
        conversion = mtl.conversion(product.numbers or OLI, LEVEL1_GROUPS)
    facts: dict[str, Any] = {key: _number(properties.get(f"view:{key}")) for key in ("sun_elevation", "sun_azimuth")}
    facts |= {key: value for key, value in mtl.facts.items() if value is not None}
    facts["acquired"] = parse_time(str(properties.get("datetime"))) or product.acquired
    fills = {_number(raster.get("nodata")) for raster in rasters}
    return SceneRecipe(
        name=re.sub(r"[^\w.\-]", "_", name),
        source=without_secrets(source),
        bands=tuple(BandSource(place, without_secrets(place), index) for place, index in places),
        units=units,
        conversion=conversion,
        fill=fills.pop() if len(fills) == 1 else None,
        georeference=_place(properties | assets[chosen[0][0]]),
        kind="STAC item",
        **facts,
    )


def _units(
    rasters: list[dict[str, Any]], properties: dict[str, Any], name: str, product: ProductName
) -> tuple[Units, Conversion | None]:
    """Units and conversion, by the product's level, the declared scales, or Sentinel-2's processing baseline."""
    applied = any(properties.get(key) is True for key in OFFSET_APPLIED)
    conversion = _scales([raster | {"offset": 0} for raster in rasters] if applied else rasters)
    if product.level:
        return (Units.LANDSAT_L2, conversion) if product.level == "SR" else (Units.LANDSAT_L1, None)
    if conversion:
        return Units.REFLECTANCE, conversion
    versions = (re.fullmatch(r"N?(\d\d?)\.\d+", str(properties.get(key)).strip(), re.IGNORECASE) for key in BASELINES)
    baseline = next(filter(None, versions), None) or re.search(r"_N(\d\d)\d\d_", name, re.IGNORECASE)
    sentinel2 = str(properties.get("platform", "")).lower().startswith("sentinel-2") or name.upper().startswith("S2")
    if not sentinel2 or not (baseline or applied):
        return Units.AUTO, None
    return Units.SENTINEL2_BASELINE4 if baseline and int(baseline[1]) >= 4 and not applied else Units.SENTINEL2, None


def _by_name(assets: dict[str, Any]) -> list[tuple[str, int]] | None:
    """Asset key and band number of each band, by common names: finest pixels, then fewest bands, then TIFF first."""
    offers: list[tuple[str, float, tuple[tuple[int, bool, int], str, int]]] = []
    for order, (key, asset) in enumerate(assets.items()):
        if not isinstance(asset, dict) or "href" not in asset or PICTURES & set(asset.get("roles") or []):
            continue
        bands = [b for b in asset.get("bands") or asset.get("eo:bands") or [] if isinstance(b, dict)]
        rank = (len(bands), "jp2" in str(asset.get("type", "")), order)
        for index, band in enumerate(bands, 1):
            size = _number(band.get("gsd")) or _number(asset.get("gsd")) or math.inf
            offers.append((str(band.get("eo:common_name") or band.get("common_name")), size, (rank, key, index)))
    sizes = sorted({size for _, size, _ in offers})
    for allowed in (*([size] for size in sizes), sizes):
        fitting = [
            [(names.index(name), *rest) for name, size, rest in offers if name in names and size in allowed]
            for names in COLOURS
        ]
        if all(fitting):
            return [min(several)[2:] for several in fitting]
    return None


def _by_key(assets: dict[str, Any], name: str) -> list[tuple[str, int]] | None:
    """Asset key and band number of each band, by asset keys; None: unknown."""
    named = tuple(next((key for key in keys if key in assets), "") for keys in COLOURS)
    usual = (keys for pattern, keys in KEYS if re.match(pattern, name))
    return next(([(key, 1) for key in keys] for keys in (named, *usual) if {*keys} <= {*assets}), None)


def _raster(asset: dict[str, Any], index: int) -> dict[str, Any]:
    """Scale, offset and nodata of a band, from the band or asset (STAC 1.1) or ``raster:bands`` (STAC 1.0)."""
    values: dict[str, Any] = {}
    for place in (
        asset,
        *(band for key in ("bands", "raster:bands") for band in (asset.get(key) or [])[index - 1 :][:1]),
    ):
        declared = {key: place.get(f"raster:{key}", place.get(key)) for key in ("scale", "offset", "nodata")}
        values |= {key: value for key, value in declared.items() if value is not None}
    return values


def _scales(bands: list[dict[str, Any]]) -> Conversion | None:
    """Declared conversion; None if a band has no scale, and for scale 1 and offset 0, which rio-stac always writes."""
    if not all("scale" in band for band in bands):
        return None
    try:
        pairs = [(float(band["scale"]), float(band.get("offset", 0))) for band in bands]
    except (TypeError, ValueError) as error:
        raise UnitsError(f"a scale or offset of the STAC item is no number ({error})") from error
    return None if {*pairs} == {(1, 0)} else Conversion.of(*zip(*pairs, strict=True))


def _place(properties: dict[str, Any]) -> GeoBox | None:
    """CRS of the projection extension, with a grid of one pixel; None: unknown."""
    code = properties.get("proj:code") or properties.get("proj:epsg") or properties.get("proj:wkt2")
    try:
        return GeoBox(1, 1, Affine.identity(), CRS.from_user_input(code)) if code else None
    except (CRSError, TypeError, ValueError):
        return None


def absolute(base: str, href: str) -> str:
    """Path or URL of a link, which may be relative to the STAC file ``base``."""
    if is_remote(href):
        return href
    if href.startswith("file://"):
        return url2pathname(urlparse(href).path)  # %20 is a space; on Windows a drive follows /
    if is_remote(base):  # urljoin does not know s3, gs and az
        scheme, _, place = base.partition("://")
        return f"{scheme}://" + urljoin(f"http://{place}", href).removeprefix("http://")
    path = Path(base).parent / href
    return str(path if path.exists() or "%" not in href else Path(base).parent / unquote(href))


def _number(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None
