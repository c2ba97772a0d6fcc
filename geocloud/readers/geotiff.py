"""One raster with several bands: which of them are red, green, blue and near-infrared."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

from geocloud.bands import BANDS, Units
from geocloud.errors import BandError, SceneReadError, UnitsError, without_secrets
from geocloud.io import gdal
from geocloud.io.remote import is_remote
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe
from geocloud.readers.landsat import NO_BLUE, OLI, TM, Level, ProductName
from geocloud.readers.layers import open_raster
from geocloud.readers.order import BLUE_FIRST, NO_DOUBT, RED_FIRST, rise_of_first, sample_scene
from geocloud.readers.planet import BANDS as PLANET_BANDS
from geocloud.readers.planet import PlanetName, planet_conversion, planet_mask

log = logging.getLogger(__name__)

Indexes = tuple[int, ...]
"""Numbers of red, green, blue and, where there is one, nir."""

NIR_WORDS = ("nir", "nir08", "nir1")
SENTINEL2_ONLY = {"8A", "12"}

TRANSPARENCY = 0.9
"""The share of pixels with data that are wholly opaque, by which transparency is told from near-infrared."""

USUAL = {
    5: "blue, green, red, red edge and nir, 3,2,1,5",
    6: "Landsat's without coastal and thermal ones, 3,2,1,4",
    7: "Landsat 8's or 9's from B1, 4,3,2,5; if Landsat 4's to 7's, 3,2,1,4",
    8: "PlanetScope's, 6,4,2,8",
    10: "Sentinel-2's of 10 and 20 m, 3,2,1,7",
    11: "Landsat 8's or 9's from B1, 4,3,2,5",
    12: "Sentinel-2's from B01, 4,3,2,8",
    13: "Sentinel-2's from B01, 4,3,2,8",
}
"""How stacks of so many bands lie as a rule: suggested, never taken."""


def geotiff_recipe(path: str, options: ReadOptions) -> SceneRecipe:
    """The recipe of a raster, on disk or at an address.

    Raises BandError where the four bands cannot be told, UnitsError, SceneReadError.
    """
    shown, stem = without_secrets(path), _stem(path)
    name, planet = ProductName.parse(stem), PlanetName.parse(stem)
    with open_raster(path, path) as dataset:
        if planet and dataset.count != planet.count:
            planet = None
        try:
            indexes = options.bands or _find(dataset, path, name, planet, _units_too(dataset, options))
            _check(dataset, path, indexes)
        except gdal.TROUBLE as error:
            raise SceneReadError(f"{path}: damaged, its description cannot be read ({error})") from error
        # A product's name in front of a stack of its own numbers, not of what somebody made of them.
        own = dataset.dtypes[indexes[0] - 1] == "uint16" and all(scale == 1 for scale in dataset.scales)
    recipe = SceneRecipe(
        name=stem,
        source=shown,
        bands=_sources(path, indexes),
        acquired=name.acquired or (planet.acquired if planet else None),
    )
    if own and planet:
        return _of_planet(recipe, planet)
    if own and name.level:
        return replace(recipe, units=Units.LANDSAT_L1 if name.level is Level.L1 else Units.LANDSAT_L2)
    return recipe


def _stem(path: str) -> str:
    if is_remote(path):
        return PurePosixPath(without_secrets(path)).stem
    return gdal.stem_of(path) if gdal.is_gdal_name(path) else Path(path).stem


def _units_too(dataset: rasterio.DatasetReader, options: ReadOptions) -> str:
    """The end of a message about bands where units must be said as well: pictures of 8 bits never tell them."""
    silent = options.units is Units.AUTO and options.scale is None and all(scale == 1 for scale in dataset.scales)
    eight = dataset.count > 0 and dataset.dtypes[0] == "uint8"
    return (
        "; and, of 8 bits, --units scaled-8bit (0 to 255 for 0 to 1) or --scale and --offset"
        if eight and silent
        else ""
    )


def _sources(path: str, indexes: Indexes) -> tuple[BandSource, ...]:
    return tuple(BandSource(path, without_secrets(path), index) for index in indexes)


def _of_planet(recipe: SceneRecipe, name: PlanetName) -> SceneRecipe:
    """With the units of a PlanetScope product, and its usable data mask."""
    here = Path(recipe.source)
    if here.is_file():
        recipe = replace(recipe, mask=planet_mask(here, name))
    try:
        conversion = planet_conversion(here, name, tuple(band.index for band in recipe.bands))
    except UnitsError as error:
        return replace(recipe, unknown=str(error), fill=0)
    return replace(recipe, units=Units.REFLECTANCE, conversion=conversion, fill=0)


def _check(dataset: rasterio.DatasetReader, path: str, indexes: Indexes) -> None:
    """Raises BandError for numbers of bands that are not there, or hold transparency."""
    for index in indexes:
        if not 1 <= index <= dataset.count:
            raise BandError(f"{path}: no band {index}, it has {dataset.count}; bands are counted from 1")
        if _is_transparency(dataset, path, index):
            rest = ",".join(str(i) for i in indexes if i != index)
            raise BandError(
                f"{path}: band {index} is alpha (transparency), not light, and hides pixels by itself; "
                f"say --bands {rest} without it"
            )


def _is_alpha(dataset: rasterio.DatasetReader, index: int) -> bool:
    return bool(dataset.colorinterp[index - 1] == ColorInterp.alpha)


def _is_transparency(dataset: rasterio.DatasetReader, path: str, index: int) -> bool:
    """True where a band is marked alpha, and holds little but nothing and one other value.

    The mark alone says little: GDAL puts it on the fourth of any four bands of 8 bits.
    """
    if not _is_alpha(dataset, index):
        return False
    values = np.concatenate([piece[0] for piece in sample_scene(SceneRecipe(path, path, _sources(path, (index,))))])
    return not values.size or bool(np.mean(values == values.max()) > TRANSPARENCY)


def _find(
    dataset: rasterio.DatasetReader, path: str, name: ProductName, planet: PlanetName | None, units_too: str
) -> Indexes:
    """Looks at descriptions, then at the file's name, then at colour interpretation, and at last at the pixels.

    ``units_too`` is what else must be said, if anything.
    """
    descriptions = _descriptions(dataset)
    found = _by_description(descriptions, path, name) or (PLANET_BANDS[planet.count] if planet else None)
    if found:
        return found
    nameless = all(re.fullmatch(r"(?:band|layer)?[ _]?\d*", d or "", re.IGNORECASE) for d in descriptions)
    if dataset.count == 4 and _is_alpha(dataset, 4) and not _is_transparency(dataset, path, 4):
        raise BandError(
            f"{path}: band 4 is marked alpha (transparency), but varies as near-infrared does; say --bands 1,2,3,4 if "
            f"it is that, or --bands 1,2,3 to go without{units_too}"
        )
    found = _by_colour(dataset)
    if found:
        return found
    if dataset.count == 4 and nameless and ColorInterp.alpha not in dataset.colorinterp:
        return _by_pixels(path, units_too)
    known = ", ".join(
        f"{i} {description or colour.name}"
        for i, (description, colour) in enumerate(zip(descriptions, dataset.colorinterp, strict=True), 1)
    )
    if dataset.count == 0 and (inside := dataset.subdatasets):
        raise BandError(f"{path}: holds {len(inside)} rasters; name one of them: {' or '.join(inside[:3])}")
    if dataset.count < 4:
        raise BandError(
            f"{path}: {dataset.count} band(s) ({known}); red, green, blue and near-infrared are needed; "
            f"where there is no near-infrared, say --bands with the numbers of the other three{units_too}"
        )
    usual = f" (if they are {USUAL[dataset.count]}; check it)" if nameless and dataset.count in USUAL else ""
    raise BandError(
        f"{path}: cannot tell red, green, blue and near-infrared among {dataset.count} bands ({known[:300]}); "
        f"say --bands with their four numbers{usual}{units_too}"
    )


def _by_pixels(path: str, units_too: str) -> Indexes:
    """Of four bands without names: red or blue first, where the pixels leave no doubt. Raises BandError where they do.

    Pictures of 8 bits are stretched band by band, as a rule, and tell nothing.
    """
    told = None if units_too else rise_of_first(SceneRecipe(path, path, _sources(path, RED_FIRST)))
    if told is not None and not 1 / NO_DOUBT < told < NO_DOUBT:
        first, order, other = (
            ("first", "red, green, blue, nir", BLUE_FIRST)
            if told > 1
            else ("third", "blue, green, red, nir", RED_FIRST)
        )
        log.warning(
            "%s: bands have no names, read as %s: over land the %s rises %.1f times as much as its opposite, as red "
            "does; if that is wrong, say --bands %s",
            without_secrets(path), order, first, max(told, 1 / told), ",".join(map(str, other)),
        )  # fmt: skip
        return RED_FIRST if told > 1 else BLUE_FIRST
    raise BandError(
        f"{path}: four bands without names, and its pixels leave doubt whether red or blue comes first; say --bands "
        f"1,2,3,4 for red, green, blue, nir, or --bands 3,2,1,4 for blue, green, red, nir{units_too}"
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
