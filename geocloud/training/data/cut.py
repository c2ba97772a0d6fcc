"""Training tiles cut from scenes, as plain GeoTIFFs or in 38-Cloud's layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.bands import BANDS, LANDSAT_L1
from geocloud.errors import BandError, GridError, OptionError, OutputError, OutputExistsError
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.masks.codes import CLOUD, NO_DATA, SHADOW
from geocloud.readers import Scene, read_filled
from geocloud.readers.cloud38 import SIDE, find_patches
from geocloud.readers.stack import open_raster
from geocloud.tiling.tiles import TileGrid
from geocloud.training.data.chips import MISSING, SCALE, to_int16
from geocloud.training.data.layout import INFORMATIVE
from geocloud.writers.cog import writing
from geocloud.writers.staging import Staging

PATCH_COLUMN, SCENE_COLUMN = "name", "Landsat 8 Collection 1 Level 1 Product SceneID"
"""Column names in 38-Cloud's lists of patches and scenes."""

FIRST = Window(0, 0, 1, 1)
"""Window read from a mask before anything is written, to check that its grid fits the scene."""


def cut_geotiffs(
    scene: Scene,
    folder: Path,
    mask: str | Path | None = None,
    tile_size: int = SIDE,
    overlap: int = 0,
    overwrite: bool = False,
) -> int:
    """Writes ``images/NAME_ROW_COL.tif`` and, with a mask, ``masks/NAME_ROW_COL.tif``.

    Images: int16, reflectance × 10 000 (the scale is in the file), three or four named bands, nodata −32768. Masks:
    uint8, 0 clear, 1 cloud, 2 shadow (if geocloud made the mask with shadow), 255 no data. Tiles are georeferenced;
    those at the edge extend beyond the scene and are filled with nodata. Tiles without data are left out. Returns the
    number of tiles written. Raises GridError, OutputError.
    """
    grid = TileGrid(scene.grid.height, scene.grid.width, tile_size, overlap)
    if mask is not None:
        _read_mask(scene, mask, FIRST)
    kinds = ("images", "masks") if mask is not None else ("images",)
    names = {tile: f"{scene.name}_{tile.row:03d}_{tile.col:03d}.tif" for tile in grid}
    count = 0
    with _staging([folder / kind / name for kind in kinds for name in names.values()], overwrite) as staging:
        for tile, name in names.items():
            reflectance = read_filled(scene, tile.read)
            known = ~np.isnan(reflectance[0])
            if not known.any():
                continue
            count += 1
            image = to_int16(reflectance[: scene.bands])
            _write(staging.place(folder / "images" / name), image, scene, tile.read, nodata=MISSING)
            if mask is not None:
                cut = np.where(known, _read_mask(scene, mask, tile.read), NO_DATA).astype("uint8")
                _write(staging.place(folder / "masks" / name), cut[None], scene, tile.read, nodata=NO_DATA)
        staging.publish()
    return count


def cut_38cloud(
    scene: Scene,
    folder: Path,
    mask: str | Path | None = None,
    tile_size: int = SIDE,
    overwrite: bool = False,
    part: str = "training",
    simulated: bool = False,
) -> int:
    """Writes patches in the layout of 38-Cloud's training set, such as ``train_red/red_patch_1_1_by_1_NAME.TIF``.

    The scene is centred and padded with zeros to whole patches, numbered from 1, row by row. Values are uint16 Level-1
    digital numbers without correction for sun elevation; 0 is no data. A mask is written to ``train_gt`` ({0, 255})
    and ``Entire_scene_gts`` ({0, 1}). The scene is added to the lists of patches and scenes (CSV). Unlike the authors'
    patches, these are georeferenced; those of a ``simulated`` scene are not, and are tagged as simulated. With
    ``part="test"`` the layout is the test set's, without ``test_gt``. Returns the number of patches written. Raises
    BandError, GridError, OptionError, OutputError.
    """
    if tile_size < 1:
        raise OptionError(f"tile size {tile_size}: wanted 1 or more")
    if scene.bands == 3:
        raise BandError(f"{scene.name}: no near-infrared band, which 38-Cloud's layout requires; leave out --layout")
    prefix, kinds = ("test", BANDS) if part == "test" else ("train", BANDS if mask is None else (*BANDS, "gt"))
    patches = _patches(scene, tile_size)
    paths = {(kind, n): folder / f"{prefix}_{kind}" / f"{kind}_{n}.TIF" for kind in kinds for n in patches}
    files = list(paths.values())
    if mask is not None:
        _read_mask(scene, mask, FIRST)
        files.append(folder / "Entire_scene_gts" / f"edited_corrected_gts_{scene.name}.TIF")
    old = {p.path.name for p in find_patches(folder) if p.scene == scene.name} if folder.exists() else set[str]()
    if strange := old - {path.name for path in files}:
        raise OutputExistsError(
            f"{folder}: contains patches of {scene.name} that were cut differently ({min(strange)}); delete them first"
        )
    lists = [
        (folder / f"{part}_patches_38-Cloud.csv", PATCH_COLUMN, list(patches)),
        (folder / f"{part}_sceneids_38-Cloud.csv", SCENE_COLUMN, [scene.name]),
    ]
    informative, more = list[str](), folder / f"{part}_patches_38-cloud_nonempty.csv"
    if part == "training" and (more.exists() or not lists[0][0].exists()):
        lists.append((more, PATCH_COLUMN, informative))
    listed = [_read_list(path, column) for path, column, _ in lists]
    light = 1.0 if scene.sun_elevation is None else math.sin(math.radians(scene.sun_elevation))
    how: dict[str, Any] = {"compress": "packbits", "simulated": simulated}
    with _staging(files, overwrite) as staging:
        for name, window in patches.items():
            reflectance = read_filled(scene, window)
            known = ~np.isnan(reflectance[0])
            if known.mean() > INFORMATIVE:
                informative.append(name)
            numbers = LANDSAT_L1.invert(np.where(known, reflectance, 0) * light)
            layers = [*np.where(known, np.clip(np.rint(numbers), 1, 65_535), 0).astype("uint16")]
            if mask is not None and "gt" in kinds:
                layers.append((_read_mask(scene, mask, window) == CLOUD).astype("uint8") * 255)
            for kind, values in zip(kinds, layers, strict=True):
                _write(staging.place(paths[kind, name]), values[None], scene, window, **how)
        if mask is not None:
            truth = (_read_mask(scene, mask, scene.grid.whole) == CLOUD).astype("uint8")
            _write(staging.place(files[-1]), truth[None], scene, scene.grid.whole, **how)
        for (path, column, names), earlier in zip(lists, listed, strict=True):
            table = pd.DataFrame({column: list(dict.fromkeys([*earlier, *names]))})
            table.to_csv(staging.place(path), index=False)
        staging.publish()
    return len(patches)


