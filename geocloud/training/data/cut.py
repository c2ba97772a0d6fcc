"""Scenes cut into training tiles on disk: plain GeoTIFFs, or 38-Cloud's folders, names and lists."""

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
"""Column names of 38-Cloud's lists."""

FIRST = Window(0, 0, 1, 1)
"""Window that is read of a mask before anything is written, to see that it belongs to the scene."""


def cut_geotiffs(
    scene: Scene,
    folder: Path,
    mask: str | Path | None = None,
    tile_size: int = SIDE,
    overlap: int = 0,
    overwrite: bool = False,
) -> int:
    """Writes ``images/NAME_ROW_COL.tif``, and with a mask ``masks/`` with the same names.

    Images: int16, reflectance × 10 000 (the file holds the scale), three or four named bands, no data −32768. Masks:
    uint8, 0 clear, 1 cloud, 2 shadow where the mask is one of geocloud's with shadow, 255 no data. Tiles are
    georeferenced. Those at the edge extend beyond the scene, with no data there. Tiles without any data are left out.
    Returns the number of tiles written. Raises GridError, OutputError.
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
    """Writes the folders of 38-Cloud's training set: ``train_red/red_patch_1_1_by_1_NAME.TIF`` and so on.

    The scene is centred and padded with zeros to whole patches, which are numbered from 1, row by row. Values are
    uint16 Level-1 digital numbers, without correction for the sun's elevation; 0 is no data. With a mask, ``train_gt``
    ({0, 255}) and ``Entire_scene_gts`` ({0, 1}) are written too. The scene is added to the lists of patches and scenes
    (CSV). Unlike the authors' patches, these are georeferenced, except if ``simulated``, as every file then says.
    ``part`` test writes their test set, without ``test_gt``. Returns the number of patches written. Raises GridError,
    OutputError.
    """
    if tile_size < 1:
        raise OptionError(f"tile size {tile_size}: wanted 1 or more")
    if scene.bands == 3:
        raise BandError(f"{scene.name}: no near-infrared band, and 38-Cloud's patches have one; leave --layout out")
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
            f"{folder}: holds patches of {scene.name} that were cut differently ({min(strange)}); delete them first"
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
    """The patches of a scene, centred and padded as in 38-Cloud, row by row: windows by name."""
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
    """The names in one of 38-Cloud's lists, none if there is no file. Raises OutputExistsError for another file."""
    table = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame({column: []})
    if column not in table:
        raise OutputExistsError(f"{path}: has no column {column!r}; it is not a 38-Cloud list, choose another folder")
    return list(table[column])


def _read_mask(scene: Scene, path: str | Path, window: Window) -> NDArray[np.uint8]:
    """A window ``(h, w)`` of a mask, which may extend beyond the scene: 0 clear, 1 cloud, 255 no data.

    2 is shadow in a mask that geocloud made with it; in any other, all above 0 is cloud. Raises GridError if its grid
    is not the scene's; without a CRS only its size must match.
    """
    with open_raster(str(path), str(path)) as dataset:
        own = GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs)
        if own.shape != scene.grid.shape or (own.crs is not None and not own.agrees_with(scene.grid)):
            raise GridError(f"{path}: its grid differs from the scene's ({own.height}×{own.width}, {own.crs})")
        values = dataset.read(1, window=window, boundless=True, fill_value=0)
        inside = dataset.read_masks(1, window=window, boundless=True) > 0
        shadows = "GEOCLOUD_SHADOW_THRESHOLD" in dataset.tags()
    mask = np.where(shadows & (values == SHADOW), SHADOW, values > 0)
    return np.where(inside, mask, NO_DATA).astype("uint8")


def _write(
    path: Path, values: NDArray[np.generic], scene: Scene, window: Window, simulated: bool = False, **options: Any
) -> None:
    """Writes a window of a scene as GeoTIFF: int16 as named bands of reflectance, anything else as it is."""
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
    """`Staging` of files whose folders are created."""
    for folder in {path.parent for path in files}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    return Staging(files, overwrite)
