"""Ambiguous and duplicate band names are errors; orders given as letters resolve them."""

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ramp, write_tif
from geocloud_cli.main import cli

from geocloud.errors import BandError
from geocloud.readers import ReadOptions, find_recipe, open_scene


def stack(path, names, **options):
    """Writes different bands × 10 000 with these names."""
    values = np.stack([ramp()[0] + 0.01 * i for i in range(len(names))])
    return write_tif(path, np.rint(values * 1e4).astype("uint16"), descriptions=names, **options)


def chosen(path, names, **options):
    """Names of the bands that are read, red first."""
    return [names[band.index - 1] for band in find_recipe(path, ReadOptions(**options)).bands]


EDGE = [f"B{n}" for n in range(2, 9)]


def test_red_edge_is_not_near_infrared(tmp_path):
    named = stack(tmp_path / "sentinel2_2020.tif", EDGE)
    assert chosen(named, EDGE) == ["B4", "B3", "B2", "B8"]
    plain = stack(tmp_path / "plain.tif", EDGE)
    with pytest.raises(BandError, match=r"may be Sentinel-2's.*or Landsat's.*units='sentinel2'"):
        chosen(plain, EDGE)
    assert chosen(plain, EDGE, units="sentinel2") == ["B4", "B3", "B2", "B8"]
    assert chosen(plain, EDGE, units="landsat-l1") == ["B4", "B3", "B2", "B5"]
    padded = [f"B{n:02}" for n in range(2, 9)]
    assert chosen(stack(tmp_path / "padded.tif", padded), padded) == ["B04", "B03", "B02", "B08"]
    whole = [f"B{n}" for n in range(1, 12)]
    assert chosen(stack(tmp_path / "whole.tif", whole), whole) == ["B4", "B3", "B2", "B5"]


def files(folder, names, pattern="{}.tif"):
    folder.mkdir()
    for i, name in enumerate(names):
        values = np.rint((ramp()[:1] + 0.01 * i) * 1e4).astype("uint16")
        write_tif(folder / pattern.format(name), values)
    return folder


def test_the_same_in_a_folder(tmp_path):
    padded = files(tmp_path / "padded", ("B02", "B03", "B04", "B05", "B08"))
    assert [band.label[-7:-4] for band in find_recipe(padded).bands] == ["B04", "B03", "B02", "B08"]
    plain = files(tmp_path / "plain", ("B2", "B3", "B4", "B5", "B8"))
    with pytest.raises(BandError, match=r"or Landsat's.*bands=\(4, 3, 2, 8\)"):
        find_recipe(plain)
    assert find_recipe(plain, ReadOptions(bands=(4, 3, 2, 8))).bands[3].path.endswith("B8.tif")


@pytest.mark.parametrize(
    "names",
    [
        ["20240701_B2", "20240701_B3", "20240701_B4", "20240701_B8", "20240801_B2", "20240801_B3", "20240801_B4"],
        ["red", "green", "blue", "nir", "red", "green", "blue", "nir"],
        ["jan red", "jan green", "jan blue", "jan nir", "feb red", "feb green", "feb blue", "feb nir"],
    ],
)
def test_two_dates_in_one_file(tmp_path, names):
    path = stack(tmp_path / "two.tif", names)
    with pytest.raises(BandError, match=r"occurs 2 times \(bands 1|occurs 2 times \(bands 3"):
        chosen(path, names)
    assert len(find_recipe(path, ReadOptions(bands=(1, 2, 3, 4))).bands) == 4


def test_two_near_infrared_bands_are_no_doubt(tmp_path):
    names = ["blue", "green", "red", "nir08", "nir"]
    assert chosen(stack(tmp_path / "a.tif", names), names) == ["red", "green", "blue", "nir"]


TM = ["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"]