def _patches(scene: Scene, side: int) -> dict[str, Window]:
    """Windows of the patches of a scene by name, row by row, centred and padded as in 38-Cloud."""
    rows, cols = (math.ceil(n / side) for n in scene.grid.shape)
    top, left = ((n * side - length) // 2 for n, length in zip((rows, cols), scene.grid.shape, strict=True))
    return {
        f"patch_{row * cols + col + 1}_{row + 1}_by_{col + 1}_{scene.name}": Window(
            col * side - left, row * side - top, side, side
        )
        for row in range(rows)
        for col in range(cols)
    }


def _read_list(path: Path, column: str) -> list[str]:
    """Names in a list of 38-Cloud; empty if there is no file. Raises OutputExistsError if the column is missing."""
    table = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame({column: []})
    if column not in table:
        raise OutputExistsError(f"{path}: has no column {column!r} and is not a 38-Cloud list; choose another folder")
    return list(table[column])


def _read_mask(scene: Scene, path: str | Path, window: Window) -> NDArray[np.uint8]:
    """A window ``(h, w)`` of a mask, which may extend beyond the scene: 0 clear, 1 cloud, 2 shadow, 255 no data.

    Shadow is kept only if geocloud made the mask with it; in other masks all values above 0 are cloud. Raises GridError
    if the mask's grid differs from the scene's; without a CRS only the size must match.
    """
    with open_raster(str(path), str(path)) as dataset:
        own = GeoBox.of(dataset)
        south_up = own.agrees_with(scene.grid.flip())
        if own.shape != scene.grid.shape or not (own.crs is None or south_up or own.agrees_with(scene.grid)):
            raise GridError(f"{path}: its grid ({own}) differs from the scene's ({scene.grid})")
        if south_up:
            window = Window(window.col_off, own.height - window.row_off - window.height, window.width, window.height)
        values = dataset.read(1, window=window, boundless=True, fill_value=0)
        inside = dataset.read_masks(1, window=window, boundless=True) > 0
        shadows = "GEOCLOUD_SHADOW_THRESHOLD" in dataset.tags()
    mask = np.where(shadows & (values == SHADOW), SHADOW, values > 0)
    return np.where(inside, mask, NO_DATA).astype("uint8")[:: -1 if south_up else 1]


def _write(
    path: Path, values: NDArray[np.generic], scene: Scene, window: Window, simulated: bool = False, **options: Any
) -> None:
    """Writes a window of a scene as GeoTIFF. int16 arrays get band names and the scale of reflectance."""
    place, tags = scene.grid.crop(window).profile, {"AREA_OR_POINT": scene.area_or_point or "Area"}
    if simulated:
        place = {"height": place["height"], "width": place["width"]}
        tags = {"TIFFTAG_IMAGEDESCRIPTION": "Simulated by geocloud, not an observation"}
    how = {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "compress": "deflate", **options}
    with writing(path), open_quietly(path, "w", **how, **place) as dataset:
        dataset.update_tags(**tags)
        if values.dtype == np.int16:
            dataset.scales, dataset.offsets = (1 / SCALE,) * len(values), (0.0,) * len(values)
            dataset.descriptions = BANDS[: len(values)]
        dataset.write(values)


def _staging(files: list[Path], overwrite: bool) -> Staging:
    """A `Staging` of files; their folders are created. Raises OutputError."""
    for folder in {path.parent for path in files}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    return Staging(files, overwrite)
