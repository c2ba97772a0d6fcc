"""STAC items: a scene whose four bands are assets, wherever those are.

Bands are told by their common names (``bands`` of STAC 1.1, ``eo:bands`` before), then by the assets' keys: Landsat
Collection 2, HLS, Sentinel-2. JSON is read without pystac, which keeps a whole item collection in memory, refuses items
that lack what a mask does not need, takes 0.3 s to load, and leaves ``eo:bands`` and ``raster:bands`` as they are.
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
"""An item's ID → the keys of red, green, blue and nir."""
BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
"""Properties with Sentinel-2's processing baseline."""
OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties that are true if baseline 4's offset has been taken off the values already."""
FRESH = 600  # seconds for which a remote item collection is not fetched again
MTL_KEYS = ("mtl.txt", "MTL.txt", "mtl.json", "MTL.json", "mtl.xml", "MTL.xml", "MTL")
PICTURES = {"thumbnail", "overview", "visual"}  # roles of assets that are pictures


class Stac(Reader):
    """STAC items."""

    virtual = True
    names = re.compile(r"\.(?:geo)?json", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        """True for JSON at a URL, and on a disk for JSON that holds STAC."""
        path = Path(without_secrets(source.place).partition("#")[0])
        if path.suffix.lower() not in STAC_SUFFIXES or source.form == "folder":
            return False
        return source.form == "url" or is_item_path(path if source.form == "name" else source.path)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        try:
            return _recipe(source.place, read_item(source.place), options)
        except GeocloudError:
            raise
        except (KeyError, TypeError, AttributeError, IndexError, FileNotFoundError) as error:
            found = f"{type(error).__name__}: {error}"
            raise SceneReadError(f"{source.place}: not as a STAC item should be ({found})") from error

    def files(self, source: Source) -> tuple[str, ...]:
        return tuple(band.path for band in self.recipe(source, ReadOptions()).bands)


def is_item_path(path: Path) -> bool:
    """True for a JSON file that says it is STAC."""
    try:
        if path.suffix.lower() not in STAC_SUFFIXES or not path.is_file():
            return False
        document = read_document(str(path))
    except (OSError, ValueError):
        return False
    return bool(document.items) or "stac_version" in document.rest or document.rest.get("type") == "FeatureCollection"


class Document(NamedTuple):
    """A JSON file of STAC: an item, an item collection, a collection or a catalog."""

    rest: dict[str, Any]
    """All of it but the items, which are replaced by their IDs."""
    items: dict[str, bytes | None]
    """Items as JSON, by ID; None: several have this ID."""

    @classmethod
    def parse(cls, text: bytes) -> Document:
        """Parses a file, of whose items one at a time is in memory as Python objects. Raises ValueError."""
        items: dict[str, bytes | None] = {}

        def keep(member: dict[str, Any]) -> Any:
            if member.get("type") != "Feature" or not ("assets" in member or "stac_version" in member):
                return member
            name = str(member.get("id"))
            items[name] = None if name in items else json.dumps(member, separators=(",", ":")).encode()
            return name

        rest = json.loads(text, object_hook=keep)
        return cls(rest if isinstance(rest, dict) else {}, items)


def read_document(place: str) -> Document:
    """The STAC file at a path or URL. Raises SceneNotFoundError, SceneReadError, FileNotFoundError, ValueError."""
    return _load(place, int(time.time() / FRESH) if is_remote(place) else Path(place).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load(place: str, stamp: int) -> Document:
    """A file's content, kept while ``stamp`` is the same: of an item collection every item is asked for by itself."""
    return Document.parse(_read(place))


def _read(place: str) -> bytes:
    return read_bytes(place) if is_remote(place) else Path(place).read_bytes()


def read_item(source: str) -> dict[str, Any]:
    """The item in a file or at an address; ``FILE#ID`` names one of several. Raises SceneReadError."""
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
    mtl_key = next((key for key in MTL_KEYS if key in assets), None)
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
        georeference=_georeference(properties | assets[chosen[0][0]]),
        kind="STAC item",
        **facts,
    )


def _units(
    rasters: list[dict[str, Any]], properties: dict[str, Any], name: str, product: ProductName
) -> tuple[Units, Conversion | None]:
    """Decided by the product's level, the scales that are declared, or Sentinel-2's processing baseline."""
    applied = any(properties.get(key) is True for key in OFFSET_APPLIED)
    conversion = _scales([raster | {"offset": 0} for raster in rasters] if applied else rasters)
    if product.level:
        return (Units.LANDSAT_L2, conversion) if product.level == "SR" else (Units.LANDSAT_L1, None)
    if conversion:
        return Units.REFLECTANCE, conversion
    told = (re.fullmatch(r"N?(\d\d?)\.\d+", str(properties.get(key)).strip(), re.IGNORECASE) for key in BASELINES)
    baseline = next(filter(None, told), None) or re.search(r"_N(\d\d)\d\d_", name, re.IGNORECASE)
    sentinel2 = str(properties.get("platform", "")).lower().startswith("sentinel-2") or name.upper().startswith("S2")
    if not sentinel2 or not (baseline or applied):
        return Units.AUTO, None
    return Units.SENTINEL2_BASELINE4 if baseline and int(baseline[1]) >= 4 and not applied else Units.SENTINEL2, None


def _by_name(assets: dict[str, Any]) -> list[tuple[str, int]] | None:
    """Asset and band number of each band by common names: of the finest resolution; single bands, TIFF first."""
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
    """Asset of each band, told by the assets' keys."""
    named = tuple(next((key for key in keys if key in assets), "") for keys in COLOURS)
    usual = (keys for pattern, keys in KEYS if re.match(pattern, name))
    return next(([(key, 1) for key in keys] for keys in (named, *usual) if {*keys} <= {*assets}), None)


def _raster(asset: dict[str, Any], index: int) -> dict[str, Any]:
    """Scale, offset and nodata of a band: STAC 1.1 says them of the band or the asset, 1.0 in ``raster:bands``."""
    values = {key: asset.get(f"raster:{key}") for key in ("scale", "offset")}
    values["nodata"] = asset.get("raster:nodata", asset.get("nodata"))
    for bands in ("bands", "raster:bands"):
        for band in list(asset.get(bands) or [])[index - 1 : index]:
            told = {key: band.get(f"raster:{key}", band.get(key)) for key in values}
            values |= {key: value for key, value in told.items() if value is not None}
    return {key: value for key, value in values.items() if value is not None}


def _scales(bands: list[dict[str, Any]]) -> Conversion | None:
    """The declared conversion; None if a band has none, and for scale 1 and offset 0, which rio-stac always writes."""
    if not all("scale" in band for band in bands):
        return None
    try:
        pairs = [(float(band["scale"]), float(band.get("offset", 0))) for band in bands]
    except (TypeError, ValueError) as error:
        raise UnitsError(f"a scale or offset of the STAC item is no number ({error})") from error
    return None if {*pairs} == {(1, 0)} else Conversion.of(*zip(*pairs, strict=True))


def _georeference(told: dict[str, Any]) -> GeoBox | None:
    """The projection extension's CRS and, if it tells shape and transform, the grid."""
    code = told.get("proj:code") or told.get("proj:epsg") or told.get("proj:wkt2")
    try:
        height, width = told.get("proj:shape") or (1, 1)
        transform = Affine(*(told.get("proj:transform") or Affine.identity())[:6])
        return GeoBox(int(height), int(width), transform, CRS.from_user_input(code)) if code else None
    except (CRSError, TypeError, ValueError):
        return None


def absolute(base: str, href: str) -> str:
    """The path or URL that a link in a STAC file means, which may be relative to the file."""
    if is_remote(href):
        return href
    if href.startswith("file://"):
        return url2pathname(urlparse(href).path)  # %20 is a space; on Windows a drive follows /
    if is_remote(base):  # urljoin knows no scheme of a store
        scheme, _, place = base.partition("://")
        return f"{scheme}://" + urljoin(f"http://{place}", href).removeprefix("http://")
    path = Path(base).parent / href
    return str(path if path.exists() or "%" not in href else Path(base).parent / unquote(href))


def _number(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None
