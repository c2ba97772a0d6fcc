"""The whole program with the bundled model on real scenes, if available."""

import shutil
import subprocess
import sys
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import read_tif
from rasterio.windows import Window
from small import needs_bfloat16

from geocloud.errors import BandError
from geocloud.grid import GeoBox
from geocloud.masks.codes import Thresholds, to_mask
from geocloud.models.predictor import Precision, load_model
from geocloud.pipeline import MaskOptions, mask_scene
from geocloud.readers import ReadOptions, find_recipe, open_scene
from geocloud.tiling.mosaic import blend, tile_rows
from geocloud.tiling.resample import average
from geocloud.tiling.tiles import TileGrid

SENTINEL = ReadOptions(bands=(3, 2, 1, 4))
"""Of scenes/sentinel2_4band, whose bands are blue, green, red, nir."""

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]


@pytest.fixture(scope="module")
def predictor():
    return load_model()


def grid_of(path):
    with rasterio.open(path) as dataset:
        return GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs), dataset.tags().get(
            "AREA_OR_POINT"
        )


def test_a_cloudy_landsat_folder_keeps_its_grid(data, tmp_path, predictor):
    folder = data / "scenes" / "landsat8_bands_cloudy"
    common = {"model": predictor, "options": MaskOptions(polygon_min_area=0)}
    result = mask_scene(
        folder, tmp_path / "a.tif", polygons=tmp_path / "a.gpkg", probability=tmp_path / "p.tif", **common
    )
    assert grid_of(tmp_path / "a.tif") == grid_of(folder / "l8_B4.tif")
    assert grid_of(tmp_path / "p.tif") == grid_of(folder / "l8_B4.tif")
    assert result.cloud_percent > 5
    area = (read_tif(tmp_path / "a.tif") == 1).sum() * 900
    exact = geopandas.read_file(tmp_path / "a.gpkg", layer="clouds")
    assert exact.area_m2.sum() == pytest.approx(area)
    assert exact.geometry.is_valid.all()
    mask_scene(folder, tmp_path / "b.tif", polygons=tmp_path / "b.gpkg", model=predictor)
    assert geopandas.read_file(tmp_path / "b.gpkg", layer="clouds").area_m2.sum() == pytest.approx(area, rel=0.1)


def test_archives_with_all_bands_are_masked_and_the_others_refused(data, tmp_path, predictor):
    folder = data / "scenes" / "landsat_c2_archives"
    refused, before = {}, set(folder.iterdir())
    for path in sorted(folder.glob("*.tar.gz")):
        try:
            result = mask_scene(path, tmp_path / f"{path.stem}.tif", model=predictor)
        except BandError as error:
            refused[path.name[:22]] = str(error)
            continue
        assert result.crs.to_string().startswith("EPSG:326")
        assert result.cloud_percent < 10  # all of them are nearly clear by visual inspection
    assert set(refused) == {"LC08_L1TP_204023_20200", "LC08_L2SP_232056_20151"}
    assert "no red (B4)" in refused["LC08_L1TP_204023_20200"]
    assert "no nir (SR_B5)" in refused["LC08_L2SP_232056_20151"]
    assert set(folder.iterdir()) == before, "nothing is written beside the source"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("100301", 50, 75), ("100909", 97, 100), ("101429", 45, 75), ("101657", 0, 2), ("102871", 25, 60)],
)
def test_sentinel_2_scenes(data, tmp_path, predictor, name, low, high):
    """Bounds from visual inspection. The bands are blue, green, red, nir.

    101657, an opencast mine, is clear, but small parts are classified as cloud.
    """
    path = data / "scenes" / "sentinel2_4band" / f"{name}.tif"
    result = mask_scene(path, tmp_path / "a.tif", model=predictor, read=SENTINEL)
    assert low <= result.cloud_percent <= high
    assert grid_of(tmp_path / "a.tif") == grid_of(path)


