"""Runs of a few steps: learning, resuming, and files written."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import simulated_chip as chip

from geocloud.errors import CheckpointError, DatasetError, OptionError, OutputExistsError
from geocloud.models.metadata import read_safetensors
from geocloud.models.network import Network, by_torch
from geocloud.training.config import TrainConfig
from geocloud.training.data.augment import Augment
from geocloud.training.data.layout import open_dataset
from geocloud.training.metrics import Confusion
from geocloud.training.train import BEST, LAST, STATE, probabilities, train, train_on

QUIET = Augment(size=64, clouds=0, more_clouds=0, dim=0, saturate=0, wedge=0, drop_nir=0, swap=0, coarse=0)
SMALL = TrainConfig(
    options={"width": 4, "levels": 3}, steps=12, batch=2, warmup=2, validate_every=4, workers=0, augment=QUIET
)
CHIPS = [chip(seed) for seed in range(4)]


def metrics(run):
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def same(one, other):
    one, other = one.body.state_dict(), other.body.state_dict()
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking a loader beside OpenMP's threads
def test_a_few_steps_learn_and_the_same_seed_gives_the_same_weights():
    config = dataclasses.replace(SMALL, steps=60, batch=4, warmup=5, average=0.9, validate_every=60)
    first, second = (train([(1.0, CHIPS)], [], dataclasses.replace(config, workers=n)) for n in (0, 1))
    assert same(first, second), "whoever makes the samples"
    unseen = chip(9)
    found = probabilities(by_torch(first, "cpu", "float32"), unseen)[0] > 0.5
    assert Confusion.of(found, unseen.cloud).jaccard > 0.5
    assert first.metadata.training["config"]["steps"] == 60


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_very_same_weights(tmp_path):
    config = SMALL
    whole = train([(1.0, CHIPS)], CHIPS[:1], config, tmp_path / "whole")

    def kill(progress):
        if progress.step == 8 and progress.jaccard is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([(1.0, CHIPS)], CHIPS[:1], config, tmp_path / "run", report=kill)
    with pytest.raises(OutputExistsError, match="--resume continues it"):
        train([(1.0, CHIPS)], CHIPS[:1], config, tmp_path / "run")
    steps = []
    again = train(
        [(1.0, CHIPS)], CHIPS[:1], config, tmp_path / "run", resume=True, report=lambda p: steps.append(p.step)
    )
    assert steps[0] > 4, "what was saved is not done again"
    assert same(whole, again)
    assert same(Network.load(tmp_path / "run" / LAST), Network.load(tmp_path / "whole" / LAST))
    rows = [metrics(tmp_path / run) for run in ("whole", "run")]
    assert [[r["step"] for r in found] for found in rows] == [["4", "8", "12"]] * 2
    assert [r["jaccard"] for r in rows[0]] == [r["jaccard"] for r in rows[1]]
    finished = train([(1.0, CHIPS)], CHIPS[:1], config, tmp_path / "run", resume=True)
    assert same(whole, finished), "a finished run stays as it is"


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_settings_or_from_something_else(tmp_path):
    train([(1.0, CHIPS)], [], SMALL, tmp_path / "run")
    with pytest.raises(CheckpointError, match="the run in this folder had another batch, seed"):
        train([(1.0, CHIPS)], [], dataclasses.replace(SMALL, batch=3, seed=1), tmp_path / "run", resume=True)
    assert TrainConfig.load(tmp_path / "run" / "config.toml") == SMALL, "and the run's own settings stay"
    (tmp_path / "run" / STATE).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=f"{STATE}: not the state of a training run"):
        train([(1.0, CHIPS)], [], SMALL, tmp_path / "run", resume=True)
    with pytest.raises(DatasetError, match="nothing to train on"):
        train([(1.0, [])], [], SMALL)
    with pytest.raises(OptionError, match="size 68: wanted a multiple of 8"):
        train([(1.0, CHIPS)], [], dataclasses.replace(SMALL, augment=Augment(size=68)), tmp_path / "none")
    assert not (tmp_path / "none").exists(), "refused before anything is written"


@pytest.mark.slow
def test_a_run_is_lengthened_when_it_is_resumed_before_the_learning_rate_falls(tmp_path):
    """Until then the learning rate does not depend on the number of steps."""
    long = dataclasses.replace(SMALL, steps=16, decay=0.25)
    whole = train([(1.0, CHIPS)], [], long)

    def stop(progress):
        if progress.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([(1.0, CHIPS)], [], dataclasses.replace(long, steps=12), tmp_path / "run", report=stop)
    assert same(whole, train([(1.0, CHIPS)], [], long, tmp_path / "run", resume=True))


@pytest.mark.slow
def test_what_a_run_leaves_behind(tmp_path, toy):
    config = dataclasses.replace(SMALL, loss="dice+0.5*focal", augment=dataclasses.replace(Augment(), size=64))
    seen = []
    done = train_on(open_dataset(toy), config, tmp_path / "run", pack=tmp_path / "pack", report=seen.append)
    assert {progress.stage for progress in seen} == {"", "validating", "drawing pictures"}
    assert (seen[-1].step, seen[-1].stage) == (12, "")
    assert (done["trained on"], done["held out"]) == (4, 2)
    best = read_safetensors(tmp_path / "run" / BEST)
    assert best.training["validation"]["jaccard"] == done["jaccard"]
    assert best.training["config"]["loss"] == "dice+0.5*focal"
    assert best.name == "run"
    for name in ("curves.png", "samples.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
    scores = [
        float(row["jaccard"]) for row in csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines())
    ]
    assert done["jaccard"] == pytest.approx(max(scores))
    plain = train_on(open_dataset(toy), config, tmp_path / "other")
    assert plain["jaccard"] == pytest.approx(done["jaccard"], abs=0.02), "a pack is the same data"


@pytest.mark.slow
def test_a_run_whose_validation_holds_no_cloud_still_ends_in_a_best_model(tmp_path, caplog):
    chip = CHIPS[0]
    clear = [dataclasses.replace(chip, target=np.zeros_like(chip.target))]
    train([(1.0, CHIPS)], clear, SMALL, tmp_path / "run")
    assert read_safetensors(tmp_path / "run" / BEST).training["validation"]
    alarms = read_safetensors(tmp_path / "run" / BEST).training["validation"]["jaccard"]
    assert alarms == 0 or "hold no cloud" in caplog.text


@pytest.mark.slow
def test_a_run_may_start_from_a_model():
    first = train([(1.0, CHIPS)], [], SMALL)
    still = dataclasses.replace(SMALL, steps=1, learning_rate=1e-9)
    on = train([(1.0, CHIPS)], [], still, start=first)
    for key, value in first.body.state_dict().items():
        if "running" not in key and value.is_floating_point():
            np.testing.assert_allclose(on.body.state_dict()[key], value, atol=1e-6, rtol=0)
    with pytest.raises(CheckpointError, match="it cannot start a run of fast"):
        train([(1.0, CHIPS)], [], dataclasses.replace(SMALL, options={"width": 8}), start=first)


@pytest.mark.parametrize("architecture", ["unet", "attention-unet"])
def test_every_architecture_trains(architecture):
    config = dataclasses.replace(SMALL, architecture=architecture, options={"width": 4}, steps=2, precision="bfloat16")
    made = train([(1.0, CHIPS)], [], config)
    assert made.metadata.architecture == architecture
    assert probabilities(by_torch(made), CHIPS[0]).shape == (2, 96, 96)


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    """Under torchrun, gradients are averaged, so two half batches equal one whole batch."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, dataclasses\nsys.path[:0] = [sys.argv[1], sys.argv[1] + '/training']\n"
        "from test_train import *\n"
        "config = dataclasses.replace(SMALL, steps=3, batch=1, validate_every=3, precision='float32')\n"
        "train([(1.0, CHIPS)], CHIPS[:1], config, __import__('pathlib').Path(sys.argv[2]), device='cpu')\n"
        "torch.distributed.destroy_process_group()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, script, Path(__file__).parent.parent, tmp_path / "run"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    two = Network.load(tmp_path / "run" / LAST)
    assert two.metadata.training["step"] == 3
    rows = metrics(tmp_path / "run")
    assert len(rows) == 1
    assert json.loads(json.dumps(two.metadata.training["config"]))["batch"] == 1
    alone = train([(1.0, CHIPS)], [], dataclasses.replace(SMALL, steps=3, batch=1, precision="float32"))
    assert not same(two, alone), "each process had samples of its own"


def test_compiling_is_asked_of_torch(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: asked.append(type(network).__name__))
    train([(1.0, CHIPS)], [], dataclasses.replace(SMALL, steps=1, compile=True))
    assert asked == ["FastUNet"]
