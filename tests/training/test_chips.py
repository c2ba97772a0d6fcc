"""Chips on disk, and label maps."""

import numpy as np
import pytest
from conftest import geobox, write_tif

from geocloud.errors import GridError, OptionError, OutputError
from geocloud.readers import ReadOptions
from geocloud.training.data.chips import CLASSES, CLEAR, CLOUD, UNKNOWN, ChipSource, LazyChips, parse_classes

OPTIONS = ReadOptions(scale=1e-4, bands=(1, 2, 3, 4))


@pytest.fixture
def image(tmp_path):
    values = np.full((4, 3, 5), 2500, "uint16")
    values[1, 0, 0] = 65535
    return write_tif(tmp_path / "a.tif", values, geobox(3, 5), nodata=65535)


def test_chips_and_the_meaning_of_mask_values(tmp_path, image):
    codes = np.array([[64, 128, 192, 255, 0], [64] * 5, [7] * 5], "uint8")
    mask = write_tif(tmp_path / "mask.tif", codes[None], geobox(3, 5))
    source = ChipSource("a", "a", image, mask, CLASSES["l8-biome"], OPTIONS)
    found = LazyChips([source])[0]
    cloud, shadow = found.target.tolist()
    assert cloud == [[UNKNOWN, CLEAR, CLOUD, CLOUD, UNKNOWN], [CLEAR] * 5, [UNKNOWN] * 5]
    assert shadow == [[UNKNOWN, CLEAR, CLEAR, CLEAR, UNKNOWN], [CLOUD] * 5, [UNKNOWN] * 5]
    assert np.isnan(found.reflectance[:, 0, 0]).all()
    assert found.reflectance[0, 1, 1] == 0.25
    assert (ChipSource("a", "a", image, options=OPTIONS).read().target[:, 1:] == CLEAR).all()


def test_a_mask_of_another_size_is_refused(tmp_path, image):
    mask = write_tif(tmp_path / "mask.tif", np.zeros((1, 3, 4), "uint8"), geobox(3, 4))
    with pytest.raises(GridError, match=r"mask.tif: 3×4 pixels, wanted 3×5 as in .*a.tif"):
        ChipSource("a", "a", image, mask, options=OPTIONS).read()


def test_classes_by_name_and_by_pairs():
    assert parse_classes("sparcs")[5] == "cloud"
    assert {value for value, meaning in parse_classes("sparcs").items() if meaning == "clear"} == {2, 3, 4, 6}
    assert parse_classes("0=clear,128=cloud, 255=ignore") == {0: "clear", 128: "cloud", 255: "ignore"}
    for wrong in ("biome", "0=clear,1=clouds", "x=cloud", ""):
        with pytest.raises(OptionError, match="l8-biome"):
            parse_classes(wrong)
    with pytest.raises(OptionError, match="no value means cloud"):
        parse_classes("0=clear")


def test_where_no_value_means_shadow_it_is_unknown_beside_cloud(tmp_path, image):
    mask = write_tif(tmp_path / "mask.tif", np.array([[1, 1, 0, 0, 0]] * 3, "uint8")[None], geobox(3, 5))
    cloud, shadow = ChipSource("a", "a", image, mask, parse_classes("0=clear,1=cloud"), OPTIONS).read().target
    assert cloud[1].tolist() == [CLOUD, CLOUD, CLEAR, CLEAR, CLEAR]
    assert shadow[1].tolist() == [CLEAR, CLEAR, UNKNOWN, UNKNOWN, UNKNOWN]


def test_packed_chips_are_the_same_until_their_files_change(tmp_path, image):
    mask = write_tif(tmp_path / "mask.tif", np.array([[1, 0, 0, 0, 2]] * 3, "uint8")[None], geobox(3, 5))
    sources = [ChipSource("a", "a", image, mask, options=OPTIONS), ChipSource("b", "b", image, options=OPTIONS)]
    packed = LazyChips(sources, tmp_path / "pack")
    for _ in range(2):
        for index, source in enumerate(sources):
            chip, plain = packed[index], source.read()
            assert (chip.name, chip.metres) == (plain.name, plain.metres)
            np.testing.assert_array_equal(chip.target, plain.target)
            np.testing.assert_allclose(chip.pixels(), plain.reflectance, atol=5.1e-5)
    files = sorted((tmp_path / "pack").iterdir())
    assert len(files) == 2
    write_tif(mask, np.array([[0, 0, 0, 0, 1]] * 3, "uint8")[None], geobox(3, 5), compress="deflate")
    assert packed[0].cloud[0].tolist() == [False, False, False, False, True]
    assert len(list((tmp_path / "pack").iterdir())) == 3
    with pytest.raises(OutputError, match="cannot be packed here"):
        LazyChips(sources, image)[0]
