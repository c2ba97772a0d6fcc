"""Landsat products: band files side by side in a folder or archive, with or without their metadata file."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from geocloud.bands import BANDS, Conversion, Units
from geocloud.errors import BandError
from geocloud.readers.archive import Container
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe
from geocloud.readers.mtl import LEVEL1_GROUPS, LEVEL2_GROUPS, Mtl, parse_mtl

log = logging.getLogger(__name__)

PRODUCT_ID = re.compile(
    r"L[COTEM]0(?P<satellite>[1-9])_(?P<level>L1TP|L1GT|L1GS|L2SP|L2SR)_\d{6}_(?P<date>\d{8})"
    r"(?:_\d{8})?(?:_0[12])?(?:_(?:T1|T2|RT))?",
    re.IGNORECASE,
)
"""A Collection 1 or 2 product id; the processing date and all after it may be missing."""

SCENE_ID = re.compile(r"L[COTEM](?P<satellite>[1-9])\d{6}(?P<year>\d{4})(?P<day>\d{3})[A-Z]{3}\d{2}", re.IGNORECASE)
"""A scene id from before collections, such as LC80200392015216LGN00."""

BAND_FILE = re.compile(
    r"(?P<prefix>.*?)(?:^|[_\-. ])(?P<surface>SR_)?(?P<word>B|band)0?(?P<number>\d{1,2})(?P<rest>[_\-. ].*)?"
    r"\.(?:tiff?|jp2|img)",
    re.IGNORECASE,
)
METADATA_FILE = re.compile(r"(?P<prefix>.*?)_?MTL\.(?P<format>txt|json)", re.IGNORECASE)

OLI = (4, 3, 2, 5)
TM = (3, 2, 1, 4)
"""Numbers of red, green, blue and nir: OLI on Landsat 8 and 9, TM and ETM+ on Landsat 4 to 7."""

NO_BLUE = "Landsat MSS saw green, red and near-infrared, but no blue, and cannot be masked; take a TM or OLI product"


class Level(StrEnum):
    """What band files hold: Level 1, or surface reflectance of Collection 2 or Collection 1."""

    L1 = "L1"
    SR = "SR"
    SR_C1 = "SR of Collection 1"


@dataclass(frozen=True, slots=True)
class ProductName:
    """What a name tells of its product."""

    satellite: int | None = None
    level: Level | None = None
    acquired: datetime | None = None
    text: str | None = None

    @property
    def is_mss(self) -> bool:
        """True for a product of the Multispectral Scanner, which flew on Landsat 1 to 5."""
        return (self.text or "").upper().startswith("LM")

    @classmethod
    def parse(cls, name: str) -> ProductName:
        """Looks for a product or scene id anywhere in a name."""
        if found := PRODUCT_ID.search(name):
            level = Level.L1 if found["level"].upper().startswith("L1") else Level.SR
            return cls(int(found["satellite"]), level, _date(found["date"], "%Y%m%d"), found[0])
        if found := SCENE_ID.search(name):
            return cls(int(found["satellite"]), None, _date(found["year"] + found["day"], "%Y%j"), found[0])
        if found := re.search(r"(?:^|[^a-z])(?:landsat|lc|l)[_\- ]?0?([4-9])(?:[^0-9]|$)", name, re.IGNORECASE):
            return cls(int(found[1]))
        return cls()


def _date(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class BandFiles:
    """The band files of one product and level: number → name inside the container."""

    prefix: str
    level: Level
    files: dict[int, str]


def belongs_to_product(name: str, names: tuple[str, ...]) -> bool:
    """True for a file that belongs to band files among its neighbours: a band, the MTL, a quality band, and so on."""
    return bool(_belonging(find_products(names), name))


def find_products(names: tuple[str, ...]) -> list[BandFiles]:
    """Groups band files by product and level."""
    groups: dict[tuple[str, Level, str], dict[int, str]] = defaultdict(dict)
    for name in names:
        folder, _, base = name.rpartition("/")
        if base.startswith("._"):
            continue  # what macOS adds to archives
        if found := BAND_FILE.fullmatch(base):
            if found["prefix"].upper().endswith("_ST"):
                continue  # surface temperature
            level = Level.L1
            if found["surface"]:
                level = Level.SR_C1 if found["word"].lower() == "band" else Level.SR
            prefix = f"{folder}/{found['prefix']}" if folder else found["prefix"]
            groups[prefix, level, (found["rest"] or "").lower()].setdefault(int(found["number"]), name)
    return [BandFiles(prefix, level, files) for (prefix, level, _), files in groups.items()]


def landsat_recipe(container: Container, options: ReadOptions, member: str | None = None) -> SceneRecipe:
    """The recipe of the one product in a container, or of the product that a named file (``member``) belongs to.

    Raises BandError, SceneReadError.
    """
    product = _choose(container, options, member)
    mtl = _metadata(container, product.prefix, member)
    name = _product_name(container, product.prefix)
    if name.is_mss or (mtl is not None and mtl.sensor == "MSS"):
        raise BandError(f"{container.source}: {NO_BLUE}")
    numbers = options.bands or _numbers(container, product, mtl.satellite if mtl else None, name)
    missing = [
        f"{band} ({_file_word(product.level)}{number})"
        for band, number in zip(BANDS, numbers, strict=False)
        if number not in product.files
    ]
    if missing:
        found = ", ".join(f"{_file_word(product.level)}{n}" for n in sorted(product.files))
        raise BandError(
            f"{container.source}: no {' and no '.join(missing)}; found {found}; "
            "all of red, green, blue and nir of one product are needed (or, without nir, --bands with the first three)"
        )
    bands = tuple(BandSource(container.path_of(product.files[n]), container.label(product.files[n])) for n in numbers)
    units, conversion, fill, kind = Units.LANDSAT_L1, None, None, f"Landsat {product.level}"
    if product.level is Level.SR:
        units, conversion = Units.LANDSAT_L2, mtl.conversion(numbers, LEVEL2_GROUPS) if mtl else None
    elif product.level is Level.SR_C1:
        # Landsat 8 Collection 1 Surface Reflectance Code Product Guide: scale 0.0001, fill −9999.
        units, conversion, fill = Units.LANDSAT_L2, Conversion.uniform(1e-4), -9999
    elif mtl:
        conversion = mtl.conversion(numbers, LEVEL1_GROUPS)
    elif name.level is not Level.L1:  # bare bands, which may hold anything
        units, kind = Units.AUTO, "Landsat bands"
    stem = product.prefix.rpartition("/")[2]
    return SceneRecipe(
        name=stem if ProductName.parse(stem).text else name.text or stem.strip("_-. ") or container.stem,
        source=container.source if member is None else container.label(member),
        bands=bands,
        units=units,
        conversion=conversion,
        fill=fill,
        acquired=(mtl.acquired if mtl else None) or name.acquired,
        sun_elevation=mtl.sun_elevation if mtl else None,
        sun_azimuth=mtl.sun_azimuth if mtl else None,
        georeference=mtl.grid if mtl else None,
        kind=kind,
    )


def _choose(container: Container, options: ReadOptions, member: str | None) -> BandFiles:
    products = find_products(container.names)
    if member is not None:
        products = _belonging(products, member)
    wanted = {Units.LANDSAT_L1: {Level.L1}, Units.LANDSAT_L2: {Level.SR, Level.SR_C1}}.get(options.units)
    if wanted and len({p.level for p in products}) > 1:
        products = [p for p in products if p.level in wanted]
    if not products:
        raise BandError(f"{container.source}: no Landsat band files (…_B4.TIF or …_SR_B4.TIF) in it, nor Sentinel-2's")
    products = [p for p in products if set(p.files) & {1, 2, 3, 4, 5}] or products
    if len(products) == 1:
        return products[0]
    # Files of other resolutions or kinds may stand beside the bands: what is whole counts.
    whole = [p for p in products if set(OLI) <= set(p.files) or set(TM) <= set(p.files)]
    if not whole and len({p.level for p in products}) > 1:
        parts = "; ".join(f"{p.level}: " + ", ".join(f"B{n}" for n in sorted(p.files)) for p in products)
        raise BandError(f"{container.source}: Level-1 and surface reflectance bands mixed, neither whole ({parts})")
    whole = whole or products
    prefixes = sorted({p.prefix for p in whole})
    levels = {p.level: p for p in whole}
    if len(prefixes) > 2 or (len(prefixes) == 2 and (len(levels) == 1 or _contradict(*prefixes))):
        shown = ", ".join(p.rstrip("_-. ") for p in prefixes[:4]) + (" …" if len(prefixes) > 4 else "")
        raise BandError(f"{container.source}: {len(prefixes)} products in one place ({shown}); name one file of one")
    if len(levels) < len(whole):
        raise BandError(f"{container.source}: several files for the same band; name one file of the ones that you mean")
    if len(levels) > 1:
        log.warning("%s: holds Level-1 and surface reflectance bands; Level-1 is used", container.source)
    return levels.get(Level.L1) or whole[0]


def _belonging(products: list[BandFiles], member: str) -> list[BandFiles]:
    holding = [p for p in products if member in p.files.values()]
    if holding:
        return holding
    stems = {id(p): p.prefix.lower().rstrip("_-. ") for p in products}
    named = [p for p in products if stems[id(p)] and member.lower().startswith(stems[id(p)])]
    longest = max((len(stems[id(p)]) for p in named), default=0)
    bare = METADATA_FILE.fullmatch(member) or BAND_FILE.fullmatch(member)  # MTL.txt beside B4.TIF
    return [p for p in named if len(stems[id(p)]) == longest] or [p for p in products if bare and not stems[id(p)]]


def _metadata(container: Container, prefix: str, member: str | None) -> Mtl | None:
    """The metadata file of a product: the one that was named, the one with its prefix, or the only one there."""
    if member is not None and METADATA_FILE.fullmatch(member):
        return parse_mtl(container.read_text(member), container.label(member))
    folder, _, stem = prefix.rpartition("/")
    candidates = []
    for name in container.names:
        where, _, base = name.rpartition("/")
        if where == folder and (found := METADATA_FILE.fullmatch(base)):
            candidates.append((found["prefix"].lower(), name))
    stem = stem.lower().rstrip("_-. ")
    same = [name for candidate, name in candidates if candidate == stem]
    if not same and len({candidate for candidate, _ in candidates}) == 1:
        same = [name for candidate, name in candidates if not _contradict(candidate, stem)]
    if not same:
        return None
    name = sorted(same)[-1]  # .txt before .json, when both are there
    return parse_mtl(container.read_text(name), container.label(name))


def _contradict(one: str, other: str) -> bool:
    """True when two names hold product ids of different acquisitions."""
    ids = [re.search(r"l[cotem]0\d_l\w{3}_(\d{6}_\d{8})", name, re.IGNORECASE) for name in (one, other)]
    return all(ids) and len({found[1] for found in ids if found}) == 2


def _product_name(container: Container, prefix: str) -> ProductName:
    """What the files' own names tell, or else the folder's or archive's."""
    own = ProductName.parse(prefix.rpartition("/")[2])
    if own.text:
        return own
    outer = ProductName.parse(container.stem)
    if outer.text or own.satellite is None:
        return outer
    return own


def _numbers(
    container: Container, product: BandFiles, satellite: int | None, name: ProductName
) -> tuple[int, int, int, int]:
    satellite = satellite or name.satellite
    if satellite is not None:
        return OLI if satellite >= 8 else TM
    present = set(product.files)
    oli, tm = set(OLI) <= present, set(TM) <= present
    if oli and (not tm or present & {9, 10, 11}):
        return OLI
    if tm and not oli:
        return TM
    if not oli and not tm:
        return OLI
    raise BandError(
        f"{container.source}: bands {', '.join(f'B{n}' for n in sorted(present))} may be Landsat 4-7's or 8-9's; "
        "say --bands 4,3,2,5 for Landsat 8-9 or --bands 3,2,1,4 for Landsat 4-7"
    )


def _file_word(level: Level) -> str:
    return {Level.L1: "B", Level.SR: "SR_B", Level.SR_C1: "sr_band"}[level]
