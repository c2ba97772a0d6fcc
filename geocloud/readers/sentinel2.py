"""Sentinel-2 products as ESA gives them: a folder ….SAFE, or an archive of one, Level-1C and Level-2A.

Their metadata tell what the values mean. Names changed in December 2016; both kinds are read, and a product from before
may hold several granules.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geocloud.bands import BANDS, Conversion, Units
from geocloud.errors import BandError, SceneReadError
from geocloud.readers.archive import Container, open_tree
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe
from geocloud.readers.mtd import LEVELS, TILES, Mtd, parse_mtd

log = logging.getLogger(__name__)

PRODUCT_ID = re.compile(
    r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{6}"
    r"|S2[A-D]_(?:OPER|USER)_PRD_MSIL(?:1C|2A)_\w{4}_\d{8}T\d{6}_R\d{3}_V\d{8}T\d{6}_\d{8}T\d{6}(?:_T\d{2}[A-Z]{3})?",
    re.IGNORECASE,
)
FOLDER = re.compile(r"(?P<name>.+)\.SAFE", re.IGNORECASE)
PRODUCT_FILE = re.compile(r"(?:MTD_MSIL(?:1C|2A)|S2[A-D]_(?:OPER|USER)_MTD_SAFL(?:1C|2A)\w*)\.xml", re.IGNORECASE)
TILE_FILE = re.compile(r"(?:MTD_TL|S2[A-D]_(?:OPER|USER)_MTD_L(?:1C|2A)_\w+)\.xml", re.IGNORECASE)
BAND_FILE = re.compile(r"(?!MSK_)(?:.*_)?(?P<band>B(?:0[1-9]|1[0-2]|8A))(?:_(?P<size>[1-6]0)m)?\.jp2", re.IGNORECASE)
TILE = re.compile(r"_(T\d{2}[A-Z]{3})(?:_|$)", re.IGNORECASE)

FILES = ("B04", "B03", "B02", "B08")
"""Red, green, blue and nir, at 10 m."""

GRANULES = "GRANULE"
ASIDE = {"QI_DATA", "AUX_DATA", "DATASTRIP", "HTML"}
"""Folders whose rasters are named like bands and are none."""


@dataclass(frozen=True, slots=True)
class Granule:
    """One tile of a product: its folder below GRANULE, its bands at 10 m (B04 → name), and its metadata file's name."""

    folder: str
    bands: dict[str, str]
    metadata: str | None

    @property
    def tile(self) -> str:
        """T32TQM, or the folder's name where that tells none."""
        found = TILE.search(self.folder) or TILE.search(next(iter(self.bands.values()), "").replace("/", "_"))
        return found[1].upper() if found else self.folder


def is_product(folder: str, names: Iterable[str]) -> bool:
    """True for a product's folder, by its name and the names of what is in it, whether it is whole or not."""
    names = tuple(names)
    if any(PRODUCT_FILE.fullmatch(name) for name in names):
        return True
    return bool(FOLDER.fullmatch(folder)) and (folder.upper().startswith("S2") or GRANULES in names)


def find_root(path: Path) -> Path | None:
    """The folder of the product that a folder or file is or belongs to, None where there is none.

    That is the folder itself, all at and below its GRANULE, and its metadata and bands.
    """
    if path.is_dir() and _is_root(path):
        return path
    here = path.absolute()
    for folder in (here, *here.parents):
        if folder.name == GRANULES:
            return folder.parent if _is_root(folder.parent) else None
    known = PRODUCT_FILE.fullmatch(path.name) or BAND_FILE.fullmatch(path.name) or path.name.lower() == "manifest.safe"
    return path.parent if known and path.is_file() and _is_root(path.parent) else None


def _is_root(folder: Path) -> bool:
    try:
        return is_product(folder.absolute().name, (entry.name for entry in folder.iterdir()))
    except OSError:
        return False


def find_packed(names: tuple[str, ...]) -> list[str]:
    """The folders of products in an archive, by their paths in it; ``""`` for one without a folder of its own."""
    roots = set()
    for name in names:
        *folders, base = name.split("/")
        if "__MACOSX" in folders:
            continue
        if PRODUCT_FILE.fullmatch(base):
            roots.add("/".join(folders))
        for depth, folder in enumerate(folders, 1):
            if FOLDER.fullmatch(folder) and is_product(folder, folders[depth : depth + 1]):
                roots.add("/".join(folders[:depth]))
    return sorted(roots)


def find_granules(names: Iterable[str]) -> list[Granule]:
    """The granules of a product, by the names of its files."""
    bands: dict[str, dict[str, str]] = defaultdict(dict)
    metadata: dict[str, str] = {}
    for name in names:
        *folders, base = name.split("/")
        if ASIDE & {folder.upper() for folder in folders}:
            continue
        granule = folders[1] if len(folders) > 1 and folders[0] == GRANULES else ""
        found = BAND_FILE.fullmatch(base)
        if found and found["size"] in (None, "10"):
            bands[granule].setdefault(found["band"].upper(), name)
        elif TILE_FILE.fullmatch(base):
            metadata.setdefault(granule, name)
    there = sorted({*bands, *metadata})
    return [Granule(g, bands[g], metadata.get(g)) for g in there if g or len(there) == 1]


