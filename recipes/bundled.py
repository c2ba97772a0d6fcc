"""Trains a bundled model: python recipes/bundled.py DATA --out RUN [--arch fast] [--folds 5] [--resume]."""

from __future__ import annotations

import logging
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.model.checkpoint import Checkpoint
from geocloud.training.config import TrainConfig, update
from geocloud.training.data.augment import Augment
from geocloud.training.train import Progress, train
from recipes.material import Fold, training_groups

THRESHOLD = 0.3
"""Threshold of cloud, the best for most validation sets: see docs/training-log.md."""

SHADOW_THRESHOLD = 0.15
"""Threshold of shadow, at which two thirds of what is found is shadow."""

SHARES = {"biome": 1.0, "sparcs": 2.0, "catalogue": 0.8, "taught": 1.2, "chips": 0.3, "clear": 0.6}
"""Relative shares of the sets in the samples."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One training run, from random weights or from those of the previous stage."""

    config: TrainConfig
    """Configuration of the run."""
    shares: dict[str, float]
    """Relative shares of the sets in the samples."""


PLAIN = TrainConfig(threshold=THRESHOLD, workers=0)
FAST = replace(PLAIN, options={"width": 24, "levels": 4}, average=0.999)
SEED = replace(PLAIN, options={"width": 16}, steps=3_500)
RECIPES = {
    "fast": (
        Stage(replace(FAST, steps=45_000, batch=4, seed=2, augment=Augment(size=192)), SHARES),
        Stage(
            replace(
                FAST, steps=9_000, batch=3, seed=12, learning_rate=1.2e-3, loss="bce+tversky", augment=Augment(size=256)
            ),
            SHARES | {"biome": 1.6, "catalogue": 1.0, "taught": 1.1},
        ),
    ),
    "unet": (Stage(replace(SEED, architecture="unet"), SHARES),),
    "attention-unet": (Stage(replace(SEED, architecture="attention-unet"), SHARES),),
}
"""By architecture. A step of the full-resolution networks takes three times as long, so they get few."""


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--arch", type=click.Choice(list(RECIPES)), default="fast", show_default=True)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Override a setting (TOML).")
@click.option(
    "--threads", type=int, help="Threads of this run; for two runs, one thread each is faster than two in turn."
)
@click.option("--folds", type=click.IntRange(2), help="Train one model per fold instead, into OUT/fold0 and so on.")
@click.option("--resume", is_flag=True, help="Continue the run in the folder.")
def main(
    data: Path, out: Path, arch: str, changes: tuple[str, ...], threads: int | None, folds: int | None, resume: bool
) -> None:
    """Trains on all data not held out for validation; writes ARCH.safetensors to OUT, or to the folder of each fold."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if threads:
        torch.set_num_threads(threads)
    changed = tomllib.loads("\n".join(changes))
    for fold in range(folds) if folds else (None,):
        run = out if fold is None else out / f"fold{fold}"
        one_of = None if fold is None or folds is None else (fold, folds)
        train_stages(data, run, arch, changed, one_of, resume).save(run / f"{arch}.safetensors")


def train_stages(
    data: Path, run: Path, arch: str, changed: dict[str, Any], fold: Fold | None, resume: bool
) -> Checkpoint:
    """Trains the stages one after the other, each in its own folder, from the weights of the one before."""
    model: Checkpoint | None = None
    for number, stage in enumerate(RECIPES[arch], 1):
        config = update(stage.config, changed, "--set")
        groups = training_groups(data, stage.shares, fold)
        folder = run / f"stage{number}"
        model = train(groups, [], config, folder, start=model, name=arch, resume=resume, report=_report)
    assert model is not None
    return replace(model, shadow_threshold=SHADOW_THRESHOLD)


def _report(progress: Progress) -> None:
    if progress.step % 500 == 0:
        click.echo(f"{progress.step} of {progress.steps}: loss {progress.loss:.4f}", err=True)


if __name__ == "__main__":
    main()
