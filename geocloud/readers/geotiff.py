"""Multi-band rasters in any GDAL format: identification of red, green, blue and near-infrared."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader

from geocloud.bands import BANDS, Units
from geocloud.errors import BandError, SceneReadError, without_secrets
from geocloud.io import gdal
from geocloud.readers.archive import ARCHIVE, PACKED, Listing, list_folder
from geocloud.readers.band_names import Indexes, ProductName, find_bands
from geocloud.readers.source import RASTER_SUFFIXES, BandSource, Candidate, Reader, ReadOptions, SceneRecipe, Source
from geocloud.readers.stack import BandStack, open_raster

log = logging.getLogger(__name__)

ZARR = {".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json"}  # files that identify a Zarr folder
SUFFIXES = (*RASTER_SUFFIXES, ".jp2", ".img")
USABLE = re.compile(r".*_udm2?(_.*)?\.tiff?", re.IGNORECASE)  # usable data masks in PlanetScope orders
ORDERS = {"first": (1, 2, 3, 4), "third": (3, 2, 1, 4)}
"""Position of red → numbers of red, green, blue and nir, in four bands without names."""
LAND = 1.6  # minimum ratio of near-infrared to green over land (plants or soil)
NO_DOUBT = 1.75
"""Minimum contrast ratio between the red and the blue candidate. In 371 real scenes and 2892 crops, blue has at most
1.56 times the contrast of red; a third of the scenes is unambiguous (``benchmarks/order.py``)."""
FEWEST = 300, 0.05  # minimum number of land pixels, and their minimum share of all pixels
TRANSPARENCY = 0.9  # minimum share of opaque pixels in transparency; near-infrared marked alpha has less
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
"""Number of bands → usual band order, which messages suggest but which is never assumed."""


class Raster(Reader):
    """Reader of any raster, and of an archive or folder that contains only one."""

    def match(self, source: Source) -> bool:
        """True for any file, URL or GDAL name, for an archive or folder with one raster, and for Zarr."""
        several = source.form in ("archive", "folder")
        return (_is_zarr(source.listing) or len(_rasters(source.listing)) == 1) if several else source.form != "bucket"

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """Candidates for archives and rasters; the caller skips single-band rasters."""
        if _is_zarr(listing):
            yield Candidate("", PurePosixPath(listing.stem).stem, frozenset(listing.names), is_tree=True)
            return
        for name in listing.names:
            base, lower = name.rpartition("/")[2], name.lower()
            if lower.endswith(RASTER_SUFFIXES) and not USABLE.fullmatch(base):
                yield Candidate(name, base.rpartition(".")[0], frozenset((name,)), 1)
            elif ARCHIVE.fullmatch(base):
                packed = PACKED.search(lower)
                rank = 2 + ("zip", "tar", "tar.gz", "tgz").index(packed[1] if packed else "zip")  # fastest first
                stem = PACKED.sub("", name)
                stem = stem[:-5] if stem.lower().endswith(".safe") else stem
                yield Candidate(name, stem, frozenset((name,)), rank)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        path, stem, label = source.place, source.stem, source.label
        if source.form in ("archive", "folder") and not _is_zarr(source.listing):
            (name,) = _rasters(source.listing)
            path, stem, label = source.listing.path_of(name), PurePosixPath(name).stem, source.listing.label(name)
        return replace(raster_recipe(path, stem, options, label), source=source.label)

    def files(self, source: Source) -> tuple[str, ...]:
        if source.form == "folder":
            tree = list_folder(source.path, below=True)
            return tuple(map(tree.path_of, tree.names))
        return ((source.form == "name" and gdal.file_of(source.place)) or source.place,)


def _is_zarr(listing: Listing) -> bool:
    return listing.stem.lower().endswith(".zarr") or bool(ZARR & set(listing.names))


def _rasters(listing: Listing) -> list[str]:
    """Rasters in a listing, without PlanetScope's usable data masks and files added by macOS."""
    paths = [path for path in map(PurePosixPath, listing.names) if path.suffix.lower() in SUFFIXES]
    return [str(path) for path in paths if "__MACOSX" not in path.parts and not USABLE.fullmatch(path.name)]


