"""Scenes with their clouds set to nodata."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from conftest import bright, geobox, ramp, read_tif, write_tif
from geocloud_cli.main import cli

import geocloud
from geocloud import ReadOptions
from geocloud.errors import BandError, GridError, OutputError


def mask_both(path, folder, **how):
    geocloud.mask_scene(path, folder / "m.tif", masked=folder / "masked.tif", model=bright, **how)
    return read_tif(folder / "m.tif")[0], rasterio.open(folder / "masked.tif")


def test_a_stack_keeps_all_bands_and_what_is_said_of_them(tmp_path):
    values = np.rint(np.concatenate([ramp(), ramp()[:1] / 2]) * 10_000).astype("uint16")
    values[:, :4] = 7
    names = ("blue", "green", "red", "nir", "swir")
    path = write_tif(tmp_path / "s.tif", values, descriptions=names, tags={"A": "b"}, nodata=7, scales=[1e-4] * 5)
    mask, masked = mask_both(path, tmp_path)
    with masked:
        assert masked.count == 5 and masked.dtypes == ("uint16",) * 5 and masked.nodata == 7
        assert masked.descriptions == names and masked.scales == (1e-4,) * 5
        assert masked.tags()["A"] == "b" and "GEOCLOUD_MODEL" in masked.tags()
        assert masked.profile["tiled"] and masked.transform == geobox().transform
        np.testing.assert_array_equal(masked.read(), np.where(mask == 0, values, 7))


def test_files_with_a_band_each_become_one(product, tmp_path):
    mask, masked = mask_both(product, tmp_path)
    with masked:
        assert masked.count == 4 and masked.nodata == 0
        for position, band in enumerate((4, 3, 2, 5), 1):
            (source,) = product.glob(f"*_B{band}.TIF")
            np.testing.assert_array_equal(masked.read(position), np.where(mask == 0, read_tif(source)[0], 0))


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
def test_a_raster_without_nodata_gets_one(tmp_path, dtype, caplog):
    scale = {"float32": 1, "int16": 10_000, "uint8": 255}[dtype]
    values = (ramp() * scale).astype(dtype)
    path = write_tif(tmp_path / "s.tif", values)
    read = ReadOptions(scale=1 / scale)
    with caplog.at_level(logging.WARNING, "geocloud"):
        mask, masked = mask_both(path, tmp_path, read=read)
    with masked:
        found = masked.read()
        nodata = {"float32": np.nan, "int16": -9999, "uint8": 0}[dtype]
        np.testing.assert_array_equal(found, np.where(mask == 0, values, np.array(nodata, dtype)))


def test_a_part_and_a_scene_from_south_to_north(tmp_path):
    grid = geobox()
    south = grid.flip()
    path = write_tif(tmp_path / "s.tif", ramp()[:, ::-1], south)
    mask, masked = mask_both(path, tmp_path)
    with masked:
        np.testing.assert_array_equal(masked.read(), np.where(mask == 0, ramp()[:, ::-1], np.float32(np.nan)))
        assert masked.transform == south.transform
    t = grid.transform
    extent = (t.c + 600, t.f - 1800, t.c + 2100, t.f - 300)
    whole = write_tif(tmp_path / "n.tif", ramp())
    (tmp_path / "part").mkdir()
    mask, masked = mask_both(whole, tmp_path / "part", read=ReadOptions(extent=extent))
    with masked:
        assert masked.shape == mask.shape == (50, 50)
        np.testing.assert_array_equal(masked.read(), np.where(mask == 0, ramp()[:, 10:60, 20:70], np.float32(np.nan)))


def test_a_mask_is_applied_to_another_raster_on_another_grid(tmp_path):
    scene = write_tif(tmp_path / "s.tif", ramp())
    geocloud.mask_scene(scene, tmp_path / "m.tif", model=bright)
    thermal = (np.arange(45 * 55).reshape(1, 45, 55) + 1).astype("uint16")
    path = write_tif(tmp_path / "thermal.tif", thermal, geobox(45, 55, size=60))
    result = CliRunner().invoke(cli, ["apply", str(tmp_path / "m.tif"), str(path), "-o", str(tmp_path / "out.tif")])
    assert result.exit_code == 0, result.output
    mask = read_tif(tmp_path / "m.tif")[0]
    found = read_tif(tmp_path / "out.tif")[0]
    corners = np.stack([mask[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    assert (found[(corners == 1).all(0)] == 0).all() and (found[(corners == 0).all(0)] > 0).all()
    with pytest.raises(OutputError, match="is the scene itself"):
        geocloud.apply_mask(path, tmp_path / "m.tif", path, overwrite=True)
    bare = write_tif(tmp_path / "bare.tif", thermal, geobox(45, 55, crs=None))
    with pytest.raises(GridError, match="wanted the same grid, or a CRS in both"):
        geocloud.apply_mask(bare, tmp_path / "m.tif", tmp_path / "x.tif")
    assert not (tmp_path / "x.tif").exists()


def test_pixels_without_data_stay_without_data(tmp_path):
    scene = write_tif(tmp_path / "s.tif", ramp())
    geocloud.mask_scene(scene, tmp_path / "m.tif", model=bright)
    values = np.full((1, 90, 110), 7, "int16")
    values[:, 3:20] = -1
    hidden = np.zeros((90, 110), bool)
    hidden[5:30, 4:60] = True
    first = write_tif(tmp_path / "a.tif", values, nodata=-9999)
    second = write_tif(tmp_path / "b.tif", values, nodata=-1)
    third = write_tif(tmp_path / "c.tif", values)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(third, "r+") as dataset:
        dataset.write_mask(~hidden)
    bands = "".join(
        f'<VRTRasterBand dataType="Int16" band="{i}"><NoDataValue>{nodata}</NoDataValue><SimpleSource>'
        f"<SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand>"
        for i, (path, nodata) in enumerate([(first, -9999), (second, -1)], 1)
    )
    stack = tmp_path / "v.vrt"
    t = ",".join(map(str, geobox().transform.to_gdal()))
    place = f"<SRS>EPSG:32633</SRS><GeoTransform>{t}</GeoTransform>"
    stack.write_text(f'<VRTDataset rasterXSize="110" rasterYSize="90">{place}{bands}</VRTDataset>')
    for path in (stack, third):
        geocloud.apply_mask(path, tmp_path / "m.tif", tmp_path / "out.tif", overwrite=True)
        with rasterio.open(path) as source, rasterio.open(tmp_path / "out.tif") as copy:
            clear = read_tif(tmp_path / "m.tif")[0] == 0
            for band in source.indexes:
                expected = clear & (source.read_masks(band) > 0)
                assert (path, band) == (stack, 1) or (expected != clear).any()
                np.testing.assert_array_equal(copy.read_masks(band) > 0, expected)


def test_a_raster_that_is_no_mask_of_the_place_is_refused(tmp_path):
    scene = write_tif(tmp_path / "s.tif", np.rint(ramp() * 10_000).astype("uint16"))
    plan = {"probability": tmp_path / "p.tif", "model": lambda batch: batch[:, 0], "read": ReadOptions(scale=1e-4)}
    geocloud.mask_scene(scene, tmp_path / "m.tif", **plan)
    for raster, mask in ((tmp_path / "m.tif", scene), (scene, tmp_path / "p.tif")):
        with pytest.raises(BandError, match=rf"{mask.name}: holds \d+, wanted a mask: 0 clear, 1 cloud"):
            geocloud.apply_mask(raster, mask, tmp_path / "out.tif")
    grid = geobox()
    far = replace(grid, transform=grid.transform @ grid.transform.translation(500, 0))
    raster = write_tif(tmp_path / "far.tif", ramp(), far)
    with pytest.raises(GridError, match=r"m\.tif: no pixel with data in common with .*far\.tif"):
        geocloud.apply_mask(raster, tmp_path / "m.tif", tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()
    own = write_tif(tmp_path / "own.tif", np.where(ramp()[:1] > 0.3501, 1, 0).astype("uint8"))
    geocloud.apply_mask(scene, own, tmp_path / "out.tif")
    np.testing.assert_array_equal(read_tif(tmp_path / "out.tif") == 0, np.repeat(read_tif(own) == 1, 4, 0))


def test_complex_values_are_refused(tmp_path):
    scene = write_tif(tmp_path / "s.tif", ramp())
    geocloud.mask_scene(scene, tmp_path / "m.tif", model=bright)
    path = write_tif(tmp_path / "c.tif", ramp()[:1].astype("complex64"))
    with pytest.raises(BandError, match=r"c\.tif: complex64 values; wanted integers or floats"):
        geocloud.apply_mask(path, tmp_path / "m.tif", tmp_path / "out.tif")


def test_a_colour_table_is_kept(tmp_path):
    geocloud.mask_scene(write_tif(tmp_path / "s.tif", ramp()), tmp_path / "m.tif", model=bright)
    path, colours = write_tif(tmp_path / "p.tif", (ramp()[:1] * 100).astype("uint8")), {7: (10, 20, 30, 255)}
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, colours)
    geocloud.apply_mask(path, tmp_path / "m.tif", tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as copy:
        assert copy.colormap(1)[7] == colours[7]
