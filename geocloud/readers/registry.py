"""Registry of readers, and lookup of a source's reader and recipe.

The first reader that matches a source reads it. To support another product, write a `Reader` and add it to `READERS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from geocloud.errors import BandError, GeocloudError
from geocloud.readers.archive import ARCHIVE, Listing
from geocloud.readers.bandfiles import BandFileReader, Hls, NamedBands, Sentinel2Bands
from geocloud.readers.cloud38 import Cloud38
from geocloud.readers.geotiff import Raster
from geocloud.readers.landsat import Landsat
from geocloud.readers.planet import Planet
from geocloud.readers.sentinel2 import Sentinel2
from geocloud.readers.source import RASTER_SUFFIXES, Candidate, Reader, ReadOptions, SceneRecipe, Source
from geocloud.readers.stac import Stac
from geocloud.readers.stack import count_bands

RASTER = Raster()  # reads sources that no other reader matches

READERS: list[Reader] = [
    Stac(),
    Sentinel2(),
    Cloud38(),
    Hls(),
    Sentinel2Bands(),
    Landsat(),
    NamedBands(),
    Planet(),
    RASTER,
]
"""Readers in order of precedence: specific file names before names that other products use, too."""


def find_reader(source: Source) -> Reader:
    """Reader of a source, found by file names and, for a file, the number of bands; reads no pixels.

    Raises SceneNotFoundError, SceneReadError, and BandError if nothing matches.
    """
    path, is_file = str(source.path.absolute()), source.form == "file"
    is_band = cache(lambda: count_bands(source.place, 1) == 1)
    for reader in READERS:
        may_be = not is_file or (reader.names.search(path) and (not reader.one_band or is_band()))
        if may_be and reader.match(source):
            return reader
    raise _nothing(source)


def find_recipe(source: str | Path, options: ReadOptions | None = None) -> SceneRecipe:
    """Recipe of a source. Pixels are read only if bands have no names or one is alpha. Raises SceneError."""
    options, place = options or ReadOptions(), Source(str(source))
    reader = find_reader(place)
    if options.scene_id is not None and not isinstance(reader, Cloud38):
        raise BandError(f"{place.place}: ReadOptions(scene_id=…) picks a scene of a 38-Cloud folder, which this is not")
    try:
        if isinstance(reader, BandFileReader) and reader.one_band and place.member is None:
            scenes = [
                (maker, scene) for maker, scene in scenes_in(place.listing) if scene.is_product and scene.is_scene
            ]
            if len({type(maker) for maker, _ in scenes} - {NamedBands}) > 1:
                mixed = "bands of Landsat, Sentinel-2 and HLS in one place; name a file of one"
                raise BandError(f"{place.listing.source}: {mixed}")
        return reader.recipe(place, options)
    except BandError as error:
        several = place.form == "folder" and not isinstance(reader, Cloud38)
        if several and sum(candidate.is_scene for _, candidate in scenes_in(place.listing)) > 1:
            raise BandError(f"{error}; to mask all in it: geocloud batch {place.place} -o masks") from error
        raise


def scenes_in(listing: Listing) -> Iterator[tuple[Reader, Candidate]]:
    """Scenes in a folder or bucket, with their readers; each file belongs to at most one."""
    for reader in READERS:
        claimed: set[str] = set()
        for candidate in reader.scenes(listing):
            yield reader, candidate
            claimed |= candidate.files
        listing = listing.without(claimed)


def _nothing(source: Source) -> GeocloudError:
    """Error for a folder, archive or bucket without a readable scene."""
    listing, hint = source.listing, ""
    rasters = [name for name in listing.names if name.lower().endswith(RASTER_SUFFIXES)]
    if not listing.names:
        hint = ": only folders; name one of them" if listing.folders else ": it is empty"
    elif source.form == "archive" and len(rasters) > 1:
        hint = f"; it holds {len(rasters)} rasters: name one of them, such as {listing.path_of(rasters[0])}"
    if source.form == "folder" and len([*rasters, *listing.folders, *filter(ARCHIVE.fullmatch, listing.names)]) > 1:
        hint += f"; to mask all in it: geocloud batch {source.place} -o masks"
    bands = "no Landsat band files (…_B4.TIF or …_SR_B4.TIF) in it, nor Sentinel-2's"
    return BandError(f"{listing.source}: {bands}{hint}")