def test_a_town_and_its_bright_fields_are_clear(data, tmp_path, predictor):
    """Held out from training. At the time of writing, 0.9 % is classified as cloud."""
    path = data / "backgrounds" / "s2l2a_varilhes.tif"
    result = mask_scene(path, tmp_path / "a.tif", model=predictor, read=ReadOptions(bands=(1, 2, 3, 4)))
    assert result.cloud_percent < 0.3


def test_floats_and_38_cloud_patches(data, tmp_path, predictor):
    toa = mask_scene(data / "scenes" / "landsat8_toa_float32", tmp_path / "a.tif", model=predictor)
    assert 80 < toa.valid_percent < 95
    assert 0.5 < toa.cloud_percent < 30
    for number, path in enumerate(sorted((data / "scenes" / "38cloud_patches").glob("red*.TIF"))):
        result = mask_scene(path, tmp_path / f"{number}.tif", model=predictor)
        assert result.crs is None
        assert result.cloud_percent > 1


def seams(source, options):
    """A mask, the mask with tiles shifted by half a tile, and each pixel's distance from the first's tile edges."""
    predictor = load_model()
    with open_scene(source, options) as scene:
        fitted = TileGrid.fitted(*scene.grid.shape)
        masks = []
        image = scene.read().data
    for moved in (0, fitted.step // 2):  # by mirrored pixels above and to the left
        padded = np.pad(image, ((0, 0), (moved, 0), (moved, 0)), "symmetric")
        grid = replace(fitted, height=padded.shape[1], width=padded.shape[2])

        def read(first, out, padded=padded):
            out[...] = padded[:, first : first + out.shape[1]]

        strips = blend(grid, tile_rows(grid, read), predictor)
        parts = [to_mask(s.probability, Thresholds(predictor.threshold)) for s in strips]
        masks.append(np.concatenate(parts)[moved:, moved:])
    near = np.zeros(scene.grid.shape, bool)
    overlap = fitted.overlap
    for start in (t * fitted.step + o for t in range(1, fitted.rows) for o in (0, overlap // 2, overlap)):
        near[max(start - 4, 0) : start + 4] = True
    across = fitted.tile_width - overlap
    for start in (t * across + o for t in range(1, fitted.cols) for o in (0, overlap // 2, overlap)):
        near[:, max(start - 4, 0) : start + 4] = True
    inside = np.s_[overlap:, overlap:]  # excludes the margin, which differs beyond the edge
    return masks[0][inside], masks[1][inside], near[inside]


@pytest.mark.parametrize("name", ["landsat8", "101429", "100301", "102871"])
def test_no_seam_shows(data, tmp_path, name):
    """Large cloudy scenes of several tiles: real crops, repeated and mirrored at their joints.

    Sentinel-2 crops are at 30 m, the pixel size of the models.
    """
    if name == "landsat8":
        folder = data / "scenes" / "landsat8_bands_cloudy"
        sources = [folder / f"l8_B{number}.tif" for number in (2, 3, 4, 5)]
        shutil.copy(folder / "l8_MTL.txt", tmp_path)
    else:
        sources = [data / "scenes" / "sentinel2_4band" / f"{name}.tif"]
    for path in sources:
        with rasterio.open(path) as source:
            image, profile = source.read(), source.profile
        times = 3
        if name != "landsat8":
            image = np.rint(average(image[:, :510, :510].astype("float32"), 3)).astype(image.dtype)
            profile["transform"], times = profile["transform"] @ Affine.scale(3), 9
        wide = np.concatenate([image[:, :, :: -1 if i % 2 else 1] for i in range(times)], 2)
        tall = np.concatenate([wide[:, :: -1 if i % 2 else 1] for i in range(times)], 1)
        profile.update(height=tall.shape[1], width=tall.shape[2], blockxsize=256, blockysize=256, tiled=True)
        with rasterio.open(tmp_path / path.name, "w", **profile) as out:
            out.write(tall)
    source = (tmp_path, None) if name == "landsat8" else (tmp_path / f"{name}.tif", SENTINEL)
    one, other, near = seams(*source)
    differ = one != other
    print(f"{name}: agree {100 * (1 - differ.mean()):.2f} %, near tile edges {100 * (1 - differ[near].mean()):.2f} %")
    assert 0.02 < (one == 1).mean() < 0.98
    assert differ.mean() < 0.002
    assert differ[near].mean() < 3 * differ.mean() + 1e-4


@pytest.mark.parametrize(
    ("precision", "least"),
    [
        pytest.param(Precision.BFLOAT16, 0.999, marks=needs_bfloat16),
        (Precision.INT8, 0.998),
    ],
)
def test_fewer_bits_mask_as_float32_does(data, precision, least):
    folder = data / "scenes"
    sources = [folder / name for name in ("landsat8_bands_cloudy", "landsat8_toa_float32", "landsat8_zion_bands")]
    sources += [*(folder / "sentinel2_4band").glob("*.tif"), *(folder / "38cloud_patches").glob("red*.TIF")]
    models = [load_model(device="cpu", precision=p) for p in (Precision.FLOAT32, precision)]
    same = []
    for source in sources:
        with open_scene(source, SENTINEL if source.parent.name == "sentinel2_4band" else None) as scene:
            raster = scene.read(Window(0, 0, scene.grid.width, scene.grid.height))
            image, valid = raster.data, raster.valid
            size = scene.grid.pixel_size and scene.grid.pixel_size[0]
        one, other = (model.predict_array(image, pixel_size=size)[0][valid] > model.threshold for model in models)
        same.append(one == other)
        print(f"{source.name}: {100 * same[-1].mean():.2f} %")
    print(f"all: {100 * np.concatenate(same).mean():.3f} %")
    assert np.concatenate(same).mean() >= least


def test_level_1_read_without_its_sun_gives_nearly_the_same(data, tmp_path, predictor):
    folder = data / "scenes" / "landsat8_bands_cloudy"
    bare = tmp_path / "bare"
    bare.mkdir()
    for number in (2, 3, 4, 5):
        shutil.copy(folder / f"l8_B{number}.tif", bare)
    mask_scene(folder, tmp_path / "with.tif", model=predictor)
    mask_scene(bare, tmp_path / "without.tif", model=predictor, read=ReadOptions(units="landsat-l1"))
    assert (read_tif(tmp_path / "with.tif") == read_tif(tmp_path / "without.tif")).mean() >= 0.95


def test_memory_stays_bounded_on_scenes_of_full_width(data, tmp_path):
    """Real crops, repeated to 7700×3800, need under 800 MB, hardly more than half of the rows."""
    source = data / "scenes" / "landsat8_bands_cloudy"
    peaks = []
    for rows in (1900, 3800):
        folder = tmp_path / f"rows{rows}"
        folder.mkdir()
        for number in (2, 3, 4, 5):
            with rasterio.open(source / f"l8_B{number}.tif") as dataset:
                band, profile = dataset.read(1), dataset.profile
            profile.update(height=rows, width=7700, tiled=True, blockxsize=256, blockysize=256, compress=None)
            with rasterio.open(folder / f"l8_B{number}.tif", "w", **profile) as out:
                out.write(np.tile(band, (7, 13))[:rows, :7700], 1)
        shutil.copy(source / "l8_MTL.txt", folder)
        # The kernel's own high-water mark; getrusage would count the memory of the process that started this one.
        code = (
            "import sys; from geocloud_cli.main import cli; cli(standalone_mode=False); "
            "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
        )
        command = [sys.executable, "-c", code, "mask", str(folder), "-o", str(folder / "mask.tif")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
    print(peaks)
    assert peaks[1] < 800
    assert peaks[1] < 1.15 * peaks[0]


def test_recipes_of_all_small_products(data):
    folders = sorted((data / "scenes" / "landsat8_l1_folders_3km").iterdir())
    assert len(folders) == 19
    for folder in folders:
        recipe = find_recipe(folder)
        assert recipe.name in folder.name
        assert recipe.acquired is not None
