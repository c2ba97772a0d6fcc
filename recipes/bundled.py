"""Trains a bundled model: python recipes/bundled.py DATA --out RUN [--arch fast] [--folds 5] [--resume]."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import click
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.training.config import TrainConfig, update
from geocloud.training.train import Progress, train
from recipes.material import training_groups

CONFIGS = {
    "fast": TrainConfig(options={"width": 16, "levels": 5}, steps=60_000),
    "unet": TrainConfig(architecture="unet", options={"width": 16}, steps=6_000),
    "attention-unet": TrainConfig(architecture="attention-unet", options={"width": 16}, steps=6_000),
}
"""By architecture. A step of the full-resolution networks takes three times as long, so they get fewer."""


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--arch", type=click.Choice(list(CONFIGS)), default="fast", show_default=True)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Another value of a setting (TOML).")
@click.option("--threads", type=int, help="Threads of this run; two runs of one each take less than one of two.")
@click.option("--folds", type=click.IntRange(2), help="Train a model a fold instead, into OUT/fold0 and so on.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
def main(
    data: Path, out: Path, arch: str, changes: tuple[str, ...], threads: int | None, folds: int | None, resume: bool
) -> None:
    """Trains on all that does not validate, and writes OUT/ARCH.safetensors, or that of each fold."""
    import tomllib

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if threads:
        torch.set_num_threads(threads)
    config = update(replace(CONFIGS[arch], workers=0), tomllib.loads("\n".join(changes)), "--set")
    for fold in range(folds or 1):
        run = out / f"fold{fold}" if folds else out
        groups = training_groups(data, (fold, folds) if folds else None)
        train(groups, [], config, run, name=arch, resume=resume, report=_report).save(run / f"{arch}.safetensors")


def _report(progress: Progress) -> None:
    if progress.step % 500 == 0:
        click.echo(f"{progress.step} of {progress.steps}: loss {progress.loss:.4f}", err=True)


if __name__ == "__main__":
    main()
