"""The readers in order, and the three questions that they answer: what a source is, how it is read, what it is made of.

The first reader that matches a source reads it. To add a maker, write a `Reader` and name it in `READERS`.
"""

from __future__ import annotations

from collections.abc import Iterator
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

RASTER = Raster()  # reads whatever no other reader does

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
"""Makers before kinds that others' files could be taken for."""


def find_reader(source: Source) -> Reader:
    """The reader of a source, by names alone, but for a file's number of bands; reads no pixels.

    Raises SceneNotFoundError, SceneReadError, and BandError if nothing matches.
    """
    many, path = None, str(source.path.absolute())
    for reader in READERS:
        if source.form == "file":
            if not reader.names.search(path):
                continue
            if reader.one_band and many is None:
                many = count_bands(source.place, 1) > 1
            if reader.one_band and many:
                continue
        if reader.match(source):
            return reader
    raise _nothing(source)


def find_recipe(source: str | Path, options: ReadOptions | None = None) -> SceneRecipe:
    """The recipe of a source, made without reading pixels (but for bands without names). Raises SceneError."""
    options, place = options or ReadOptions(), Source(str(source))
    reader = find_reader(place)
    if options.scene_id is not None and not isinstance(reader, Cloud38):
        raise BandError(f"{place.place}: ReadOptions(scene_id=…) picks a scene of a 38-Cloud folder, which this is not")
    try:
        if isinstance(reader, BandFileReader) and reader.one_band and place.member is None:
            _refuse_mixed(place.listing, reader)
        return reader.recipe(place, options)
    except BandError as error:
        several = place.form == "folder" and not isinstance(reader, Cloud38)
        if several and sum(candidate.is_scene for _, candidate in scenes_in(place.listing)) > 1:
            raise BandError(f"{error}; to mask all in it: geocloud batch {place.place} -o masks") from error
        raise


def scenes_in(listing: Listing) -> Iterator[tuple[Reader, Candidate]]:
    """The scenes among the files of a folder or bucket, and their readers; each file is in one of them."""
    for reader in READERS:
        claimed: set[str] = set()
        for candidate in reader.scenes(listing):
            yield reader, candidate
            claimed |= candidate.files
        listing = listing.without(claimed) if claimed else listing


def _refuse_mixed(listing: Listing, reader: BandFileReader) -> None:
    """Raises BandError for a folder, archive or bucket with complete bands of several makers."""
    for other in READERS[READERS.index(reader) :]:
        if isinstance(other, BandFileReader) and not isinstance(other, NamedBands):
            products = other.products(listing)
            if other is not reader and any(product.choose(other.wanted(product)[:3]) for product in products):
                mixed = "bands of Landsat, Sentinel-2 and HLS in one place; name one file of one"
                raise BandError(f"{listing.source}: {mixed}")
            listing = listing.without({name for product in products for name in product.files.values()})


def _nothing(source: Source) -> GeocloudError:
    """The error for a folder, archive or bucket that nothing can be read from."""
    listing, inside = source.listing, "no Landsat band files (…_B4.TIF or …_SR_B4.TIF) in it, nor Sentinel-2's"
    rasters = [name for name in listing.names if name.lower().endswith(RASTER_SUFFIXES)]
    several = len([*rasters, *listing.folders, *filter(ARCHIVE.fullmatch, listing.names)]) > 1
    if not listing.names:
        inside = f"no Landsat band files, {'only folders; name one of them' if listing.folders else 'it is empty'}"
    if source.form == "archive" and len(rasters) > 1:
        inside += f"; it holds {len(rasters)} rasters: name one of them, such as {listing.path_of(rasters[0])}"
    elif source.form == "folder" and several:
        inside += f"; to mask all in it: geocloud batch {source.place} -o masks"
    return BandError(f"{listing.source}: {inside}")
