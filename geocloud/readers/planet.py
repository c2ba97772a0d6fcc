"""PlanetScope scenes: told by their file names, and by two files beside them, coefficients and the usable data mask.

PlanetScope Product Specifications, https://docs.planet.com/data/imagery/planetscope/: AnalyticMS is radiance, of which
``reflectanceCoefficient`` makes top-of-atmosphere reflectance; AnalyticMS_SR is surface reflectance × 10 000; in both 0
is no data. Band 8 of UDM2 is the older unusable data mask, whose lowest bit is set where there is no image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from geocloud.bands import Conversion, Units
from geocloud.errors import SceneReadError, UnitsError
from geocloud.readers.archive import Listing, on_disk
from geocloud.readers.geotiff import USABLE, raster_recipe
from geocloud.readers.metadata import parse_xml
from geocloud.readers.source import BandSource, Candidate, Reader, ReadOptions, SceneRecipe, Source, parse_time
from geocloud.readers.stack import count_bands

NAME = re.compile(
    r"(?P<scene>(?P<date>\d{8})_(?P<time>\d{6})?.*?)_(?:AnalyticMS|analytic_(?=[48]b))(?P<rest>(?:_SR|_?8b|_?4b)*)"
    r"(?P<more>_.*)?",
    re.IGNORECASE,
)
BANDS = {4: (3, 2, 1, 4), 8: (6, 4, 2, 8)}
"""Numbers of red, green, blue and nir: blue, green, red, nir; or coastal blue, blue, green I, green, yellow, red, red
edge, nir."""
UNUSABLE, NO_IMAGE = 8, 1
"""The band of UDM2 that is the unusable data mask, and its bit for no image; its other bits tell of doubt, not loss."""


def parse_name(stem: str) -> tuple[str, int, bool, datetime | None] | None:
    """Beginning of the names of a scene's files, 4 or 8 bands, surface reflectance or radiance, time; None: others."""
    if not (parts := NAME.fullmatch(stem)):
        return None
    words = f"{parts['rest']}{parts['more'] or ''}".lower().split("_")
    acquired = parse_time(f"{parts['date']}{parts['time'] or '000000'}", "%Y%m%d%H%M%S")
    return parts["scene"], 8 if "8b" in words else 4, "sr" in words, acquired


class Planet(Reader):
    """PlanetScope's analytic products."""

    names = re.compile("analytic", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        """True for a raster of such a name and of as many bands as it says."""
        name = parse_name(source.stem) if source.form in ("file", "url") else None
        return name is not None and count_bands(source.place, 0) == name[1]

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """Claims the masks beside scenes, which are rasters of several bands, but no scenes."""
        if files := frozenset(name for name in listing.names if USABLE.fullmatch(name)):
            yield Candidate("", "", files, is_scene=False)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        (scene, count, surface, acquired), metadata, mask = _look_beside(source)
        masks = (BandSource(str(mask), str(mask), UNUSABLE, NO_IMAGE),) if mask else ()
        recipe = raster_recipe(source.place, source.stem, options, BANDS[count])
        recipe = replace(recipe, fill=0, acquired=acquired, masks=masks)
        try:
            numbers = [band.index for band in recipe.bands]
            conversion = Conversion.uniform(1e-4) if surface else _coefficients(scene, metadata, numbers)
        except UnitsError as error:
            return replace(recipe, unknown=str(error))
        return replace(recipe, units=Units.REFLECTANCE, conversion=conversion)

    def files(self, source: Source) -> tuple[str, ...]:
        _, *beside = _look_beside(source)
        return (source.place, *(str(file) for file in beside if file is not None))


def _look_beside(source: Source) -> tuple[tuple[str, int, bool, datetime | None], Path | None, Path | None]:
    """The scene's name, the coefficients of a product of as many bands, and the mask, clipped if the scene is."""
    name, stem = parse_name(source.stem), source.stem.lower()
    assert name is not None
    metadata = mask = None
    for file in source.listing.names if source.form == "file" else ():
        low, path = file.lower(), source.path.parent / file
        if not low.startswith(f"{name[0]}_".lower()):
            continue
        other = parse_name(re.sub("_metadata", "", path.stem, flags=re.IGNORECASE))
        if low.endswith(".xml") and "metadata" in low and other and other[1:3] == (name[1], False):
            metadata = metadata or path
        if low.endswith((".tif", ".tiff")) and "udm2" in low and ("clip" in low) == ("clip" in stem):
            mask = mask or path
    return name, metadata, mask


def _coefficients(scene: str, file: Path | None, numbers: list[int]) -> Conversion:
    """From radiance to reflectance, for the bands with these numbers. Raises UnitsError, SceneReadError."""
    if file is None:
        lacking = f"radiance, and no {scene}_…_metadata.xml with its reflectance coefficients beside it"
        raise UnitsError(f"{lacking}; put it there, or say ReadOptions(scale=…, offset=…)")
    root = parse_xml(on_disk(file.parent, ()).read_text(file.name), str(file), "PlanetScope")
    texts = {
        (band.findtext("{*}bandNumber") or "").strip(): band.findtext("{*}reflectanceCoefficient") or ""
        for band in root.iterfind(".//{*}bandSpecificMetadata")
    }
    try:
        return Conversion.of([float(texts[str(number)]) for number in numbers])
    except KeyError as error:
        raise UnitsError(f"{file}: no reflectanceCoefficient of band {error.args[0]}; fetch the file again") from error
    except ValueError as error:
        raise SceneReadError(f"{file}: cannot be read as PlanetScope metadata ({error})") from error
