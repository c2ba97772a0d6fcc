"""Trains a bundled model: python recipes/bundled.py DATA --out RUN [--arch fast] [--seed 1] [--resume]."""

from __future__ import annotations

import logging
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import click
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.models.network import Network
from geocloud.training.config import TrainConfig, update
from geocloud.training.train import Progress, train
from recipes.material import AUGMENT, SHARES, Fold, training_groups
from recipes.release import release

RUN = TrainConfig(
    steps=18_000,
    batch=5,
    learning_rate=1.5e-3,
    decay=0.4,
    average=0.999,
    validate_every=2_500,
    workers=0,
    threshold=0.3,
    shadow_threshold=0.04,
    augment=AUGMENT,
)
RECIPES = {
    "fast": replace(RUN, options={"width": 16, "levels": 4}),
    "unet": replace(RUN, architecture="unet", options={"width": 16}, steps=5_000),
    "attention-unet": replace(RUN, architecture="attention-unet", options={"width": 16}, steps=5_000),
}
"""Training configuration of each bundled model."""

START = {arch: Path(__file__).with_name(f"{arch}-start.safetensors") for arch in RECIPES}
"""Initial weights. `fast`: an earlier `fast` of 24 channels, pruned to the 16 that contribute most to later layers, and
trained on these sets for 7 500 steps. `unet` and `attention-unet`: the earlier bundled models.
"""


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--arch", type=click.Choice(list(RECIPES)), default="fast", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the weights and samples.")
@click.option("--from-scratch", is_flag=True, help="Start from random weights.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Override a setting (TOML).")
@click.option("--threads", type=click.IntRange(1), help="CPU threads [default: one per core].")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--folds", type=click.IntRange(2), help="Cross-validate: one model per fold, in OUT/fold0 and so on.")
@click.option("--resume", is_flag=True, help="Continue the run in OUT; the number of steps may differ.")
def main(
    data: Path,
    out: Path,
    arch: str,
    seed: int,
    from_scratch: bool,
    changes: tuple[str, ...],
    threads: int | None,
    device: str,
    folds: int | None,
    resume: bool,
) -> None:
    """Trains on all data not held out; writes ARCH.safetensors and ARCH.onnx to OUT, or to the folder of each fold."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if threads:
        torch.set_num_threads(threads)
    config = update(replace(RECIPES[arch], seed=seed), tomllib.loads("\n".join(changes)), "--set")
    start = None if from_scratch else Network.load(START[arch])
    for fold in [(k, folds) for k in range(folds)] if folds else [None]:
        train_model(data, out / f"fold{fold[0]}" if fold else out, arch, config, start, fold, device, resume)


def train_model(
    data: Path,
    run: Path,
    arch: str,
    config: TrainConfig,
    start: Network | None,
    fold: Fold | None,
    device: str,
    resume: bool,
) -> None:
    """Trains one model and writes it to a folder."""
    groups = training_groups(data, SHARES, fold)
    model = train(groups, [], config, run, start=start, name=arch, device=device, resume=resume, report=_report)
    release(model, groups, config.augment, data, run, fold)


def _report(progress: Progress) -> None:
    if progress.step % 500 == 0:
        click.echo(f"{progress.step} of {progress.steps}: loss {progress.loss:.4f}", err=True)


if __name__ == "__main__":
    main()
