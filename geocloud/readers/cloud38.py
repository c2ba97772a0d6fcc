"""38-Cloud: single patches, or scenes mosaicked from their patches.

Landsat 8 Level-1 scenes are centred in zero padding and cut into patches of 384×384 pixels, without a CRS.
https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset
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
SIDE = 384  # height and width of a patch in pixels
GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}


class Patch(NamedTuple):
    """File of one band of a patch; rows and columns count from 1."""

    path: Path
    band: str
    name: str
    row: int
    col: int
    scene: str


class Cloud38(Reader):
    """Reader of 38-Cloud patches, and of scenes mosaicked from them."""

    names = re.compile("_patch_", re.IGNORECASE)

    def match(self, source: Source) -> bool:
        if source.form == "folder":
            return any(find_patches(source.path))
        return source.form == "file" and parse_patch(source.path) is not None

    def scenes(self, listing: Listing) -> Iterator[Candidate]:
        """Claims patches, so that a batch skips them, and logs a warning."""
        patches = [patch for name in listing.names if "_patch_" in name and (patch := parse_patch(Path(name)))]
        if any(patch.band == "red" for patch in patches):  # warn once, not per band
            one = "mask one by its name, or a scene of them with 'geocloud mask FOLDER --scene-id ID'"
            log.warning("%s: 38-Cloud patches are left out of a batch; %s", listing.source, one)
        if patches:
            yield Candidate("", "", frozenset(str(patch.path) for patch in patches), is_scene=False)

    def recipe(self, source: Source, options: ReadOptions) -> SceneRecipe:
        path, patch = source.path, parse_patch(source.path)
        if options.band_numbers:
            raise BandError(f"{path}: 38-Cloud patches name their bands; leave ReadOptions(bands=…) out")
        if patch is None:
            name = scene = _choose_scene(path, options.scene_id)
            bands, dtype = _mosaic(path, scene)
        elif options.scene_id is not None:
            raise BandError(f"{path}: ReadOptions(scene_id=…) picks a scene of a 38-Cloud folder, which this is not")
        else:
            name, scene, files, dtype = patch.name, patch.scene, _patch_files(path), _describe(path)[2]
            if missing := [band for band in BANDS if band not in files]:
                where = "file of this patch, here or in the folder of its band"
                raise BandError(f"{path}: no {' and no '.join(missing)} {where}")
            bands = [BandSource(str(file), str(file)) for file in files.values()]
        # Some copies hold only the upper 8 of the 16 bits.
        full = Conversion.uniform(LANDSAT_L1.scale[0] * 257, LANDSAT_L1.offset[0]) if dtype == "uint8" else None
        acquired = ProductName.parse(scene).acquired
        return SceneRecipe(name, str(path), tuple(bands), Units.LANDSAT_L1, full, acquired=acquired, kind="38-Cloud")

    def files(self, source: Source) -> tuple[str, ...]:
        folder = source.form == "folder"
        paths = (patch.path for patch in find_patches(source.path)) if folder else _patch_files(source.path).values()
        return tuple(sorted(map(str, paths)))


def parse_patch(path: Path) -> Patch | None:
    """Patch described by a file name; None for other names."""
    parts = PATCH.fullmatch(path.name)
    if not parts:
        return None
    return Patch(path, parts["band"].lower(), parts["patch"], int(parts["row"]), int(parts["col"]), parts["scene"])


def find_patches(folder: Path) -> Iterator[Patch]:
    """Patches in a folder and, as in 38-Cloud's layout, in folders named after bands up to two levels below."""
    below = [path for path in folder.iterdir() if path.is_dir()]
    below += [path for parent in below for path in parent.iterdir() if path.is_dir()]
    for place in (folder, *(path for path in below if any(band in path.name.lower() for band in BANDS))):
        yield from filter(None, map(parse_patch, place.iterdir()))


def _patch_files(path: Path) -> dict[str, Path]:
    """Band → file of the same patch, in the same folder or in a folder named after the band."""
    band, files = path.name.partition("_")[0], dict[str, Path]()
    for other in BANDS:
        for folder in (path.parent, path.parent.parent / path.parent.name.replace(band.lower(), other, 1)):
            for word in (other, other.upper(), other.title()):
                if (place := folder / f"{word}{path.name[len(band) :]}").is_file():
                    files.setdefault(other, place)
    return files


def _choose_scene(folder: Path, scene_id: str | None) -> str:
    """The scene with the given ID, or the only scene. Raises BandError."""
    scenes = sorted({patch.scene for patch in find_patches(folder)})
    if scene_id is None and len(scenes) > 1:
        several = f"38-Cloud patches of {len(scenes)} scenes ({shorten(scenes)})"
        raise BandError(f"{folder}: {several}; say which with ReadOptions(scene_id=…)")
    if scene_id is not None and scene_id not in scenes:
        raise BandError(f"{folder}: no 38-Cloud patches of scene {scene_id!r}; there are {len(scenes)} scenes")
    return scene_id or scenes[0]


def _mosaic(folder: Path, scene: str) -> tuple[list[BandSource], str]:
    """VRTs of a scene's bands, mosaicked from patches, and their data type. Raises BandError for missing patches."""
    places = {(patch.band, patch.row, patch.col): patch for patch in find_patches(folder) if patch.scene == scene}
    rows, cols = max(row for _, row, _ in places), max(col for *_, col in places)
    wanted = [(b, row + 1, col + 1) for row in range(rows) for col in range(cols) for b in BANDS]
    if missing := [f"{band} row {row} column {col}" for band, row, col in wanted if (band, row, col) not in places]:
        lacks = f"lacks {len(missing)} of {len(wanted)} patch files ({shorten(missing)})"
        raise BandError(f"{folder}: scene {scene} {lacks}; name a single patch file to mask that patch alone")
    side, _, dtype = _describe(places[wanted[0]].path)
    # The size of the scene's label raster gives the padding to crop; without labels, padding stays as no data.
    truths = (path for pattern in ("", "*/", "*/*/") for path in folder.glob(f"{pattern}Entire_scene_gts/*{scene}.*"))
    truth = next((path for path in truths if path.suffix.lower() in (".tif", ".tiff")), None)
    height, width = _describe(truth)[:2] if truth else (rows * side, cols * side)
    top, left = (rows * side - height) // 2, (cols * side - width) // 2
    start = f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">'
    vrts = dict.fromkeys(BANDS, f'{start}<VRTRasterBand dataType="{GDAL_TYPES.get(dtype, "UInt16")}" band="1">')
    for band, row, col in wanted:
        vrts[band] += (
            f"<SimpleSource><SourceFilename>{escape(str(places[band, row, col].path.resolve()))}</SourceFilename>"
            f'<SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
            f'<DstRect xOff="{(col - 1) * side - left}" yOff="{(row - 1) * side - top}" xSize="{side}" ySize="{side}"/>'
            "</SimpleSource>"
        )
    end = "</VRTRasterBand></VRTDataset>"
    return [BandSource(vrt + end, f"{folder} ({band} of {scene})") for band, vrt in vrts.items()], dtype


def _describe(path: Path) -> tuple[int, int, str]:
    """Height, width and data type of a raster. Raises SceneReadError."""
    with open_raster(str(path), str(path)) as dataset:
        return dataset.height, dataset.width, str(dataset.dtypes[0])
