"""Bare Sentinel-2 bands: files side by side without a product around them, told from Landsat's by their names.

The numbers are alike and mean other bands: B05 is near-infrared on Landsat 8, and red edge here.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from geocloud.errors import BandError
from geocloud.readers.archive import Container
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe
from geocloud.readers.hls import GRANULE_FILE
from geocloud.readers.landsat import METADATA_FILE, ProductName

log = logging.getLogger(__name__)

BAND_FILE = re.compile(
    r"(?!MSK_)(?P<prefix>.*?)(?:^|[_\-. ])(?:B|band)(?P<band>0?[1-9]|1[0-2]|8A)(?P<rest>[_\-. ].*)?\.(?:tiff?|jp2|img)",
    re.IGNORECASE,
)
NAMED = re.compile(
    r"(?:^|[^A-Z0-9])(?:T\d{2}[A-Z]{3}_\d{8}T\d{6}|(?:S|sentinel[_\- ]?)2[A-D]?)(?:[^A-Z0-9]|$)", re.IGNORECASE
)
"""A tile with its time, or the satellite, in a file's or folder's name."""

TIME = re.compile(r"(?:^|[^0-9])(\d{8}T\d{6})(?:[^0-9]|$)", re.IGNORECASE)

RED, GREEN, BLUE = "B04", "B03", "B02"
NIR = ("B08", "B8A")
"""Near-infrared: of the two the first that is there."""

ONLY_HERE = {"B8A", "B12"}
"""Bands that Landsat has not."""

SIZES = ("10m", "", "20m", "60m")
"""What follows a band's name, finest first; without a size, red, green, blue and B08 are at 10 m."""


@dataclass(frozen=True, slots=True)
class Bands:
    """Files of one name but for the band: B04 → name. ``rest`` is what follows the band's name, 10m for example."""

    prefix: str
    rest: str
    files: dict[str, str]

    def chosen(self, wanted: tuple[tuple[str, ...], ...]) -> tuple[str, ...] | None:
        """Of each band that is wanted the first name that is there; None where one is missing."""
        found = tuple(next((name for name in names if name in self.files), "") for names in wanted)
        return found if all(found) else None


def find_bands(names: tuple[str, ...], stem: str = "") -> list[Bands]:
    """Sentinel-2's bands among files in a place named ``stem``.

    They are told by a tile or the satellite in their names, by B8A, and, unless something says Landsat, by the place's
    name, B12, or B08 without B05.
    """
    groups: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for name in names:
        folder, _, base = name.rpartition("/")
        found = BAND_FILE.fullmatch(base)
        if found and not base.startswith("._") and not GRANULE_FILE.fullmatch(base):
            band = found["band"].upper()
            prefix = f"{folder}/{found['prefix']}" if folder else found["prefix"]
            rest = (found["rest"] or "").strip("_-. ").lower()
            groups[prefix][rest].setdefault(f"B{band.zfill(2)}", name)
    has_mtl = any(METADATA_FILE.fullmatch(name.rpartition("/")[2]) for name in names)
    return [
        Bands(prefix, rest, files)
        for prefix, parts in groups.items()
        if _is_sentinel2(prefix.rpartition("/")[2], {band for files in parts.values() for band in files}, stem, has_mtl)
        for rest, files in parts.items()
    ]


def _is_sentinel2(prefix: str, bands: set[str], stem: str, has_mtl: bool) -> bool:
    if NAMED.search(prefix) or "B8A" in bands:
        return True
    if has_mtl or ProductName.parse(prefix).satellite is not None:
        return False
    if ProductName.parse(stem).satellite is not None:
        return False
    alone = {RED, GREEN, BLUE, "B08"} <= bands and "B05" not in bands
    return bool(NAMED.search(stem) or ONLY_HERE & bands or alone)


def bands_recipe(container: Container, options: ReadOptions, member: str | None = None) -> SceneRecipe:
    """The recipe of the one set of bands in a container, or of that which a named file (``member``) belongs to.

    Raises BandError.
    """
    groups = find_bands(container.names, container.stem)
    wanted: tuple[tuple[str, ...], ...] = ((RED,), (GREEN,), (BLUE,), NIR)
    if options.bands:
        wanted = tuple((f"B{number:02}",) for number in options.bands)
    group = _choose(container, groups, wanted, member)
    bands = group.chosen(wanted)
    assert bands is not None
    source = container.source if member is None else container.label(member)
    nir = f", near-infrared is {bands[3]}" if len(bands) == 4 else ""
    log.warning("%s: bands of Sentinel-2 by their names%s; no metadata, so their values tell the units", source, nir)
    prefix = group.prefix.rpartition("/")[2]
    return SceneRecipe(
        name=prefix.strip("_-. ") or container.stem,
        source=source,
        bands=tuple(BandSource(container.path_of(group.files[b]), container.label(group.files[b])) for b in bands),
        acquired=_time(prefix) or _time(container.stem),
        kind="Sentinel-2 bands",
    )


def belonging(groups: list[Bands], member: str) -> list[Bands]:
    """The groups that hold a file, or else those with whose name its own begins: SCL beside the bands, for example."""
    holding = [group for group in groups if member in group.files.values()]
    return holding or [group for group in groups if group.prefix and member.startswith(group.prefix)]


def _choose(
    container: Container, groups: list[Bands], wanted: tuple[tuple[str, ...], ...], member: str | None
) -> Bands:
    if member is not None:
        own = belonging(groups, member)
        groups = [group for group in groups if group.prefix in {g.prefix for g in own}]
        groups = [group for group in own if group.chosen(wanted) and group.rest not in SIZES] or groups
    whole = [group for group in groups if group.chosen(wanted)]
    if not whole:
        most = max(groups, key=lambda group: len(group.files))
        missing = [" or ".join(names) for names in wanted if not set(names) & set(most.files)]
        raise BandError(
            f"{container.source}: no {' and no '.join(missing)} of Sentinel-2; found {', '.join(sorted(most.files))}; "
            "red B04, green B03, blue B02 and near-infrared B08 or B8A are needed (or --bands 4,3,2, without it)"
        )
    prefixes = sorted({group.prefix for group in whole})
    if len(prefixes) > 1:
        shown = ", ".join(p.rstrip("_-. ") for p in prefixes[:4]) + (" …" if len(prefixes) > 4 else "")
        raise BandError(f"{container.source}: {len(prefixes)} products in one place ({shown}); name one file of one")
    if len(whole) > 1 and any(group.rest not in SIZES for group in whole):
        raise BandError(f"{container.source}: several files for the same band; name one file of the ones that you mean")
    return min(whole, key=lambda group: SIZES.index(group.rest) if group.rest in SIZES else 0)


def _time(text: str) -> datetime | None:
    found = TIME.search(text)
    try:
        return datetime.strptime(found[1].upper(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None
