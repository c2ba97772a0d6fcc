"""Trains a bundled model: python recipes/bundled.py DATA --out RUN [--arch fast] [--device cuda] [--resume]."""

from __future__ import annotations

import logging
import sys
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.model.checkpoint import Checkpoint
from geocloud.training.config import TrainConfig, update
from geocloud.training.data.augment import Augment
from geocloud.training.data.samples import Samples
from geocloud.training.observe import observed
from geocloud.training.train import Progress, train
from recipes.material import Fold, training_groups

THRESHOLD = 0.35
"""Threshold of cloud, the best for most validation sets: see docs/training-log.md."""

SHADOW_THRESHOLD = 0.05
"""Threshold of shadow, at which two thirds of the shadow are found, and seven tenths of what is found are shadow."""

OBSERVED = 400
"""Number of samples in which what a network sees is measured; with 100, int8 masks differ in a few more pixels."""

SHARES = {"biome": 0.8, "sparcs": 2.0, "catalogue": 1.0, "taught": 1.2, "chips": 0.3, "clear": 0.7}
"""Relative shares of the sets in the samples."""

WINTER = SHARES | {"snow": 0.6, "snow, red green blue alone": 0.9}
"""Shares with more snow."""

SOME_WINTER = SHARES | {"snow": 0.24, "snow, red green blue alone": 0.36}
"""Shares with a little more snow."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One training run."""

    config: TrainConfig
    """Configuration of the run."""
    start: str | None = None
    """The earlier model from whose weights it starts; None: random weights."""
    teachers: tuple[str, ...] = ()
    """Earlier models whose mean probability is taught beside the labels."""
    shares: dict[str, float] = field(default_factory=SHARES.copy)
    """Relative shares of the sets in the samples."""

    @property
    def needs(self) -> set[str]:
        """The models that must come before."""
        return {*self.teachers, *([self.start] if self.start else [])}


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of the weights of earlier models."""

    of: tuple[str, ...]
    """Their names."""

    @property
    def needs(self) -> set[str]:
        """The models that must come before."""
        return set(self.of)


PLAIN = TrainConfig(
    batch=12,
    average=0.999,
    threshold=THRESHOLD,
    shadow_threshold=SHADOW_THRESHOLD,
    workers=0,
    augment=Augment(size=256),
)
FAST = replace(PLAIN, options={"width": 24, "levels": 4}, looks_twice=True, steps=16_500, seed=31)
AGAIN = replace(FAST, steps=19_500, learning_rate=2e-3, seed=32)
FINISH = replace(FAST, steps=2_000, batch=6, learning_rate=1e-3, seed=41)
SNOW = {f"snow-{seed}": replace(FINISH, steps=1_500, seed=seed) for seed in (41, 51, 52)}
OFTEN_SATURATED = replace(FINISH, augment=replace(FINISH.augment, saturate=0.4))
DAZZLED = {f"dazzled-{seed}": replace(OFTEN_SATURATED, steps=2_500, seed=seed) for seed in (71, 72)}
GENTLE = {f"gentle-{seed}": replace(OFTEN_SATURATED, steps=2_000, learning_rate=2e-4, seed=seed) for seed in (111, 113)}
WIDE = replace(PLAIN, options={"width": 64, "levels": 4}, steps=16_500, learning_rate=2e-3, seed=1)
DEEP = replace(WIDE, options={"width": 48, "levels": 5, "widest": 384}, seed=2)
SEED = replace(PLAIN, options={"width": 16}, steps=6_500)
TEACHERS = {"wide": Stage(WIDE), "deep": Stage(DEEP)}
RECIPES: dict[str, dict[str, Stage | Mean]] = {
    "fast": {
        **TEACHERS,
        "first": Stage(FAST),
        "labels": Stage(AGAIN, "first"),
        "taught": Stage(AGAIN, "first", tuple(TEACHERS)),
        "both": Mean(("labels", "taught")),
        "finish": Stage(FINISH, "both"),
        "summer": Mean(("labels", "finish")),
        **{name: Stage(config, "summer", shares=WINTER) for name, config in SNOW.items()},
        "winter": Mean(tuple(SNOW)),
        "year": Mean(("summer", "winter")),
        **{name: Stage(config, "year", ("year",), SOME_WINTER) for name, config in DAZZLED.items()},
        "dazzled": Mean((*DAZZLED, "year")),
        **{name: Stage(config, "dazzled", ("year",), SOME_WINTER) for name, config in GENTLE.items()},
        "fast": Mean(tuple(GENTLE)),
    },
    "unet": {**TEACHERS, "unet": Stage(replace(SEED, architecture="unet"), None, tuple(TEACHERS))},
    "attention-unet": {
        **TEACHERS,
        "attention-unet": Stage(replace(SEED, architecture="attention-unet"), None, tuple(TEACHERS)),
    },
}
"""The models on the way to each bundled one, in order; the last is it. A GPU takes minutes for them, a CPU days."""


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--arch", type=click.Choice(list(RECIPES)), default="fast", show_default=True)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Override a setting (TOML).")
@click.option(
    "--threads", type=int, help="Threads of this run; for two runs, one thread each is faster than two in turn."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--stage", help="Train this stage and those that it needs; its weights are the model.")
@click.option("--folds", type=click.IntRange(2), help="Train one model per fold instead, into OUT/fold0 and so on.")
@click.option("--resume", is_flag=True, help="Continue the run in the folder.")
def main(
    data: Path,
    out: Path,
    arch: str,
    changes: tuple[str, ...],
    threads: int | None,
    device: str,
    stage: str | None,
    folds: int | None,
    resume: bool,
) -> None:
    """Trains on all data not held out for validation; writes ARCH.safetensors to OUT, or to the folder of each fold."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if threads:
        torch.set_num_threads(threads)
    changed = tomllib.loads("\n".join(changes))
    if stage and stage not in RECIPES[arch]:
        raise click.UsageError(f"--stage {stage}: wanted {', '.join(RECIPES[arch])}")
    for fold in range(folds) if folds else (None,):
        run = out if fold is None else out / f"fold{fold}"
        one_of = None if fold is None or folds is None else (fold, folds)
        model = train_stages(data, run, arch, stage or list(RECIPES[arch])[-1], changed, one_of, device, resume)
        model.save(run / f"{arch}.safetensors")