def raster_recipe(path: str, stem: str, options: ReadOptions, label: str, usual: Indexes | None = None) -> SceneRecipe:
    """Recipe of a raster; ``usual`` are its bands if descriptions do not name them. Raises BandError, OSError."""
    units, name = Units.AUTO, ProductName.parse(stem)
    with open_raster(path, path) as dataset:
        if dataset.count == 0 and dataset.subdatasets:
            variables = _variables(dataset.subdatasets, path, stem, options)
            bands = [BandSource(variable, without_secrets(variable)) for variable in variables]
        else:
            try:
                bands = [BandSource(path, label, index) for index in _find(dataset, path, stem, options, usual)]
            except gdal.TROUBLE as error:
                raise SceneReadError(f"{path}: damaged, its description cannot be read ({error})") from error
            # A product ID in the name gives the units if the raster has no scale; pixel values are checked later.
            if name.level and {*zip(dataset.scales, dataset.offsets, strict=True)} == {(1, 0)}:
                units = Units.LANDSAT_L1 if name.level == "L1" else Units.LANDSAT_L2
    return SceneRecipe(stem, label, tuple(bands), units, acquired=name.acquired)


def _variables(inside: Sequence[str], path: str, stem: str, options: ReadOptions) -> list[str]:
    """The bands of a file with one variable per band, such as netCDF or Zarr. Raises BandError for other files."""
    several = f"{path}: holds {len(inside)} rasters; name one of them: {' or '.join(inside[:3])}"
    if options.bands:
        raise BandError(f"{several}; ReadOptions(bands=…) selects bands of one raster")
    indexes = find_bands([re.split(r"[:/]", name)[-1] for name in inside], path, stem, options.units)
    if indexes is None:
        raise BandError(several)
    names = [inside[index - 1] for index in indexes]
    for name in names:
        with open_raster(name, name) as variable:
            if variable.count != 1:
                raise BandError(f"{name}: {variable.count} layers (usually dates), wanted one; extract one first")
    return names


def _find(dataset: DatasetReader, path: str, stem: str, options: ReadOptions, usual: Indexes | None) -> Indexes:
    """Band numbers as given, or by description, ``usual``, letters, colour interpretation or pixels, in this order."""
    count, order = dataset.count, options.bands
    try:
        texts = [text or "" for text in dataset.descriptions]
    except UnicodeDecodeError:  # not in UTF-8: treated as missing
        texts = [""] * count
    colours = [colour.name for colour in dataset.colorinterp]
    has_units = options.units is not Units.AUTO or options.scale is not None or {*dataset.scales} != {1}
    eight = "; and, of 8 bits, ReadOptions(units='scaled-8bit') or ReadOptions(scale=…)"
    units = "" if has_units or dataset.dtypes[0] != "uint8" else eight
    indexes = options.band_numbers or find_bands(texts, path, stem, options.units) or usual
    if not indexes:
        nameless = all(re.fullmatch(r"(?:band|layer)?[ _]?\d*", text, re.IGNORECASE) for text in texts)
        transparent = count == 4 and colours[3] == "alpha" and _is_transparency(path, 4)
        if isinstance(order, str) and len(order) == count and not transparent:
            indexes = tuple(order.index(letter) + 1 for letter in "rgbn" if letter in order)
        elif count == 4 and colours[3] == "alpha" and not transparent:
            raise BandError(
                f"{path}: band 4 is marked alpha (transparency), but varies as near-infrared does; if it is that, say "
                f"ReadOptions(bands=(1, 2, 3, 4)), or ReadOptions(bands=(1, 2, 3)) to go without{units}"
            )
        else:
            indexes = _by_colour(colours)
        if not indexes and count == 4 and nameless and "alpha" not in colours:
            indexes = _by_pixels(path, units)
        if not indexes:
            pairs = enumerate(zip(texts, colours, strict=True), 1)
            known = ", ".join(f"{i} {text or colour}" for i, (text, colour) in pairs)[:300]
            problem = f"cannot tell red, green, blue and near-infrared among {count} band(s) ({known})"
            usually = f" (if they are {USUAL[count]}; check it)" if nameless and count in USUAL else ""
            raise BandError(
                f"{path}: {problem}; say ReadOptions(bands=…) with their numbers, three without nir{usually}{units}"
            )
    for index in indexes:
        if not 1 <= index <= count:
            raise BandError(f"{path}: no band {index}, it has {count}; bands are counted from 1")
        if colours[index - 1] == "alpha" and _is_transparency(path, index):
            rest = tuple(i for i in indexes if i != index)
            raise BandError(
                f"{path}: band {index} is alpha (transparency), not light; say ReadOptions(bands={rest}) without it"
            )
    return indexes