@pytest.mark.parametrize("stem", ["LT05_044034_20090101", "LE07_044034_20090101", "1_2_LT04_044034_19900101"])
def test_earth_engines_names_of_the_older_satellites(tmp_path, stem):
    assert chosen(stack(tmp_path / f"{stem}.tif", TM), TM) == ["SR_B3", "SR_B2", "SR_B1", "SR_B4"]
    with pytest.raises(BandError, match=r"no blue \(B1\)"):
        chosen(stack(tmp_path / f"{stem}_2.tif", TM[1:]), TM[1:])
    folder = files(tmp_path / "bands", TM, f"{stem}.{{}}.tif")
    assert [band.label[-9:-4] for band in find_recipe(folder).bands] == ["SR_B3", "SR_B2", "SR_B1", "SR_B4"]
    (folder / f"{stem}.SR_B1.tif").unlink()
    with pytest.raises(BandError, match=r"no blue \(SR_B1\)"):
        find_recipe(folder)


def test_an_order_in_letters(tmp_path):
    values = np.rint(ramp() * 1e4).astype("uint16")
    path = write_tif(tmp_path / "a b.tif", values, descriptions=None)
    with pytest.raises(BandError, match=r"geocloud mask '.*a b\.tif' --bands rgbn .*--bands bgrn.*GEOCLOUD_BANDS"):
        find_recipe(path)
    indexes = {"rgbn": [1, 2, 3, 4], "bgrn": [3, 2, 1, 4], "nrgb": [2, 3, 4, 1]}
    for word, expected in indexes.items():
        assert [band.index for band in find_recipe(path, ReadOptions(bands=word)).bands] == expected
    five = write_tif(tmp_path / "five.tif", np.resize(values, (5, 90, 110)), descriptions=None)
    assert [band.index for band in find_recipe(five, ReadOptions(bands="bgrxn")).bands] == [3, 2, 1, 5]
    with pytest.raises(BandError, match="bands="):  # the letters do not apply to five bands
        find_recipe(five, ReadOptions(bands="bgrn"))
    for word in ("rgb?", "rgbb", "rgn", ""):
        with pytest.raises(BandError, match="letter per band"):
            ReadOptions(bands=word)


def test_names_count_more_than_letters(tmp_path, product):
    names = ["red", "green", "blue", "nir"]
    assert chosen(stack(tmp_path / "a.tif", names), names, bands="bgrn") == names
    assert [band.label[-5] for band in find_recipe(product, ReadOptions(bands="bgrn")).bands] == ["4", "3", "2", "5"]


def test_the_variable_answers_for_good(tmp_path, monkeypatch):
    path = write_tif(tmp_path / "a.tif", np.rint(ramp() * 1e4).astype("uint16"), descriptions=None)
    assert "--bands rgbn" in CliRunner().invoke(cli, ["info", str(path)]).stdout
    monkeypatch.setenv("GEOCLOUD_BANDS", "bgrn")
    done = CliRunner().invoke(cli, ["info", str(path), "--json", "--scale", "1e-4"])
    assert done.exit_code == 0 and '"name": "red", "file": "' + str(path) + '", "index": 3' in done.stdout
    done = CliRunner().invoke(cli, ["info", str(path), "--bands", "rgbn", "--scale", "1e-4", "--json"])
    assert '"index": 1' in done.stdout.partition("green")[0]
    monkeypatch.setenv("GEOCLOUD_BANDS", "brown")
    done = CliRunner().invoke(cli, ["info", str(path)])
    assert done.exit_code and "GEOCLOUD_BANDS" in done.stderr


def test_letters_leave_transparency_alone(tmp_path):
    from rasterio.enums import ColorInterp

    values = np.concatenate([ramp()[:3] * 250, np.full((1, 90, 110), 255)]).astype("uint8")
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    path = write_tif(tmp_path / "a.tif", values, descriptions=None, colorinterp=colours, alpha="yes")
    with open_scene(path, ReadOptions(bands="bgrn", units="scaled-8bit")) as scene:
        assert [band.index for band in scene.recipe.bands] == [1, 2, 3]
