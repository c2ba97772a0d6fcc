"""Scores, compared with published numbers and scenes with known results."""

import math

import numpy as np
import pytest
from conftest import bright, geobox, write_tif

from geocloud.bands import BANDS
from geocloud.errors import DatasetError, OptionError
from geocloud.models.predictor import Predictor, load_model
from geocloud.training import figures
from geocloud.training.data.layout import open_dataset
from geocloud.training.evaluate import OFFICIAL_THRESHOLD, Evaluation, Picture, evaluate
from geocloud.training.metrics import Confusion

# Jaccard of Cloud-Net on each of 38-Cloud's 20 test scenes, per cent, as published; the mean is published too.
PUBLISHED = [72.16, 69.00, 4.39, 86.08, 92.89, 98.66, 83.81, 46.98, 89.31, 95.56]
PUBLISHED += [56.34, 98.62, 70.81, 86.18, 91.89, 92.20, 84.53, 81.02, 69.71, 99.96]
NAME = "LC08_L1TP_999001_20160420_20170223_01_T1"


class Model:
    """A test predictor: pixels bright in red are cloud."""

    threshold = 0.5

    def __call__(self, tiles):
        return bright(np.nan_to_num(tiles))[:, None]

    def predict_array(self, reflectance, pixel_size=None):
        return np.where(np.isnan(reflectance[0]), np.nan, bright(np.nan_to_num(reflectance[None]))[0])[None]


def scene_on_disk(root, truth, rows, cols, ones=1, name=NAME):
    """A 38-Cloud test folder of one scene, with bright red where the truth is cloud, and margins of 0."""
    top, left = (rows * 384 - truth.shape[0]) // 2, (cols * 384 - truth.shape[1]) // 2
    canvas = np.zeros((rows * 384, cols * 384), "uint16")
    canvas[top : top + truth.shape[0], left : left + truth.shape[1]] = np.where(truth, 30_000, 10_000)
    for row in range(rows):
        for col in range(cols):
            patch = canvas[row * 384 : (row + 1) * 384, col * 384 : (col + 1) * 384]
            for band in BANDS:
                path = root / "38-Cloud_test" / f"test_{band}" / f"{band}_{patch_name(row, col, cols, name)}.TIF"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_tif(path, patch[None], geobox(384, 384, None))
    gts = root / "38-Cloud_test" / "Entire_scene_gts"
    gts.mkdir(exist_ok=True)
    write_tif(
        gts / f"edited_corrected_gts_{name}.TIF", (truth * ones).astype("uint8")[None], geobox(*truth.shape, None)
    )
    return canvas


def patch_name(row, col, cols, name=NAME):
    return f"patch_{row * cols + col + 1}_{row + 1}_by_{col + 1}_{name}"