def _look(path: str, indexes: Indexes) -> NDArray[np.generic]:
    """Values ``(band, n)`` of the given bands in small windows all over a raster."""
    label = without_secrets(path)
    with BandStack(SceneRecipe(label, label, tuple(BandSource(path, label, index) for index in indexes))) as stack:
        return stack.look()[0]


def _is_transparency(path: str, index: int) -> bool:
    """True if an alpha band has mostly one value; GDAL marks the fourth of any four 8-bit bands as alpha."""
    values = _look(path, (index,))
    return not values.size or bool(np.mean(values == values.max()) > TRANSPARENCY)


def _by_colour(colours: Sequence[str]) -> Indexes | None:
    """Band numbers by colour interpretation; near-infrared may also be the only other band. None: unknown."""
    rest = [index for index, name in enumerate(colours, 1) if name not in (*BANDS, "alpha")]
    nir = [colours.index("nir") + 1] if "nir" in colours else rest
    if not {*BANDS[:3]} <= {*colours} or len(nir) > 1:
        return None
    return (*(colours.index(band) + 1 for band in BANDS[:3]), *nir)


def _by_pixels(path: str, units: str) -> Indexes:
    """Numbers of four bands without names, by contrast over land. Raises BandError if that is ambiguous."""
    shown = without_secrets(path)
    # 8-bit images are usually stretched band by band, so their contrast is meaningless.
    ratio = None if units else compare_rises(_look(path, ORDERS["first"]))
    if ratio is None or 1 / NO_DOUBT < ratio < NO_DOUBT:
        raise BandError(
            f"{shown}: four bands without names, and its pixels leave doubt whether red or blue comes first; say "
            f"geocloud mask {shlex.quote(shown)} --bands rgbn (or --bands 1,2,3,4) for red, green, blue, nir, or "
            "--bands bgrn (--bands 3,2,1,4) for blue, green, red, nir; for all files: the environment variable "
            f"GEOCLOUD_BANDS=rgbn or GEOCLOUD_BANDS=bgrn{units}"
        )
    red, blue = ("first", "third") if ratio > 1 else ("third", "first")
    log.warning(
        "%s: bands have no names, read as %s: over land the %s has %.1f times the contrast of its opposite, like red; "
        "if that is wrong, say ReadOptions(bands=%s)", shown, ", ".join(BANDS[i - 1] for i in ORDERS[red]), red,
        max(ratio, 1 / ratio), ORDERS[blue],
    )  # fmt: skip
    return ORDERS[red]


def compare_rises(pixels: NDArray[np.generic]) -> float | None:
    """Contrast of the first of four bands ``(4, n)``, nir last, divided by that of the third; None: too little land.

    Contrast is the range from the 5 to the 75 percentile over land. From plants to bare soil red increases more than
    blue, in TOA and in surface reflectance; over clouds, snow and water they increase alike.
    """
    first, green, third, nir = pixels.astype("float64")
    land = nir > LAND * np.maximum(green, 0)
    if np.count_nonzero(land) < max(FEWEST[0], FEWEST[1] * land.size):
        return None
    noise = 0.02 * float(np.median(green[land]))
    rises = [float(np.subtract(*np.percentile(band[land], (75, 5)))) + noise for band in (first, third)]
    return rises[0] / rises[1] if min(rises) > 0 else None
