"""Arbitrary texts and numbers give a result or an error of geocloud."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geocloud.batch.find import Found
from geocloud.batch.options import Shard
from geocloud.batch.run import make_names
from geocloud.errors import GeocloudError
from geocloud.grid import GeoBox
from geocloud.readers.archive import in_bucket
from geocloud.readers.band_names import ProductName
from geocloud.readers.bandfiles import BandFileReader
from geocloud.readers.landsat import parse_mtl
from geocloud.readers.registry import READERS, scenes_in
from geocloud.readers.sentinel2 import find_packed, parse_mtd
from geocloud.training.metrics import Confusion

WORDS = st.sampled_from(
    ["GROUP", "END_GROUP", "=", "L1_METADATA_FILE", "SUN_ELEVATION", "\n", '"', "1e999", "END", "é"]
)


@pytest.mark.slow
@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)))
def test_any_text_as_mtl(text):
    with suppress(GeocloudError):
        found = parse_mtl(text, "MTL")
        assert isinstance(found.groups, dict)
        with suppress(GeocloudError):
            assert found.facts["sun_elevation"] is None or np.isfinite(found.facts["sun_elevation"])


ELEMENTS = ("Level-1C_User_Product", "QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET", "Level-1C_Tile_ID", "ZENITH_ANGLE")
TAGS = st.sampled_from(
    [
        *(f"<{name}>" for name in ELEMENTS),
        *(f"</{name}>" for name in ELEMENTS),
        *('<RADIO_ADD_OFFSET band_id="3">', "10000", "-1e999", "<!DOCTYPE x>", "&amp;", "&x;", "<?x?>", "é"),
    ]
)


@pytest.mark.slow
@given(st.one_of(st.text(), st.lists(TAGS).map("".join)))
def test_any_text_as_metadata_of_sentinel_2(text):
    with suppress(GeocloudError):
        found = parse_mtd(text, "MTD")
        assert found.facts["acquired"] is None
        assert all(np.isfinite(found.conversion(("B04",)).offset))


@given(st.text())
def test_any_text_as_a_name(text):
    found = ProductName.parse(text)
    assert found.text is None or found.text in text


PIECES = st.sampled_from(
    [
        *("S2A_MSIL1C.SAFE", "GRANULE", "IMG_DATA", "QI_DATA", "/", "_", "T32TQM_20200101T101031", "B04", "B8A"),
        *("_10m", ".jp2", "MTD_MSIL1C.xml", "MTD_TL.xml", "HLS.S30.T15TWM.2021191T170851.v2.0.", ".tif"),
    ]
)


@example(["B01.JP2"])
@given(st.lists(st.one_of(st.text(min_size=1), st.lists(PIECES, min_size=1).map("".join))))
def test_any_names_in_a_folder(names):
    listing = in_bucket("s3://x", tuple(names))
    for reader in READERS:
        if isinstance(reader, BandFileReader):
            for product in reader.products(listing):
                assert set(product.files.values()) <= set(names)
    assert all(not root or any(name.startswith(f"{root}/") for name in names) for root in find_packed(names))
    assert all(candidate.files <= set(names) for _, candidate in scenes_in(listing))


@given(st.lists(st.tuples(st.text(), st.text()), unique_by=lambda pair: pair[1], max_size=20))
def test_every_scene_gets_a_name_of_its_own_that_a_file_can_have(pairs):
    found = [Found("x", name, key, 0) for name, key in pairs]
    names = list(make_names(found, found, {}).values())
    assert len({name.lower() for name in names}) == len(pairs)
    assert all(name.strip() and len(name) < 200 and not set(name) & set('/\\:*?"<>|\0\n') for name in names)


@given(st.integers(1, 50), st.text())
def test_every_scene_is_in_exactly_one_shard(count, key):
    assert sum(Shard(number, count).holds(key) for number in range(1, count + 1)) == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=60), st.integers(1, 59))
def test_counts_add_up(pixels, cut):
    found, truth, known = np.array(pixels).T
    whole = Confusion.of(found, truth, known)
    assert (
        Confusion.of(found[:cut], truth[:cut], known[:cut]) + Confusion.of(found[cut:], truth[cut:], known[cut:])
        == whole
    )
    if (known & (found | truth)).any():
        expected = (known & found & truth).sum() / (known & (found | truth)).sum()
        assert whole.jaccard == pytest.approx(expected)


@given(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7), st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_the_window_of_an_extent_holds_all_of_it(left, bottom, width, height):
    from conftest import geobox

    grid: GeoBox = geobox()
    window = grid.window((left, bottom, left + width, bottom + height))
    x0, y0 = grid.transform @ (0, 0)
    x1, y1 = grid.transform @ (grid.width, grid.height)
    apart = left + width <= x0 or left >= x1 or bottom >= y0 or bottom + height <= y1
    if window is None:
        assert apart or min(left + width - x0, x1 - left, y0 - bottom, bottom + height - y1) < 1e-3
        return
    part = grid.crop(window)
    assert window.col_off >= 0 and window.col_off + window.width <= grid.width
    px, py = part.transform @ (0, 0)
    assert px <= max(left, x0) + 1e-3 and py >= min(bottom + height, y0) - 1e-3