def random_truth(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return np.kron(rng.random((height // 7 + 1, width // 7 + 1)) < 0.3, np.ones((7, 7)))[:height, :width] > 0


def last(found):
    *_, (_, evaluation) = found
    return evaluation


def test_the_published_mean_comes_out():
    scenes = {f"s{i}": Confusion(tp=round(j * 100), fn=10_000 - round(j * 100)) for i, j in enumerate(PUBLISHED)}
    found = Evaluation("official", OFFICIAL_THRESHOLD, scenes=scenes)
    jaccard = 100 * found.table()["jaccard"]
    assert jaccard["mean over scenes"] == pytest.approx(78.504, abs=0.002), "the two digits that were published of each"
    assert jaccard["median over scenes"] == pytest.approx((84.53 + 86.08) / 2)
    assert jaccard["pooled over pixels"] == pytest.approx(np.mean(PUBLISHED)), "scenes of one size"


@pytest.mark.parametrize(("height", "width"), [(700, 760), (701, 759), (768, 384), (385, 385)])
@pytest.mark.parametrize("ones", [1, 255])
def test_a_perfect_mask_scores_one_whatever_the_padding(tmp_path, height, width, ones):
    truth = random_truth(height, width)
    scene_on_disk(tmp_path, truth, -(-height // 384), -(-width // 384), ones)
    found = last(evaluate(open_dataset(tmp_path), Model(), protocol="official"))
    assert found.pooled == Confusion(tp=int(truth.sum()), tn=int((~truth).sum()))
    whole = last(evaluate(open_dataset(tmp_path), Model()))
    assert whole.pooled == found.pooled


def test_known_mistakes_are_counted_and_drawn(tmp_path):
    truth = np.zeros((400, 500), bool)
    truth[10:110, 20:220] = True
    scene_on_disk(tmp_path, truth, 2, 2)
    folder = tmp_path / "others" / "deep"
    folder.mkdir(parents=True)
    canvas = np.zeros((768, 768), "float32")
    top, left = (768 - 400) // 2, (768 - 500) // 2
    canvas[top + 10 : top + 110, left + 70 : left + 270] = 0.9  # 50 columns too far to the right
    canvas[top + 300, left + 300] = 12 / 255  # not above
    canvas[top + 300, left + 301] = 12.01 / 255
    canvas[0, 0] = 1  # in the padding
    for row in range(2):
        for col in range(2):
            part = canvas[row * 384 : (row + 1) * 384, col * 384 : (col + 1) * 384]
            write_tif(folder / f"pred_{patch_name(row, col, 2)}.TIF", part[None], geobox(384, 384, None))
    dataset = open_dataset(tmp_path)
    ((picture, found),) = evaluate(dataset, predictions=tmp_path / "others")
    expected = Confusion(tp=15_000, fp=5_001, fn=5_000, tn=200_000 - 25_001)
    assert found.scenes[NAME] == expected
    assert found.table()["jaccard"]["mean over scenes"] == pytest.approx(15_000 / 25_001)
    assert found.sweep()[0.5] == Confusion(15_000, 5_000, 5_000, 175_000)
    figures.write_map(picture, found.threshold, tmp_path / "out")
    figures.write_report(found, tmp_path / "out")
    from matplotlib.image import imread

    drawn = imread(tmp_path / "out" / f"errors_{NAME}.png")[..., :3]
    assert drawn.shape[:2] == (400, 500)
    red, yellow, white, black = (drawn[50, 30], drawn[50, 240], drawn[50, 100], drawn[200, 200])
    assert red[0] > 0.7 > 0.3 > red[1]
    assert yellow[:2].min() > 0.7 > yellow[2]
    assert (white == 1).all()
    assert (black == 0).all()
    assert (tmp_path / "out" / "scores.csv").read_text().splitlines()[1].startswith("mean over scenes,0.7499")
    assert found.as_dict()["scenes"][NAME]["recall"] == 0.75


def test_predictions_of_other_kinds(tmp_path):
    """8-bit values up to 255 or 1, and another size, which is resampled."""
    truth = np.zeros((384, 384), bool)
    truth[96:288, 96:288] = True
    scene_on_disk(tmp_path, truth, 1, 1)
    for number, values in enumerate((truth * 255, truth * 1, truth[::2, ::2] * 255)):
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        write_tif(folder / f"{patch_name(0, 0, 1)}.tif", values.astype("uint8")[None], geobox(*values.shape, None))
        found = last(evaluate(open_dataset(tmp_path), predictions=folder)).pooled
        assert found.scores()["recall"] == 1
        assert found.fp <= (0 if number < 2 else 4 * 193), "cubic resampling may smear an edge by a pixel"
    folder = tmp_path / "wrong"
    folder.mkdir()
    with pytest.raises(DatasetError, match="no predicted patches"):
        last(evaluate(open_dataset(tmp_path), predictions=folder))
    write_tif(folder / f"{patch_name(0, 0, 1, 'other')}.tif", truth.astype("uint8")[None], geobox(384, 384, None))
    with pytest.raises(DatasetError, match=f"no prediction for {patch_name(0, 0, 1)}"):
        last(evaluate(open_dataset(tmp_path), predictions=folder))


def test_what_8_bits_mean_is_decided_once_for_all_patches(tmp_path):
    """A patch of 0 and 1 is clear if another patch has values up to 255; alone, its 1 would be cloud."""
    truth = np.zeros((384, 768), bool)
    truth[100:200, 400:600] = True
    scene_on_disk(tmp_path, truth, 1, 2)
    folder = tmp_path / "others"
    folder.mkdir()
    values = np.where(truth, 255, 0).astype("uint8")
    values[:50, :300] = 1
    for col in range(2):
        part = values[None, :, col * 384 : (col + 1) * 384]
        path = write_tif(folder / f"{patch_name(0, col, 2)}.tif", part, geobox(384, 384, None))
        path.with_name(path.name + ".aux.xml").write_text("<PAMDataset/>")
    found = last(evaluate(open_dataset(tmp_path), predictions=folder)).pooled
    assert found == Confusion(tp=20_000, tn=384 * 768 - 20_000)


def test_a_scene_without_cloud_is_undefined_and_spoils_nothing(tmp_path):
    truth = random_truth(384, 384)
    scene_on_disk(tmp_path, truth, 1, 1)
    scene_on_disk(tmp_path, np.zeros((300, 300), bool), 1, 1, name=NAME.replace("999001", "999002"))
    found = last(evaluate(open_dataset(tmp_path), Model(), protocol="official"))
    assert len(found.scenes) == 2
    assert found.table()["jaccard"]["mean over scenes"] == 1
    said = found.as_dict()
    assert said["undefined_scenes"] == {"precision": 1, "recall": 1, "specificity": 0, "jaccard": 1, "accuracy": 0}
    assert said["scenes"][NAME.replace("999001", "999002")]["jaccard"] is None


def test_an_incomplete_scene_is_refused(tmp_path):
    scene_on_disk(tmp_path, random_truth(700, 700), 2, 2)
    for path in tmp_path.rglob(f"*{patch_name(0, 1, 2)}.TIF"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"1 of 4 patches are missing \(row 1 column 2\); with gaps"):
        last(evaluate(open_dataset(tmp_path), Model(), protocol="official"))
    for path in tmp_path.rglob(f"*_by_2_{NAME}.TIF"):
        path.unlink()
    with pytest.raises(DatasetError, match="700×700 pixels, more than its 2×1 patches cover"):
        last(evaluate(open_dataset(tmp_path), Model(), protocol="official"))


def test_calibration_and_sweep_count_every_pixel():
    probability = np.repeat(np.array([0.06, 0.56, 0.96], "float32"), 100).reshape(3, 100)
    truth = np.zeros((3, 100), bool)
    truth[1, :50] = truth[2, :90] = True
    known = np.ones_like(truth)
    known[0, :20] = False
    found = Evaluation("whole", 0.5)
    found.add(Picture("s", probability, truth, known))
    said, cloud, pixels = found.calibration()
    assert said.tolist() == pytest.approx([0.075, 0.575, 0.975])
    assert cloud.tolist() == [0, 0.5, 0.9]
    assert pixels.tolist() == [80, 100, 100]
    sweep = found.sweep()
    assert sweep[0.5] == Confusion(140, 60, 0, 80)
    assert sweep[0.9] == Confusion(90, 10, 50, 130)


def test_what_makes_no_sense_is_refused(tmp_path, toy):
    grid = geobox(8, 9)
    write_tif(tmp_path / "a.tif", np.full((4, 8, 9), 0.5, "float32"), grid)
    write_tif(tmp_path / "a_mask.tif", np.ones((1, 8, 9), "uint8"), grid)
    pairs = open_dataset(tmp_path)
    assert last(evaluate(pairs, Model())).pooled == Confusion(tp=72)
    assert math.isnan(last(evaluate(pairs, Model())).pooled.scores()["specificity"])
    with pytest.raises(DatasetError, match="the official protocol needs them"):
        evaluate(pairs, Model(), protocol="official")
    dataset = open_dataset(toy)
    for options in ({}, {"predictor": Model(), "predictions": toy}):
        with pytest.raises(OptionError, match="either a model or a folder"):
            evaluate(dataset, **options)
    with pytest.raises(OptionError, match="protocol 'best'"):
        evaluate(dataset, Model(), protocol="best")
    with pytest.raises(OptionError, match="threshold 2"):
        evaluate(dataset, Model(), threshold=2)
    with pytest.raises(OptionError, match="official protocol only"):
        evaluate(dataset, predictions=toy, protocol="whole")


def test_shadow_is_scored_where_masks_tell_of_it(tmp_path):
    rng = np.random.default_rng(2)
    image = rng.uniform(0.05, 0.6, (4, 96, 96)).astype("float32")
    mask = np.where(rng.random((96, 96)) > 0.7, 2, np.where(rng.random((96, 96)) > 0.8, 1, 0)).astype("uint8")
    mask[:4] = 255
    for kind, values in (("images", image), ("masks", mask[None])):
        (tmp_path / kind).mkdir()
        names = {"descriptions": ("red", "green", "blue", "nir")} if kind == "images" else {}
        write_tif(tmp_path / kind / "a.tif", values, geobox(96, 96), **names)
    dataset, predictor = open_dataset(tmp_path, {0: "clear", 1: "cloud", 2: "shadow", 255: "ignore"}), load_model()
    found = last(evaluate(dataset, predictor, threshold=0.1, shadows=True))
    probability = predictor.predict_array(image, pixel_size=30)
    told = (probability[1] > 0.1) & (probability[0] <= predictor.threshold)
    truth, known = mask == 2, mask != 255
    assert found.target == "shadow" and found.pooled == Confusion.of(told, truth, known)
    with pytest.raises(OptionError, match="a model with that class"):
        evaluate(dataset, Predictor(lambda batch: batch[:, 0]), shadows=True)
