"""Scenes cut into training tiles on disk: plain GeoTIFFs, or 38-Cloud's folders, names and lists."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
    reader = MaskReader(scene, mask) if mask is not None else None
    kinds = ("images", "masks") if reader else ("images",)
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
            if reader:
                cut = np.where(known, reader.read(tile.read), NO_DATA).astype("uint8")
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
    reader = MaskReader(scene, mask) if mask is not None else None
    patches = _patches(scene, tile_size)
    prefix = "train" if part == "training" else part
    paths = {
        (kind, name): folder / f"{prefix}_{kind}" / f"{kind}_{name}.TIF"
        for kind in (*BANDS, *(["gt"] if reader and prefix == "train" else []))
        for name in patches
    }
    truth = folder / "Entire_scene_gts" / f"edited_corrected_gts_{scene.name}.TIF"
    wanted = [*paths.values(), *([truth] if reader else [])]
    old = {p.path.name for p in find_patches(folder) if p.scene == scene.name} if folder.exists() else set[str]()
    if strange := old - {path.name for path in wanted}:
        raise OutputExistsError(
            f"{folder}: holds patches of {scene.name} that were cut differently ({min(strange)}); delete them first"
        )
    lists = {"patches": (folder / f"{part}_patches_38-Cloud.csv", PATCH_COLUMN, list(patches))}
    lists["scenes"] = (folder / f"{part}_sceneids_38-Cloud.csv", SCENE_COLUMN, [scene.name])
    informative = folder / f"{part}_patches_38-cloud_nonempty.csv"
    if part == "training" and (informative.exists() or not lists["patches"][0].exists()):
        lists["informative"] = (informative, PATCH_COLUMN, [])
    listed = {path: _read_list(path, column) for path, column, _ in lists.values()}
    light = 1.0 if scene.sun_elevation is None else math.sin(math.radians(scene.sun_elevation))
    how: dict[str, Any] = {"compress": "packbits", "simulated": simulated}
    with _staging(wanted, overwrite) as staging:
        for name, window in patches.items():
            reflectance = read_filled(scene, window)
            known = ~np.isnan(reflectance[0])
            for band, values in zip(BANDS, to_numbers(reflectance, known, light), strict=True):
                _write(staging.place(paths[band, name]), values[None], scene, window, **how)
            if reader and ("gt", name) in paths:
                cloud = (reader.read(window) == CLOUD).astype("uint8") * 255
                _write(staging.place(paths["gt", name]), cloud[None], scene, window, **how)
            if "informative" in lists and known.mean() > INFORMATIVE:
                lists["informative"][2].append(name)
        if reader:
            whole = (reader.read(scene.grid.whole) == CLOUD).astype("uint8")
            _write(staging.place(truth), whole[None], scene, scene.grid.whole, **how)
        for path, column, names in lists.values():
            table = pd.DataFrame({column: list(dict.fromkeys([*listed[path], *names]))})
            table.to_csv(staging.place(path), index=False)
        staging.publish()
    return len(patches)


def to_numbers(reflectance: NDArray[np.float32], known: NDArray[np.bool_], light: float) -> NDArray[np.uint16]:
    """Level-1 digital numbers, given ``light``, the sine of the sun's elevation; 0 where there is no data."""
    numbers = LANDSAT_L1.invert(np.where(known, reflectance, 0) * light)
    return np.where(known, np.clip(np.rint(numbers), 1, 65_535), 0).astype("uint16")


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


class MaskReader:
    """A mask on a scene's grid. Raises GridError if its grid differs; without a CRS only its size must match."""

    def __init__(self, scene: Scene, path: str | Path) -> None:
        self._path = str(path)
        with open_raster(self._path, self._path) as dataset:
            own = GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs)
            self._shadows = "GEOCLOUD_SHADOW_THRESHOLD" in dataset.tags()
        if own.shape != scene.grid.shape or (own.crs is not None and not own.agrees_with(scene.grid)):
            raise GridError(f"{path}: its grid differs from the scene's ({own.height}×{own.width}, {own.crs})")

    def read(self, window: Window) -> NDArray[np.uint8]:
        """A window ``(h, w)``, which may extend beyond the scene: 0 clear, 1 cloud, 255 no data.

        2 is shadow in a mask that geocloud made with it; in any other, all above 0 is cloud.
        """
        with open_raster(self._path, self._path) as dataset:
            values = dataset.read(1, window=window, boundless=True, fill_value=0)
            inside = dataset.read_masks(1, window=window, boundless=True) > 0
        mask = (values > 0).astype("uint8")
        if self._shadows:
            mask[values == SHADOW] = SHADOW
        mask[~inside] = NO_DATA
        return mask


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


def _staging(files: Iterable[Path], overwrite: bool) -> Staging:
    """`Staging` of files whose folders are created."""
    files = list(files)
    for folder in dict.fromkeys(path.parent for path in files):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    return Staging(files, overwrite)
