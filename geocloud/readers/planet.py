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

from geocloud.bands import Conversion, Units
from geocloud.errors import SceneReadError, UnitsError
from geocloud.readers.archive import Listing
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
        (scene, count, is_surface, acquired), metadata, mask = _look_beside(source)
        recipe = raster_recipe(source.place, source.stem, options, source.label, BANDS[count])
        masks = (BandSource(mask, mask, UNUSABLE, NO_IMAGE),) if mask else ()
        units, conversion = Units.REFLECTANCE, Conversion.uniform(1e-4)
        if not is_surface:
            try:
                conversion = _coefficients(source, scene, metadata, [band.index for band in recipe.bands])
            except UnitsError:
                if options.units is Units.AUTO and options.scale is None:
                    raise
                units = Units.AUTO
        return replace(recipe, fill=0, acquired=acquired, masks=masks, units=units, conversion=conversion)

    def files(self, source: Source) -> tuple[str, ...]:
        _, metadata, mask = _look_beside(source)
        beside = source.listing.path_of(metadata) if metadata else ""
        return (source.place, *filter(None, (beside, mask)))


def _look_beside(source: Source) -> tuple[tuple[str, int, bool, datetime | None], str, str]:
    """The scene's name, the coefficients of a product of as many bands, and the mask, clipped if the scene is."""
    name, stem, metadata, mask = parse_name(source.stem), source.stem.lower(), "", ""
    assert name is not None
    for file in source.listing.names:
        low, (own, _, suffix) = file.lower(), file.lower().rpartition(".")
        if not low.startswith(f"{name[0]}_".lower()):
            continue
        other = parse_name(own.replace("_metadata", ""))
        if suffix == "xml" and "metadata" in low and other and other[1:3] == (name[1], False):
            metadata = metadata or file
        if suffix in ("tif", "tiff") and "udm2" in low and ("clip" in low) == ("clip" in stem):
            mask = mask or source.listing.path_of(file)
    return name, metadata, mask


def _coefficients(source: Source, scene: str, file: str, numbers: list[int]) -> Conversion:
    """From radiance to reflectance, for the bands with these numbers. Raises UnitsError, SceneReadError."""
    if not file:
        lacking = f"radiance, and no {scene}_…_metadata.xml with its reflectance coefficients beside it"
        raise UnitsError(f"{source.label}: {lacking}; put it there, or say ReadOptions(scale=…, offset=…)")
    label = source.listing.label(file)
    bands = parse_xml(source.listing.read_text(file), label, "PlanetScope").iterfind(".//{*}bandSpecificMetadata")
    texts = {
        (band.findtext("{*}bandNumber") or "").strip(): band.findtext("{*}reflectanceCoefficient") for band in bands
    }
    try:
        return Conversion.of([float(texts[str(number)] or "") for number in numbers])
    except KeyError as error:
        raise UnitsError(f"{label}: no reflectanceCoefficient of band {error.args[0]}; fetch the file again") from error
    except ValueError as error:
        raise SceneReadError(f"{label}: cannot be read as PlanetScope metadata ({error})") from error
