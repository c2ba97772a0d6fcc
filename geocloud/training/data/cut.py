"""Scenes cut into training tiles on disk: plain GeoTIFFs, or 38-Cloud's folders and names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.bands import BANDS
from geocloud.errors import BandError, GridError, OptionError, OutputError, OutputExistsError
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.masks.codes import CLOUD, NO_DATA, SHADOW
from geocloud.readers import Scene, read_filled
from geocloud.readers.cloud38 import SIDE, find_patches
from geocloud.readers.stack import open_raster
from geocloud.tiling.tiles import TileGrid
from geocloud.training.data import cloud38
from geocloud.writers.cog import writing
from geocloud.writers.staging import Staging

SCALE = 10_000
MISSING = -32_768


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
    _make_folders([folder / kind for kind in kinds])
    names = {tile: f"{scene.name}_{tile.row:03d}_{tile.col:03d}.tif" for tile in grid}
    count = 0
    with Staging([folder / kind / name for kind in kinds for name in names.values()], overwrite) as staging:
        for tile, name in names.items():
            reflectance = read_filled(scene, tile.read)
            known = ~np.isnan(reflectance[0])
            if not known.any():
                continue
            count += 1
            place = scene.grid.crop(tile.read)
            values = np.clip(np.rint(np.where(known, reflectance[: scene.bands], 0) * SCALE), MISSING + 1, -MISSING - 1)
            image = np.where(known, values, MISSING).astype("int16")
            _write(
                staging.place(folder / "images" / name), image, place, scene.area_or_point, MISSING, reflectance=True
            )
            if reader:
                cut = reader.read(tile.read)
                cut[~known] = NO_DATA
                _write(staging.place(folder / "masks" / name), cut[None], place, scene.area_or_point, NO_DATA)
        staging.publish()
    return count


def cut_38cloud(
    scene: Scene, folder: Path, mask: str | Path | None = None, tile_size: int = SIDE, overwrite: bool = False
) -> int:
    """Writes the folders of 38-Cloud's training set: ``train_red/red_patch_1_1_by_1_NAME.TIF`` and so on.

    The scene is centred and padded with zeros to whole patches, which are numbered from 1, row by row. Values are
    uint16 Level-1 digital numbers, without correction for the sun's elevation; 0 is no data. With a mask, ``train_gt``
    ({0, 255}) and ``Entire_scene_gts`` ({0, 1}) are written too. The scene is added to the lists of patches and scenes
    (CSV). Unlike the authors' patches, these are georeferenced. Returns the number of patches written. Raises
    GridError, OutputError.
    """
    if tile_size < 1:
        raise OptionError(f"tile size {tile_size}: wanted 1 or more")
    if scene.bands == 3:
        raise BandError(f"{scene.name}: no near-infrared band, and 38-Cloud's patches have one; leave --layout out")
    reader = MaskReader(scene, mask) if mask is not None else None
    kinds = [*BANDS, "gt"] if reader else list(BANDS)
    patches = cloud38.windows(scene.name, scene.grid.shape, tile_size)
    truth = cloud38.truth_path(folder, scene.name)
    wanted = [cloud38.patch_path(folder, "train", kind, name) for kind in kinds for name, _ in patches]
    if reader:
        wanted.append(truth)
    _make_folders([folder, *{path.parent for path in wanted}])
    strange = {p.path.name for p in find_patches(folder) if p.scene == scene.name} - {path.name for path in wanted}
    if strange:
        raise OutputExistsError(
            f"{folder}: holds patches of {scene.name} that were cut differently ({min(strange)}); delete them first"
        )
    lists = cloud38.grown_lists(folder, "training", scene.name, [name for name, _ in patches])
    light = 1.0 if scene.sun_elevation is None else math.sin(math.radians(scene.sun_elevation))
    with Staging(wanted, overwrite) as staging:
        for name, window in patches:
            reflectance = read_filled(scene, window)
            known = ~np.isnan(reflectance[0])
            image = cloud38.to_numbers(reflectance, known, light)
            place = scene.grid.crop(window)
            for band, values in zip(BANDS, image, strict=True):
                path = staging.place(cloud38.patch_path(folder, "train", band, name))
                _write(path, values[None], place, scene.area_or_point, None)
            if reader:
                cloud = (reader.read(window) == CLOUD).astype("uint8") * 255
                path = staging.place(cloud38.patch_path(folder, "train", "gt", name))
                _write(path, cloud[None], place, scene.area_or_point, None)
        if reader:
            whole = reader.read(Window(0, 0, scene.grid.width, scene.grid.height)) == CLOUD
            _write(staging.place(truth), whole.astype("uint8")[None], scene.grid, scene.area_or_point, None)
        for path, text in lists.items():
            staging.place(path).write_text(text, encoding="utf-8", newline="")
        staging.publish()
    return len(patches)


class MaskReader:
    """A mask on a scene's grid. Raises GridError if its grid differs; without a CRS only its size must match."""

    def __init__(self, scene: Scene, path: str | Path) -> None:
        self._path = str(path)
        self._grid = scene.grid
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
    path: Path,
    values: NDArray[np.generic],
    place: GeoBox,
    area_or_point: str | None,
    nodata: float | None,
    reflectance: bool = False,
) -> None:
    options = {"count": values.shape[0], "dtype": values.dtype, "nodata": nodata, "compress": "deflate"}
    with writing(path), open_quietly(path, "w", driver="GTiff", **options, **place.profile) as dataset:
        if area_or_point:
            dataset.update_tags(AREA_OR_POINT=area_or_point)
        if reflectance:
            dataset.scales, dataset.offsets = (1 / SCALE,) * len(values), (0.0,) * len(values)
            dataset.descriptions = BANDS[: len(values)]
        dataset.write(values)


def _make_folders(folders: Iterable[Path]) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