def train_stages(
    data: Path,
    run: Path,
    arch: str,
    last: str,
    changed: dict[str, Any],
    fold: Fold | None,
    device: str,
    resume: bool,
) -> Checkpoint:
    """Trains the stages that the last one needs, each in a folder of its name; returns the model."""
    done: dict[str, Checkpoint] = {}
    for name, stage in needed(arch, last).items():
        if isinstance(stage, Mean):
            done[name] = mean([done[earlier] for earlier in stage.of])
            continue
        done[name] = train(
            training_groups(data, stage.shares, fold),
            [],
            update(stage.config, changed, "--set"),
            run / name,
            start=done[stage.start] if stage.start else None,
            teachers=[done[teacher] for teacher in stage.teachers],
            name=arch,
            device=device,
            resume=resume,
            report=_report,
        )
    return observed(done[last], Samples(training_groups(data, SHARES, fold), PLAIN.augment, PLAIN.seed), OBSERVED)


def needed(arch: str, last: str) -> dict[str, Stage | Mean]:
    """The last stage and those without which it cannot be trained, in order."""
    stages, wanted = RECIPES[arch], {last}
    for name in reversed(stages):  # each needs only earlier ones
        if name in wanted:
            wanted |= stages[name].needs
    return {name: stage for name, stage in stages.items() if name in wanted}


def mean(models: list[Checkpoint]) -> Checkpoint:
    """The first model with the mean of all models' weights: Wortsman et al. 2022, https://arxiv.org/abs/2203.05482."""
    weights = {
        name: np.mean([model.weights[name] for model in models], 0).astype(weight.dtype)
        for name, weight in models[0].weights.items()
    }
    return replace(models[0], weights=weights, seen={})


def _report(progress: Progress) -> None:
    if progress.step % 500 == 0:
        click.echo(f"{progress.step} of {progress.steps}: loss {progress.loss:.4f}", err=True)


if __name__ == "__main__":
    main()
