"""Comparison of masks with a product's cloud flags."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import bright, geobox, ramp, read_tif, write_tif
from geocloud_cli.main import cli
from PIL import Image
from safe import numbers, write_safe

from geocloud.compare import COLOURS, FLAGS, compare_masks, find_flags, find_kind
from geocloud.errors import GridError, OptionError, SceneNotFoundError
from geocloud.writers.styles import CLASSES

TRUTH = np.random.default_rng(3).choice([0, 1, 2, 255], (90, 110), p=[0.5, 0.3, 0.1, 0.1]).astype("uint8")
"""Clear, cloud, shadow, no data."""

ENCODED = {
    "qa_pixel": ("X_QA_PIXEL.TIF", "uint16", (1 << 6, 1 << 3 | 3 << 8, 1 << 4 | 3 << 10, 1)),
    "pixel_qa": ("x_pixel_qa.tif", "uint16", (2, 1 << 5, 1 << 3, 1)),
    "bqa": ("x_BQA.TIF", "uint16", (2720, 2720 | 1 << 4, 2720 | 3 << 7, 1)),
    "scl": ("T32TQM_20200101T101031_SCL_20m.tif", "uint8", (4, 9, 3, 0)),
    "hls": ("HLS.L30.T15TWM.2021191T170851.v2.0.Fmask.tif", "uint8", (64, 2, 8, 255)),
    "fmask": ("scene_fmask.tif", "uint8", (4, 2, 3, 0)),
    "geocloud": ("mask.tif", "uint8", (0, 1, 2, 255)),
}


def encode(kind, folder, codes=TRUTH, grid=None):
    name, dtype, values = ENCODED[kind]
    table = np.zeros(256, dtype)
    table[[0, 1, 2, 255]] = values
    tags = {"GEOCLOUD_MODEL": "x", "GEOCLOUD_SHADOW_PERCENT": "1"} if kind == "geocloud" else {}
    return write_tif(folder / name, table[codes][None], grid or geobox(*codes.shape), tags=tags)


def own_mask(folder):
    """A mask that differs from the truth in some pixels."""
    rng = np.random.default_rng(7)
    codes = np.where(rng.random(TRUTH.shape) < 0.2, rng.choice([0, 1, 2, 255], TRUTH.shape), TRUTH).astype("uint8")
    (folder / "own").mkdir()
    return encode("geocloud", folder / "own", codes), codes


@pytest.mark.parametrize("kind", ENCODED)
def test_every_kind_of_flags_is_counted(tmp_path, kind):
    path, codes = own_mask(tmp_path)
    result = compare_masks(path, encode(kind, tmp_path))
    assert result.kind == kind
    expected = [[int(((row == TRUTH) & (codes == col)).sum()) for col in (0, 1, 2)] for row in (0, 1, 2)]
    assert [list(row) for row in result.counts] == expected
    hits = expected[1][1]
    assert result.scores()["recall"] == pytest.approx(hits / sum(expected[1]))
    assert result.scores()["precision"] == pytest.approx(hits / sum(row[1] for row in expected))
    both = (TRUTH != 255) & (codes != 255)
    assert result.agreement == pytest.approx(((TRUTH == 1) == (codes == 1))[both].mean())


FURTHER = {
    "qa_pixel": ("X_QA_PIXEL.TIF", "uint16", {0: 1 << 6, 1: 1 << 3 | 1 << 2, 2: 1 << 4, 3: 1 << 5, 4: 1 << 2, 255: 1}),
    "pixel_qa": ("x_pixel_qa.tif", "uint16", {0: 2, 1: 1 << 5, 2: 1 << 3, 3: 1 << 4, 255: 1}),
    "bqa": ("x_BQA.TIF", "uint16", {0: 2720, 1: 2720 | 1 << 4, 2: 2720 | 3 << 7, 3: 2720 | 3 << 9, 255: 1}),
    "scl": ("T32TQM_20200101T101031_SCL_20m.tif", "uint8", {0: 4, 1: 9, 2: 3, 3: 11, 4: 10, 255: 0}),
    "hls": ("HLS.L30.T15TWM.2021191T170851.v2.0.Fmask.tif", "uint8", {0: 64, 1: 2, 2: 8, 3: 16, 255: 255}),
    "fmask": ("scene_fmask.tif", "uint8", {0: 1, 1: 2, 2: 3, 3: 4, 255: 0}),
}
"""Values of flags by code of a mask, with snow and, where a product tells it, thin cirrus."""


@pytest.mark.parametrize("kind", FURTHER)
@pytest.mark.parametrize("told", [(), (2,), (2, 3), (2, 3, 4)])
def test_classes_are_compared_where_both_tell_them(tmp_path, kind, told):
    name, dtype, values = FURTHER[kind]
    rng = np.random.default_rng(5)
    truth = rng.choice(list(values), (90, 110)).astype("uint8")
    codes = np.where(rng.random((90, 110)) < 0.3, rng.choice([0, 1, *told], (90, 110)), truth).astype("uint8")
    codes[np.isin(codes, [2, 3, 4]) & ~np.isin(codes, told)] = 0
    table = np.zeros(256, dtype)
    table[list(values)] = list(values.values())
    tags = {"GEOCLOUD_MODEL": "x"} | {f"GEOCLOUD_{CLASSES[code].upper()}_PERCENT": "1" for code in told}
    mask = write_tif(tmp_path / "own.tif", codes[None], tags=tags)
    result = compare_masks(mask, write_tif(tmp_path / name, table[truth][None]))
    shared = [0, 1, *(code for code in told if code in values)]
    folded = {2: 0, 3: 0, 4: 1}  # shadow and snow count as clear, and a product's cirrus as cloud
    expected_truth = np.array([code if code in shared else folded.get(code, code) for code in range(256)])[truth]
    expected_codes = np.where(np.isin(codes, [*shared, 255]), codes, 0)
    expected = [[int(((row == expected_truth) & (expected_codes == col)).sum()) for col in shared] for row in shared]
    assert list(result.classes) == shared and [list(row) for row in result.counts] == expected
    facts = json.loads(result.to_json())
    assert ("snow" in facts) == (3 in shared) and ("cirrus" in facts) == (4 in shared)
    assert ("shadow" in facts) == (2 in shared)
    if 3 in shared:
        assert facts["snow"]["recall"] == pytest.approx(expected[3][3] / sum(expected[3]))
        assert "mask snow" in result.to_text()


def test_a_scene_is_masked_with_snow_for_the_comparison(tmp_path):
    swir1 = np.full((1, 90, 110), 0.05, "float32")
    image = np.concatenate([ramp(), swir1])
    path = write_tif(tmp_path / "s.tif", image, descriptions=("red", "green", "blue", "nir", "swir1"))
    flags = write_tif(tmp_path / "X_QA_PIXEL.TIF", np.full((1, 90, 110), 1 << 5, "uint16"))
    done = CliRunner().invoke(cli, ["compare", str(path), str(flags), "--snow", "--json"])
    facts = json.loads(done.stdout)
    assert facts["classes"] == ["clear", "cloud", "shadow", "snow"] and facts["snow"]["precision"] == 1


def test_flags_from_before_the_collections(tmp_path):
    values = np.array([[20480, 53248, 61440, 28672, 1]], "uint16")
    assert FLAGS["bqa"].decode(values).tolist() == [[0, 1, 1, 0, 255]]
    assert FLAGS["cldprb"].decode(np.array([0, 50, 51, 100, 255])).tolist() == [0, 0, 1, 1, 255]


def test_a_reference_on_another_grid_is_resampled(tmp_path):
    path, _ = own_mask(tmp_path)
    coarse = np.kron(np.random.default_rng(1).choice([0, 1], (15, 20)), np.ones((3, 3))).astype("uint8")
    small = encode("qa_pixel", tmp_path, coarse, geobox(45, 60))  # covers part of the mask
    result = compare_masks(path, small)
    valid = (read_tif(path)[0][:45, :60] != 255).sum()
    assert np.sum(result.counts) == valid
    with pytest.raises(GridError, match="or a CRS in both"):
        compare_masks(path, encode("scl", tmp_path, coarse, geobox(45, 60, crs=None)))
    far = geobox(45, 60)
    far = type(far)(45, 60, far.transform.translation(9e5, 1e6) @ far.transform, far.crs)
    with pytest.raises(GridError, match="no pixel with data in common"):
        compare_masks(path, encode("bqa", tmp_path, coarse, far))


def test_the_picture_shows_where_they_differ(tmp_path):
    path, codes = own_mask(tmp_path)
    compare_masks(path, encode("scl", tmp_path), picture=tmp_path / "d.png")
    pixels = np.asarray(Image.open(tmp_path / "d.png"))
    shown = pixels
    alone = (codes == 1) & (TRUTH != 1) & (TRUTH != 255)
    assert (shown[alone, :3] == COLOURS["cloud in the mask alone"]).all()
    assert (shown[(codes == 255) | (TRUTH == 255), 3] == 0).all()
    assert shown.shape == (90, 110, 4)


def test_what_the_values_mean_is_asked_where_no_name_tells_it(tmp_path):
    path, _ = own_mask(tmp_path)
    flags = encode("scl", tmp_path).rename(tmp_path / "flags.tif")
    with pytest.raises(OptionError, match="say kind=…: qa_pixel"):
        compare_masks(path, flags)
    assert compare_masks(path, flags, kind="scl").kind == "scl"
    with pytest.raises(OptionError, match="kind 'x'"):
        compare_masks(path, flags, kind="x")
    assert find_kind("/vsizip/a.zip/LC08_QA_PIXEL.TIF", {}) == "qa_pixel"


def test_a_product_is_compared_with_its_own_flags(product, tmp_path, monkeypatch):
    with pytest.raises(SceneNotFoundError, match="no cloud flags in it"):
        find_flags(product)
    cloud = bright(ramp()[None])[0] == 1
    name = f"{product.name}_QA_PIXEL.TIF"
    write_tif(product / name, np.where(cloud, 1 << 3, 1 << 6).astype("uint16")[None])
    assert find_flags(product).endswith(name)
    from geocloud import pipeline

    real = pipeline.mask_scene
    monkeypatch.setattr(
        "geocloud.pipeline.mask_scene", lambda *a, **k: real(*a, **{**k, "model": bright, "options": None})
    )
    result = CliRunner().invoke(cli, ["compare", str(product), "--json", "-o", str(tmp_path / "d.png")])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["mask"] == str(product) and facts["cloud"]["jaccard"] == 1.0 and (tmp_path / "d.png").exists()


def test_a_mask_needs_something_beside_it(tmp_path):
    path, _ = own_mask(tmp_path)
    result = CliRunner().invoke(cli, ["compare", str(path)])
    assert result.exit_code == 2 and "name the REFERENCE" in result.output
    result = CliRunner().invoke(cli, ["compare", str(path), str(encode("fmask", tmp_path))])
    assert result.exit_code == 0 and "agreement on cloud" in result.output and "shadow: mask" in result.output


def test_a_sentinel_2_product_has_its_classification(tmp_path):
    folder = write_safe(tmp_path, numbers(ramp()))
    flags = folder / "GRANULE" / "L2A_T32TQM" / "IMG_DATA" / "R20m"
    flags.mkdir(parents=True, exist_ok=True)
    path = encode("scl", flags)
    assert find_flags(folder) == str(path)