def safe_scenes(root: Path) -> list[tuple[Path, str]]:
    """What is to be masked of a product: itself, or each of its granules where there are several; and their names."""
    container = open_tree(root)
    granules = find_granules(container.names)
    if len(granules) < 2:
        return [(root, _name(container))]
    return [(root / GRANULES / g.folder, f"{_name(container)}_{g.tile}") for g in granules]


def safe_files(path: Path) -> tuple[str, ...]:
    """The bands and metadata of the product that a path belongs to, in a fixed order."""
    root, member = _open(path)
    container = open_tree(root)
    granules = find_granules(container.names)
    mine = [g for g in granules if g.folder == member] or granules
    names = [name for name in container.names if PRODUCT_FILE.fullmatch(name)]
    for granule in mine:
        names += [*granule.bands.values(), *([granule.metadata] if granule.metadata else [])]
    return tuple(container.path_of(name) for name in sorted(names))


def open_safe(path: Path, options: ReadOptions) -> SceneRecipe:
    """The recipe of the product that a path belongs to. Raises BandError, SceneReadError."""
    root, member = _open(path)
    return safe_recipe(str(path), open_tree(root), options, member)


def _open(path: Path) -> tuple[Path, str]:
    """A product's folder, and the granule that a path in it picks, if any."""
    root = find_root(path)
    assert root is not None
    parts = path.absolute().relative_to(root.absolute()).parts
    return root, parts[1] if len(parts) > 1 else ""


def safe_recipe(source: str, container: Container, options: ReadOptions, member: str = "") -> SceneRecipe:
    """The recipe of the product whose files a container holds, and of its granule ``member``, if it has several.

    Raises BandError for missing bands, and where several granules leave open which is meant; SceneReadError for missing
    and damaged metadata.
    """
    granules = find_granules(container.names)
    granule = _choose(source, granules, member)
    wanted = tuple(f"B{number:02}" for number in options.bands) if options.bands else FILES
    missing = [f"{band} ({file})" for band, file in zip(BANDS, wanted, strict=False) if file not in granule.bands]
    if missing:
        raise BandError(
            f"{source}: no {' and no '.join(missing)} at 10 m; found {', '.join(sorted(granule.bands)) or 'no band'}; "
            "fetch the product whole"
        )
    mtd = _metadata(source, container, options)
    tile = _parse(container, granule.metadata, TILES) if granule.metadata else None
    units, conversion = _units(mtd, wanted)
    name = _name(container)
    return SceneRecipe(
        name=name if len(granules) == 1 else f"{name}_{granule.tile}",
        source=source,
        bands=tuple(
            BandSource(container.path_of(granule.bands[file]), container.label(granule.bands[file])) for file in wanted
        ),
        units=units,
        conversion=conversion,
        fill=0,
        acquired=(mtd.acquired if mtd else None) or (tile.acquired if tile else None),
        sun_elevation=tile.sun_elevation if tile else None,
        sun_azimuth=tile.sun_azimuth if tile else None,
        kind=f"Sentinel-2 {mtd.level if mtd else 'product'}, tile {granule.tile}",
    )


def _choose(source: str, granules: list[Granule], member: str) -> Granule:
    mine = [granule for granule in granules if granule.folder == member]
    if mine:
        return mine[0]
    if not granules:
        raise BandError(f"{source}: no band files (GRANULE/…/IMG_DATA/…_B04.jp2) in it; fetch the product whole")
    if len(granules) > 1:
        shown = ", ".join(sorted(granule.tile for granule in granules)[:12]) + (" …" if len(granules) > 12 else "")
        raise BandError(
            f"{source}: {len(granules)} granules in one product (tiles {shown}); name the folder of one, below GRANULE"
        )
    return granules[0]


def _metadata(source: str, container: Container, options: ReadOptions) -> Mtd | None:
    names = [name for name in container.names if PRODUCT_FILE.fullmatch(name)]
    if len(names) > 1:
        raise SceneReadError(f"{source}: several products in one folder ({', '.join(names)}); give each its own")
    if names:
        return _parse(container, names[0], tuple(LEVELS))
    if options.units is Units.AUTO and options.scale is None:
        raise SceneReadError(
            f"{source}: no product metadata (MTD_MSIL1C.xml or MTD_MSIL2A.xml), which tell what the values mean; "
            "fetch the product whole, or say --units"
        )
    return None


def _parse(container: Container, name: str, roots: tuple[str, ...]) -> Mtd:
    mtd = parse_mtd(container.read_text(name), container.label(name))
    if mtd.root not in roots:
        raise SceneReadError(f"{mtd.label}: holds {mtd.root}, wanted {' or '.join(roots)}")
    return mtd


def _units(mtd: Mtd | None, wanted: tuple[str, ...]) -> tuple[Units, Conversion | None]:
    """What the metadata say; from baseline 04.00 on values have an offset, and where it is not said, nothing is."""
    if mtd is None:
        return Units.AUTO, None
    if not mtd.has_offsets and (mtd.baseline or 0) >= 4:
        log.warning("%s: of baseline %05.2f, and says no offsets; the values must tell", mtd.label, mtd.baseline)
        return Units.AUTO, None
    return Units.SENTINEL2_BASELINE4 if mtd.has_offsets else Units.SENTINEL2, mtd.conversion(wanted)


def _name(container: Container) -> str:
    found = FOLDER.fullmatch(container.stem)
    return found["name"] if found else container.stem
