"""38-Cloud patches: one patch, or a whole scene put together from them.

The authors cut Landsat 8 Level-1 scenes into 384×384 patches after padding them with zeros, centred, to whole
patches. Patches have no CRS. https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from geocloud.bands import BANDS, LANDSAT_L1, Conversion, Units
from geocloud.errors import BandError
from geocloud.readers.base import BandSource, ReadOptions, SceneRecipe
from geocloud.readers.landsat import ProductName
from geocloud.readers.layers import open_raster

PATCH = re.compile(
    r"(?P<band>red|green|blue|nir)_(?P<patch>patch_(?P<index>\d+)_(?P<row>\d+)_by_(?P<col>\d+)_(?P<scene>.+))\.tiff?",
    re.IGNORECASE,
)
SIDE = 384
"""Pixels of a patch's side, as the authors cut them."""

GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}


@dataclass(frozen=True, slots=True)
class Patch:
    """One file of one band of one patch; rows and columns count from 1."""

    path: Path
    band: str
    name: str
    row: int
    col: int
    scene: str


def parse_patch(path: Path) -> Patch | None:
    """What a file's name tells, None when it is no 38-Cloud name."""
    found = PATCH.fullmatch(path.name)
    if not found:
        return None
    return Patch(path, found["band"].lower(), found["patch"], int(found["row"]), int(found["col"]), found["scene"])


def find_patches(folder: Path) -> Iterator[Patch]:
    """All patches in a folder, or in folders named after bands up to two levels below, as 38-Cloud is laid out."""
    for place in _patch_folders(folder):
        for path in place.iterdir():
            if patch := parse_patch(path):
                yield patch


def _patch_folders(folder: Path) -> Iterator[Path]:
    yield folder
    below = [path for path in folder.iterdir() if path.is_dir()]
    deeper = [path for parent in below for path in parent.iterdir() if path.is_dir()]
    for path in (*below, *deeper):
        if any(band in path.name.lower() for band in BANDS):
            yield path


def patch_files(path: Path) -> list[Path | None]:
    """The files of red, green, blue and nir of the patch that a file of any band belongs to; None: it is not there."""
    patch = parse_patch(path)
    return [_sibling(path, patch.band, band) for band in BANDS] if patch else []


def patch_recipe(path: Path, options: ReadOptions) -> SceneRecipe:
    """The recipe of the patch that a file of any band belongs to. Raises BandError."""
    _refuse_bands(path, options)
    patch = parse_patch(path)
    assert patch is not None
    files = patch_files(path)
    missing = [band for band, file in zip(BANDS, files, strict=True) if file is None]
    if missing:
        raise BandError(
            f"{path}: no {' and no '.join(missing)} file of this patch beside it or in a folder beside its own"
        )
    red, green, blue, nir = (BandSource(str(file), str(file)) for file in files)
    return _recipe(patch.name, str(path), patch.scene, (red, green, blue, nir), str(files[0]))


