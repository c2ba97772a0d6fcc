"""38-Cloud patches: one patch, or a whole scene put together from them.

The authors cut Landsat 8 Level-1 scenes into 384×384 patches after padding them with zeros, centred, to whole
patches. Patches have no CRS. https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from geocloud.bands import BANDS, LANDSAT_L1, Conversion, Units
from geocloud.errors import BandError
from geocloud.readers.archive import Listing
from geocloud.readers.band_names import ProductName, shorten
from geocloud.readers.source import BandSource, Candidate, Reader, ReadOptions, SceneRecipe, Source
from geocloud.readers.stack import open_raster

log = logging.getLogger(__name__)

PATCH = re.compile(
    r"(?P<band>red|green|blue|nir)_(?P<patch>patch_(?P<index>\d+)_(?P<row>\d+)_by_(?P<col>\d+)_(?P<scene>.+))\.tiff?",
    re.IGNORECASE,
)
SIDE = 384  # pixels of a patch's side, as the authors cut them
GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}


class Patch(NamedTuple):
    """One file of one band of one patch; rows and columns count from 1."""

    path: Path
    band: str
    name: str
    row: int
    col: int
    scene: str


class Cloud38(Reader):
    """38-Cloud's patches and the scenes that they are cut from."""

    names = re.compile("_patch_", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        if source.form == "folder":
            return any(find_patches(source.path))
        return source.form == "file" and parse_patch(source.path) is not None

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """Claims patches, which a batch leaves out, and says so."""
        patches = [patch for name in listing.names if "_patch_" in name and (patch := parse_patch(Path(name)))]
        if any(patch.band == "red" for patch in patches):  # once, not for each band
            one = "mask one by its name, or a scene of them with 'geocloud mask FOLDER --scene-id ID'"
            log.warning("%s: 38-Cloud patches are left out of a batch; %s", listing.source, one)
        if patches:
            yield Candidate("", "", frozenset(str(patch.path) for patch in patches), is_scene=False)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        path, patch = source.path, parse_patch(source.path)
        if options.band_numbers:
            raise BandError(f"{path}: 38-Cloud patches name their bands; leave ReadOptions(bands=…) out")
        if patch is None:
            return _scene_recipe(path, options.scene_id)
        if options.scene_id is not None:
            raise BandError(f"{path}: ReadOptions(scene_id=…) picks a scene of a 38-Cloud folder, which this is not")
        files = _patch_files(path)
        if missing := [band for band in BANDS if band not in files]:
            raise BandError(
                f"{path}: no {' and no '.join(missing)} file of this patch, here or in the folder of its band"
            )
        bands = [BandSource(str(file), str(file)) for file in files.values()]
        return _recipe(patch.name, path, patch.scene, bands, _describe(path)[2])

    def files(self, source: Source) -> tuple[str, ...]:
        folder = source.form == "folder"
        paths = (patch.path for patch in find_patches(source.path)) if folder else _patch_files(source.path).values()
        return tuple(sorted(map(str, paths)))


def parse_patch(path: Path) -> Patch | None:
    """The patch of a file name, None for other names."""
    parts = PATCH.fullmatch(path.name)
    if not parts:
        return None
    return Patch(path, parts["band"].lower(), parts["patch"], int(parts["row"]), int(parts["col"]), parts["scene"])


def find_patches(folder: Path) -> Iterator[Patch]:
    """All patches in a folder, or in folders named after bands up to two levels below, as 38-Cloud is laid out."""
    below = [path for path in folder.iterdir() if path.is_dir()]
    below += [path for parent in below for path in parent.iterdir() if path.is_dir()]
    for place in (folder, *(path for path in below if any(band in path.name.lower() for band in BANDS))):
        yield from filter(None, map(parse_patch, place.iterdir()))


def _patch_files(path: Path) -> dict[str, Path]:
    """The file of each band of the patch that a file belongs to: beside it, or in a folder named after its band."""
    band, files = path.name.partition("_")[0], dict[str, Path]()
    for other in BANDS:
        for folder in (path.parent, path.parent.parent / path.parent.name.replace(band.lower(), other, 1)):
            for word in (other, other.upper(), other.title()):
                if (place := folder / f"{word}{path.name[len(band) :]}").is_file():
                    files.setdefault(other, place)
    return files


def _scene_recipe(folder: Path, scene_id: str | None) -> SceneRecipe:
    """The recipe of a whole scene, from the patches in a folder. Raises BandError if patches are missing."""
    patches = list(find_patches(folder))
    scenes = sorted({patch.scene for patch in patches})
    if scene_id is None and len(scenes) > 1:
        several = f"38-Cloud patches of {len(scenes)} scenes ({shorten(scenes)})"
        raise BandError(f"{folder}: {several}; say which with ReadOptions(scene_id=…)")
    scene = scene_id or scenes[0]
    if scene not in scenes:
        raise BandError(f"{folder}: no 38-Cloud patches of scene {scene!r}; there are {len(scenes)} scenes")
    places = {(patch.band, patch.row, patch.col): patch for patch in patches if patch.scene == scene}
    rows, cols = max(row for _, row, _ in places), max(col for *_, col in places)
    wanted = [(b, row + 1, col + 1) for row in range(rows) for col in range(cols) for b in BANDS]
    if missing := [f"{band} row {row} column {col}" for band, row, col in wanted if (band, row, col) not in places]:
        lacks = f"lacks {len(missing)} of {len(wanted)} patch files ({shorten(missing)})"
        raise BandError(f"{folder}: scene {scene} {lacks}; name a single patch file to mask that patch alone")
    side, _, dtype = _describe(places[wanted[0]].path)
    # The size of its truth tells the padding to cut off; without, padding stays, as no data.
    truths = (path for pattern in ("", "*/", "*/*/") for path in folder.glob(f"{pattern}Entire_scene_gts/*{scene}.*"))
    truth = next((path for path in truths if path.suffix.lower() in (".tif", ".tiff")), None)
    height, width = _describe(truth)[:2] if truth else (rows * side, cols * side)
    top, left = (rows * side - height) // 2, (cols * side - width) // 2
    bands = []
    for band in BANDS:
        # A virtual raster: every patch at its place, moved by the padding that is cut off.
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(p.path.resolve()))}</SourceFilename>'
            f'<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
            f'<DstRect xOff="{(p.col - 1) * side - left}" yOff="{(p.row - 1) * side - top}" '
            f'xSize="{side}" ySize="{side}"/></SimpleSource>'
            for p in (places[place] for place in wanted if place[0] == band)
        )
        kind = GDAL_TYPES.get(dtype, "UInt16")
        vrt = (
            f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">'
            f'<VRTRasterBand dataType="{kind}" band="1">{sources}</VRTRasterBand></VRTDataset>'
        )
        bands.append(BandSource(vrt, f"{folder} ({band} of {scene})"))
    return _recipe(scene, folder, scene, bands, dtype)


def _recipe(name: str, source: Path, scene: str, bands: list[BandSource], dtype: str) -> SceneRecipe:
    # Some copies hold the upper eight of the sixteen bits.
    full = Conversion.uniform(LANDSAT_L1.scale[0] * 257, LANDSAT_L1.offset[0]) if dtype == "uint8" else None
    acquired = ProductName.parse(scene).acquired
    return SceneRecipe(name, str(source), tuple(bands), Units.LANDSAT_L1, full, acquired=acquired, kind="38-Cloud")


def _describe(path: Path) -> tuple[int, int, str]:
    """Height, width and type of the values. Raises SceneReadError."""
    with open_raster(str(path), str(path)) as dataset:
        return dataset.height, dataset.width, str(dataset.dtypes[0])
