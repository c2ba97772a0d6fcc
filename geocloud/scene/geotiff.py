"""One raster with several bands: which of them are red, green, blue and near-infrared."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath

import rasterio
from rasterio.enums import ColorInterp

from geocloud.bands import BANDS, Units
from geocloud.errors import BandError, SceneReadError, without_secrets
from geocloud.io import gdal
from geocloud.io.remote import is_remote
from geocloud.scene.base import BandSource, ReadOptions, SceneRecipe
from geocloud.scene.landsat import NO_BLUE, OLI, TM, Level, ProductName
from geocloud.scene.layers import open_raster

log = logging.getLogger(__name__)

Indexes = tuple[int, ...]
"""Numbers of red, green, blue and, where there is one, nir."""

NIR_WORDS = ("nir", "nir08", "nir1")
SENTINEL2_ONLY = {"8A", "12"}


def geotiff_recipe(path: str, options: ReadOptions) -> SceneRecipe:
    """The recipe of a raster, on disk or at an address.

    Raises BandError where the four bands cannot be told, SceneReadError.
    """
    shown = without_secrets(path)
    stem = PurePosixPath(shown).stem if is_remote(path) else Path(path).stem
    name = ProductName.parse(stem)
    units = Units.AUTO
    with open_raster(path, path) as dataset:
        try:
            indexes = options.bands or _find(dataset, shown, name)
        except gdal.TROUBLE as error:
            raise SceneReadError(f"{path}: damaged, its description cannot be read ({error})") from error
        bad = [i for i in indexes if not 1 <= i <= dataset.count]
        if bad:
            raise BandError(f"{path}: no band {bad[0]}, it has {dataset.count}; bands are counted from 1")
        # A product's name in front of a stack of its own numbers, not of what somebody made of them.
        if name.level and dataset.dtypes[indexes[0] - 1] == "uint16" and all(scale == 1 for scale in dataset.scales):
            units = Units.LANDSAT_L1 if name.level is Level.L1 else Units.LANDSAT_L2
    return SceneRecipe(
        name=stem,
        source=shown,
        bands=tuple(BandSource(path, shown, i) for i in indexes),
        units=units,
        acquired=name.acquired,
    )


def _find(dataset: rasterio.DatasetReader, path: str, name: ProductName) -> Indexes:
    """Looks at descriptions, then at colour interpretation, then at the mere count."""
    found = _by_description(_descriptions(dataset), path, name) or _by_colour(dataset)
    if found:
        return found
    nameless = all(re.fullmatch(r"(?:band|layer)?[ _]?\d*", d or "", re.IGNORECASE) for d in _descriptions(dataset))
    if dataset.count == 4 and nameless and ColorInterp.alpha not in dataset.colorinterp:
        log.warning("%s: bands have no names, read as red, green, blue, nir; say otherwise with --bands", path)
        return 1, 2, 3, 4
    known = ", ".join(
        f"{i} {description or colour.name}"
        for i, (description, colour) in enumerate(zip(_descriptions(dataset), dataset.colorinterp, strict=True), 1)
    )
    if dataset.count < 4:
        raise BandError(
            f"{path}: {dataset.count} band(s) ({known}); red, green, blue and near-infrared are needed; "
            "where there is no near-infrared, say --bands with the numbers of the other three"
        )
    raise BandError(
        f"{path}: cannot tell red, green, blue and near-infrared among {dataset.count} bands ({known[:300]}); "
        "say --bands with their four numbers"
    )


def _descriptions(dataset: rasterio.DatasetReader) -> tuple[str | None, ...]:
    try:
        found: tuple[str | None, ...] = dataset.descriptions
    except UnicodeDecodeError:  # not in UTF-8: as good as none
        return (None,) * int(dataset.count)
    return found


def _by_description(descriptions: tuple[str | None, ...], path: str, name: ProductName) -> Indexes | None:
    """Descriptions that are a band's name, then those that hold one, then those that hold a band's number."""
    texts = [re.sub(r"near[ _-]?infra[ _-]?red", "nir", (description or "").lower()) for description in descriptions]
    words: dict[str, int] = {}
    for index, text in enumerate(texts, 1):
        words.setdefault(_band_word(text.strip()), index)
    for index, text in enumerate(texts, 1):
        tokens = re.findall(r"[a-z]+\d*[a-z]?|\d+", text)
        if not {"edge", "rededge"} & set(tokens):
            for token in tokens:
                words.setdefault(_band_word(token), index)
    if all(band in words for band in BANDS):
        return words["red"], words["green"], words["blue"], words["nir"]
    numbers: dict[str, int] = {}
    for index, text in enumerate(texts, 1):
        if found := re.search(r"(?:^|[_\- ])(?:sr_)?(?:b|band)[ _]?0?(\d{1,2}a?)(?:$|[_\- :(])", text):
            numbers.setdefault(found[1].upper(), index)
    alone = len(descriptions) == 3 and all(band in words for band in BANDS[:3])
    return (words["red"], words["green"], words["blue"]) if alone else _by_number(numbers, path, name)


def _band_word(word: str) -> str:
    return "nir" if word in NIR_WORDS else word


def _by_number(numbers: dict[str, int], path: str, name: ProductName) -> Indexes | None:
    """Landsat's and Sentinel-2's band names, told apart by the file's name or by bands that only one of them has."""
    present = set(numbers)
    if name.is_mss and present:
        raise BandError(f"{path}: {NO_BLUE}")
    if name.satellite is not None:
        wanted = [str(n) for n in (OLI if name.satellite >= 8 else TM)]
    elif {"2", "3", "4"} <= present and (present & SENTINEL2_ONLY or ("8" in present and "5" not in present)):
        wanted = ["4", "3", "2", "8" if "8" in present else "8A"]
    elif {"2", "3", "4", "5"} <= present and "1" in present and not present & {"9", "10", "11"}:
        raise BandError(
            f"{path}: bands {', '.join(f'B{n}' for n in sorted(present))} may be Landsat 4-7's or 8-9's; "
            "say --bands with the numbers of red, green, blue and near-infrared"
        )
    elif {"2", "3", "4", "5"} <= present:
        wanted = [str(n) for n in OLI]
    else:
        return None
    if not set(wanted) <= present:
        return None
    red, green, blue, nir = (numbers[n] for n in wanted)
    return red, green, blue, nir


def _by_colour(dataset: rasterio.DatasetReader) -> Indexes | None:
    """Red, green and blue by colour interpretation, near-infrared said so too or the only band that is left, if any."""
    colours: dict[str, int] = {}
    rest = []
    for index, colour in enumerate(dataset.colorinterp, 1):
        if colour.name in ("red", "green", "blue", "nir"):
            colours.setdefault(colour.name, index)
        elif colour != ColorInterp.alpha:
            rest.append(index)
    if "nir" not in colours and len(rest) == 1:
        colours["nir"] = rest[0]
    if not all(band in colours for band in BANDS[:3]) or ("nir" not in colours and rest):
        return None
    return tuple(colours[band] for band in BANDS if band in colours)
