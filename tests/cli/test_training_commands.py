"""The commands dataset, train and evaluate on a small simulated 38-Cloud."""

import csv
import json
import time

import click
import numpy as np
import pytest
from conftest import geobox, read_tif, write_tif
from console import run
from geocloud_cli import messages

from geocloud.models import read_metadata
from geocloud.training.train import Progress

QUICK = """
steps = 4
batch = 2
shadow_threshold = 0.2
warmup = 1
validate_every = 2
workers = 0
[options]
width = 4
levels = 3
"""


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    """A run of a few steps with ``geocloud train``."""
    place = tmp_path_factory.mktemp("trained")
    (place / "quick.toml").write_text(QUICK)
    done = run("train", toy, "-o", "run", "--config", "quick.toml", "--loss", "dice+bce", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith("step 4 of 4: loss ")  # no terminal: lines instead of a bar
    return place, json.loads(done.stdout)


@pytest.mark.slow
def test_from_simulated_patches_to_a_mask(toy, trained):
    place, result = trained
    assert result["model"] == "run/best.safetensors"
    assert (result["trained on"], result["held out"]) == (4, 2)
    assert 'loss = "dice+bce"' in (place / "run" / "config.toml").read_text()
    assert len((place / "run" / "metrics.csv").read_text().splitlines()) == 3
    scene = sorted((toy / "38-Cloud_test" / "Entire_scene_gts").iterdir())[0].stem.removeprefix("edited_corrected_gts_")
    done = run("mask", toy / "38-Cloud_test", "--scene-id", scene, "--model", result["model"], "-o", "m.tif", cwd=place)
    assert done.returncode == 0, done.stderr
    assert set(np.unique(read_tif(place / "m.tif"))) <= {0, 1, 255}
    again = run("train", toy, "-o", "run", "--config", "quick.toml", cwd=place)
    assert again.returncode == 1
    assert again.stderr == (
        "geocloud: error: run: contains a training run; --resume continues it, or name another folder\n"
    )
    done = run("train", toy, "-o", "run", "--config", "run/config.toml", "--resume", cwd=place)
    assert done.returncode == 0, done.stderr
    done = run("train", toy, "-o", "on", "--start-from", "run/best.safetensors", "--steps", 1, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "shadow_threshold = 0.2" in (place / "on" / "config.toml").read_text(), "as the model that it starts from"


@pytest.mark.slow
def test_evaluation_prints_the_four_views(toy, trained, tmp_path):
    place, result = trained
    model = place / result["model"]
    done = run(
        "evaluate", toy, "--protocol", "official", "--model", model, "-o", "out", "--csv", "scores.csv", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "protocol official, cloud above 0.047, 2 scenes; per cent"
    assert lines[1].split() == ["precision", "recall", "specificity", "jaccard", "accuracy"]
    assert [line[:18].strip() for line in lines[2:5]] == [
        "mean over scenes",
        "pooled over pixels",
        "median over scenes",
    ]
    rows = list(csv.reader((tmp_path / "scores.csv").read_text().splitlines()))
    scenes = np.array([[float(v) for v in row[1:]] for row in rows[4:]])
    np.testing.assert_allclose([float(v) for v in rows[1][1:]], scenes.mean(0))
    assert float(lines[2].split()[-1]) == pytest.approx(100 * scenes[:, 4].mean(), abs=6e-3)
    for name in ("thresholds.png", "calibration.png", "scores.csv", f"errors_{rows[4][0]}.png"):
        assert (tmp_path / "out" / name).exists()


def test_scored_is_what_geocloud_mask_writes_unless_a_protocol_is_named(toy, tmp_path):
    found = json.loads(run("evaluate", toy, "--json").stdout)
    assert (found["protocol"], found["threshold"]) == ("whole", read_metadata("fast").threshold)
    assert len(found["scenes"]) == 2
    for scene, scores in found["scenes"].items():
        done = run("mask", toy / "38-Cloud_test", "--scene-id", scene, "-o", "mask.tif", "--overwrite", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        mask, truth = (
            read_tif(path)[0] for path in (tmp_path / "mask.tif", next(toy.rglob(f"edited_corrected_gts_{scene}.TIF")))
        )
        valid, cloud = mask != 255, mask == 1
        hits, either = (cloud & (truth == 1))[valid].sum(), (cloud | (truth == 1))[valid].sum()
        assert 0.3 < scores["jaccard"] == pytest.approx(hits / either)
        assert scores["accuracy"] == pytest.approx((cloud == (truth == 1))[valid].mean())
    other = json.loads(run("evaluate", toy, "--threshold", 0.6, "--json").stdout)
    assert other["threshold"] == 0.6


def test_a_run_says_a_line_however_long_a_step_takes_or_whatever_it_draws(monkeypatch, capsys):
    monkeypatch.setattr(messages, "EVERY", 0.05)
    with click.Context(click.Command("train")):
        report = messages.training_progress()
    time.sleep(0.1)
    said = capsys.readouterr().err
    time.sleep(0.2)
    assert capsys.readouterr().err == "", "a command that ended, or failed, says nothing more"
    assert said in ("", "preparing the data\n")
    report = messages.training_progress()
    for progress in (None, Progress(3, 9, 0.5, None), Progress(4, 9, 0.5, 0.7, "drawing pictures")):
        if progress:
            report(progress)
        time.sleep(0.3)
    report(Progress(9, 9, 0.25, 0.75))
    time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "step 9 of 9: loss 0.250, validation Jaccard 0.750"
    assert lines[0] == "preparing the data"
    for line in (lines[0], "step 3 of 9: loss 0.500, validation Jaccard –"):
        assert lines.count(line) >= 2
    assert lines.count("step 4 of 9: loss 0.500, validation Jaccard 0.700, drawing pictures") >= 2


def test_other_peoples_predictions(toy, tmp_path):
    """The truth as prediction scores one hundred."""
    for part in sorted(toy.glob("38-Cloud_test/Entire_scene_gts/*")):
        scene, truth = part.stem.removeprefix("edited_corrected_gts_"), read_tif(part)[0]
        canvas = np.zeros((384, 768), "uint8")
        top, left = (384 - truth.shape[0]) // 2, (768 - truth.shape[1]) // 2
        canvas[top : top + truth.shape[0], left : left + truth.shape[1]] = truth
        for col in range(2):
            path = tmp_path / f"patch_{col + 1}_1_by_{col + 1}_{scene}.TIF"
            write_tif(path, canvas[None, :, col * 384 : (col + 1) * 384] * 255, geobox(384, 384, None))
    done = run("evaluate", toy, "--predictions", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mean_over_scenes"]["jaccard"] == 1


@pytest.mark.slow
def test_a_check_tells_what_is_there_and_fails_where_something_is_not(toy, tmp_path):
    done = run("dataset", "check", toy, "--pictures", "look.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training: 6 patches of 3 scenes" in done.stdout
    assert (tmp_path / "look.png").exists()
    done = run("dataset", "simulate", "new", "--training", 1, "--test", 0, "--rows", 1, "--cols", 1, cwd=tmp_path)
    assert done.stdout == "new: 1 simulated patch\n"
    next((tmp_path / "new").rglob("nir_*")).unlink()
    done = run("dataset", "check", "new", cwd=tmp_path)
    assert done.returncode == 1
    assert "neither 38-Cloud's folders" in done.stderr


def test_image_and_mask_folders_with_classes(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for seed in range(2):
        values = np.random.default_rng(seed).uniform(0, 0.5, (4, 64, 64)).astype("float32")
        write_tif(
            tmp_path / "images" / f"s{seed}.tif", values, geobox(64, 64), descriptions=("red", "green", "blue", "nir")
        )
        write_tif(
            tmp_path / "masks" / f"s{seed}.tif", np.where(values[:1] > 0.3, 255, 128).astype("uint8"), geobox(64, 64)
        )
    done = run("dataset", "check", tmp_path, "--classes", "l8-biome", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cloud_share"] == pytest.approx(0.4, abs=0.03)
    done = run("evaluate", tmp_path, "--classes", "128=clear,255=cloud", "--json")
    assert json.loads(done.stdout)["protocol"] == "whole", done.stderr
    done = run("dataset", "check", tmp_path, "--classes", "biome")
    assert done.returncode == 1
    assert "classes 'biome': wanted geocloud, 38-cloud, l8-biome, sparcs" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", ".", "-o", "r", "--loss", "iou"], 1, "loss 'iou': wanted bce"),
        (["train", ".", "-o", "r"], 1, "neither 38-Cloud's folders"),
        (["evaluate", "."], 1, "neither 38-Cloud's folders"),
        (["evaluate", ".", "--predictions", ".", "--model", "fast"], 2, "not both"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, words, code, message):
    done = run(*words, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()
