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
from typing import NamedTuple

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


class Name(NamedTuple):
    """Beginning of the names of a scene's files, and what the rest of a product's name tells."""

    scene: str
    size: int
    is_surface: bool
    acquired: datetime | None


def parse_name(stem: str) -> Name | None:
    """Facts in the name of a product's file; None for other names."""
    if not (parts := NAME.fullmatch(stem)):
        return None
    words = f"{parts['rest']}{parts['more'] or ''}".lower().split("_")
    acquired = parse_time(f"{parts['date']}{parts['time'] or '000000'}", "%Y%m%d%H%M%S")
    return Name(parts["scene"], 8 if "8b" in words else 4, "sr" in words, acquired)


class Planet(Reader):
    """PlanetScope's analytic products."""

    names = re.compile("analytic", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        """True for a raster of such a name and of as many bands as it says."""
        name = parse_name(source.stem) if source.form in ("file", "url") else None
        return name is not None and count_bands(source.place, 0) == name.size

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """Claims the masks beside scenes, which are rasters of several bands, but no scenes."""
        if files := frozenset(name for name in listing.names if USABLE.fullmatch(name)):
            yield Candidate("", "", files, is_scene=False)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        name, metadata, mask = _look_beside(source)
        recipe = raster_recipe(source.place, source.stem, options, BANDS[name.size])
        if mask:
            path = source.listing.path_of(mask)
            recipe = replace(recipe, masks=(BandSource(path, path, UNUSABLE, NO_IMAGE),))
        units, conversion = Units.REFLECTANCE, Conversion.uniform(1e-4)
        if not name.is_surface:
            try:
                conversion = _coefficients(source, name.scene, metadata, [band.index for band in recipe.bands])
            except UnitsError:
                if options.units is Units.AUTO and options.scale is None:
                    raise
                units = Units.AUTO
        return replace(recipe, fill=0, acquired=name.acquired, units=units, conversion=conversion)

    def files(self, source: Source) -> tuple[str, ...]:
        _, *beside = _look_beside(source)
        return (source.place, *(source.listing.path_of(file) for file in beside if file))


def _look_beside(source: Source) -> tuple[Name, str | None, str | None]:
    """The scene's name, the coefficients of a product of as many bands, and the mask, clipped if the scene is."""
    name, metadata, mask = parse_name(source.stem), None, None
    assert name is not None
    for file in source.listing.names:
        low, (stem, _, suffix) = file.lower(), file.lower().rpartition(".")
        if not low.startswith(f"{name.scene}_".lower()):
            continue
        other = parse_name(stem.replace("_metadata", ""))
        if suffix == "xml" and "metadata" in low and other and (other.size, other.is_surface) == (name.size, False):
            metadata = metadata or file
        if suffix in ("tif", "tiff") and "udm2" in low and ("clip" in low) == ("clip" in source.stem.lower()):
            mask = mask or file
    return name, metadata, mask


def _coefficients(source: Source, scene: str, file: str | None, numbers: list[int]) -> Conversion:
    """From radiance to reflectance, for the bands with these numbers. Raises UnitsError, SceneReadError."""
    if file is None:
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