def scene_recipe(folder: Path, options: ReadOptions) -> SceneRecipe:
    """The recipe of a whole scene, from the patches in a folder. Raises BandError where patches are missing.

    Where the folder holds the scene's truth (``Entire_scene_gts``), its size tells the padding, and the mask has the
    scene's own size; else it keeps the padding, as no data.
    """
    _refuse_bands(folder, options)
    patches = list(find_patches(folder))
    scenes = sorted({patch.scene for patch in patches})
    if options.scene_id is None and len(scenes) == 1:
        scene = scenes[0]
    elif options.scene_id is None:
        shown = ", ".join(scenes[:4]) + (" …" if len(scenes) > 4 else "")
        raise BandError(f"{folder}: 38-Cloud patches of {len(scenes)} scenes ({shown}); say which with --scene-id")
    elif options.scene_id in scenes:
        scene = options.scene_id
    else:
        raise BandError(f"{folder}: no 38-Cloud patches of scene {options.scene_id!r}; there are {len(scenes)} scenes")

    mine = [patch for patch in patches if patch.scene == scene]
    rows, cols = max(p.row for p in mine), max(p.col for p in mine)
    places = {(patch.band, patch.row, patch.col): patch for patch in mine}
    missing = [
        f"{band} row {row} column {col}"
        for row in range(1, rows + 1)
        for col in range(1, cols + 1)
        for band in BANDS
        if (band, row, col) not in places
    ]
    if missing:
        shown = ", ".join(missing[:4]) + (" …" if len(missing) > 4 else "")
        raise BandError(
            f"{folder}: scene {scene} lacks {len(missing)} of {4 * rows * cols} patch files ({shown}); "
            "name a single patch file to mask that patch alone"
        )
    sample = mine[0].path
    with open_raster(str(sample), str(sample)) as dataset:
        side, dtype = dataset.height, str(dataset.dtypes[0])
    padded = rows * side, cols * side
    size = _truth_size(folder, scene) or padded
    top, left = ((whole - part) // 2 for whole, part in zip(padded, size, strict=True))
    bands = []
    for band in BANDS:
        here = [places[band, row, col] for row in range(1, rows + 1) for col in range(1, cols + 1)]
        text = _vrt(here, side, GDAL_TYPES.get(dtype, "UInt16"), size, (top, left))
        bands.append(BandSource(text, f"{folder} ({band} of {scene})"))
    red, green, blue, nir = bands
    return _recipe(scene, str(folder), scene, (red, green, blue, nir), str(sample))


def _refuse_bands(path: Path, options: ReadOptions) -> None:
    if options.bands:
        raise BandError(f"{path}: 38-Cloud patches name their bands; leave --bands out")


def _recipe(
    name: str, source: str, scene: str, bands: tuple[BandSource, BandSource, BandSource, BandSource], sample: str
) -> SceneRecipe:
    with open_raster(sample, sample) as dataset:
        eight_bits = dataset.dtypes[0] == "uint8"
    # Some copies hold the upper eight of the sixteen bits.
    full = Conversion.uniform(LANDSAT_L1.scale[0] * 257, LANDSAT_L1.offset[0]) if eight_bits else None
    return SceneRecipe(
        name=name,
        source=source,
        bands=bands,
        units=Units.LANDSAT_L1,
        conversion=full,
        acquired=ProductName.parse(scene).acquired,
        kind="38-Cloud",
    )


def _sibling(path: Path, band: str, other: str) -> Path | None:
    """The file of another band: beside this one, or in a folder named after that band as this one is after its own."""
    rest = path.name[len(band) :]
    folders = [path.parent]
    if band in path.parent.name:
        folders.append(path.parent.with_name(path.parent.name.replace(band, other, 1)))
    for folder in folders:
        for candidate in (
            folder / f"{other}{rest}",
            folder / f"{other.upper()}{rest}",
            folder / f"{other.title()}{rest}",
        ):
            if candidate.is_file():
                return candidate
    return None


def _truth_size(folder: Path, scene: str) -> tuple[int, int] | None:
    for pattern in ("", "*/", "*/*/"):
        for path in folder.glob(f"{pattern}Entire_scene_gts/*{scene}.[tT][iI][fF]*"):
            if path.suffix.lower() not in (".tif", ".tiff"):
                continue  # GDAL's .aux.xml
            with open_raster(str(path), str(path)) as dataset:
                return dataset.height, dataset.width
    return None


def _vrt(patches: list[Patch], side: int, dtype: str, size: tuple[int, int], offset: tuple[int, int]) -> str:
    """A virtual raster of one band: every patch at its place, moved by the padding that is cut off."""
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(p.path.resolve()))}</SourceFilename>'
        f'<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
        f'<DstRect xOff="{(p.col - 1) * side - offset[1]}" yOff="{(p.row - 1) * side - offset[0]}" '
        f'xSize="{side}" ySize="{side}"/></SimpleSource>'
        for p in patches
    )
    return (
        f'<VRTDataset rasterXSize="{size[1]}" rasterYSize="{size[0]}">'
        f'<VRTRasterBand dataType="{dtype}" band="1">{sources}</VRTRasterBand></VRTDataset>'
    )
