"""PlanetScope scenes, identified by file name, with reflectance coefficients from their metadata file.

AnalyticMS is radiance, which ``reflectanceCoefficient`` converts to TOA reflectance. AnalyticMS_SR is surface
reflectance × 10 000. 0 is no data in both. Source: PlanetScope Product Specifications,
https://docs.planet.com/data/imagery/planetscope/.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from geocloud.bands import Conversion, Units
from geocloud.errors import SceneReadError, UnitsError
from geocloud.readers.geotiff import raster_recipe
from geocloud.readers.metadata import parse_xml
from geocloud.readers.source import Reader, ReadOptions, SceneRecipe, Source, parse_time
from geocloud.readers.stack import count_bands

NAME = re.compile(
    r"(?P<scene>(?P<date>\d{8})_(?P<time>\d{6})?.*?)_(?:AnalyticMS|analytic_(?=[48]b))(?P<rest>(?:_SR|_?8b|_?4b)*)"
    r"(?P<more>_.*)?",
    re.IGNORECASE,
)
BANDS = {4: (3, 2, 1, 4), 8: (6, 4, 2, 8)}
"""Number of bands → numbers of red, green, blue and nir. The bands are blue, green, red, nir; or coastal blue, blue,
green I, green, yellow, red, red edge, nir."""


class Name(NamedTuple):
    """Facts in a PlanetScope file name."""

    scene: str
    bands: int
    is_surface: bool
    acquired: datetime | None


def parse_name(stem: str) -> Name | None:
    """Facts in a file name without suffix; None for names of other products."""
    if not (parts := NAME.fullmatch(stem)):
        return None
    words = f"{parts['rest']}{parts['more'] or ''}".lower().split("_")
    acquired = parse_time(f"{parts['date']}{parts['time'] or '000000'}", "%Y%m%d%H%M%S")
    return Name(parts["scene"], 8 if "8b" in words else 4, "sr" in words, acquired)


class Planet(Reader):
    """Reader of PlanetScope's analytic products."""

    names = re.compile("analytic", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        """True for a raster with a PlanetScope name and the number of bands that the name states."""
        name = parse_name(source.stem) if source.form in ("file", "url") else None
        return name is not None and count_bands(source.place, 0) == name.bands

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        name = parse_name(source.stem)
        assert name is not None
        recipe = raster_recipe(source.place, source.stem, options, source.label, BANDS[name.bands])
        recipe = replace(recipe, fill=0, acquired=name.acquired)
        try:
            conversion = Conversion.uniform(1e-4)
            if not name.is_surface:
                conversion = _coefficients(source, name, [band.index for band in recipe.bands])
        except UnitsError:
            if options.units is Units.AUTO and options.scale is None:
                raise
            return recipe
        return replace(recipe, units=Units.REFLECTANCE, conversion=conversion)

    def files(self, source: Source) -> tuple[str, ...]:
        return (source.place, *map(source.listing.path_of, _metadata(source)))


def _metadata(source: Source) -> list[str]:
    """Metadata file of a scene with the same number of bands, in a list; empty if there is none."""
    name = parse_name(source.stem)
    for file in source.listing.names:
        stem, _, suffix = file.rpartition(".")
        other = parse_name(re.sub("_metadata", "", stem, flags=re.IGNORECASE)) if "_metadata" in stem.lower() else None
        if suffix.lower() == "xml" and name and other and other[:3] == (name.scene, name.bands, False):
            return [file]
    return []


def _coefficients(source: Source, name: Name, numbers: list[int]) -> Conversion:
    """Conversion of radiance to TOA reflectance for the numbered bands. Raises UnitsError, SceneReadError."""
    if not (files := _metadata(source)):
        lacking = f"radiance, and no {name.scene}_…_metadata.xml with reflectance coefficients in its folder"
        raise UnitsError(f"{source.label}: {lacking}; put it there, or say ReadOptions(scale=…, offset=…)")
    label = source.listing.label(files[0])
    bands = parse_xml(source.listing.read_text(files[0]), label, "PlanetScope").iterfind(".//{*}bandSpecificMetadata")
    texts = {
        (band.findtext("{*}bandNumber") or "").strip(): band.findtext("{*}reflectanceCoefficient") for band in bands
    }
    try:
        return Conversion.of([float(texts[str(number)] or "") for number in numbers])
    except KeyError as error:
        raise UnitsError(f"{label}: no reflectanceCoefficient of band {error.args[0]}; fetch the file again") from error
    except ValueError as error:
        raise SceneReadError(f"{label}: cannot be read as PlanetScope metadata ({error})") from error
