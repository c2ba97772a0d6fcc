"""``geocloud train``: train a model on labelled data."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option, output
from geocloud_cli.messages import training_progress

PATH = click.Path(path_type=Path)
ARCHITECTURES = click.Choice(["fast", "unet", "attention-unet"])
PRECISIONS = click.Choice(["auto", "float32", "bfloat16"])
SPLIT = (
    "Hold out whole scenes, or single patches, whose scores are too good because patches of one scene are similar.  "
    "[default: scenes]"
)
START = (
    "Start from the weights of a model, bundled or a file, instead of random ones. Its architecture is kept, and its "
    "thresholds unless --config sets others."
)
CONFIG = "Read settings from this file, such as config.toml of an earlier run. Other options override it."
LOSS = "Loss: bce, focal, jaccard, dice, tversky, focal-tversky, or a sum of them.  [default: bce+dice]"


@click.command(cls=Command, short_help="Train a model.")
@click.argument("root", type=PATH)
@output("RUN", "Folder of the run.", type=PATH, required=True)
@option("Output", "--resume", is_flag=True, help="Continue the run in RUN exactly where it stopped.")
@options.as_json
@options.classes
@options.values
@option("Data", "--val-patches", type=int, metavar="N", help="Patches to hold out, roughly.  [default: 1000]")
@option("Data", "--split", type=click.Choice(["scenes", "patches"]), help=SPLIT)
@option("Data", "--pack", type=PATH, metavar="DIR", help="Cache decoded patches in this folder.")
@option("Model", "--arch", "architecture", type=ARCHITECTURES, help="Network.  [default: fast, or --config's]")
@option("Model", "--start-from", "start", metavar="NAME|PATH", help=START)
@option("Training", "--config", type=PATH, metavar="FILE.toml", help=CONFIG)
@option("Training", "--steps", type=int, metavar="N", help="Optimizer steps.  [default: 12000]")
@option("Training", "--batch", type=int, metavar="N", help="Samples per step.  [default: 8]")
@option("Training", "--loss", metavar="SUM", help=LOSS)
@option("Training", "--learning-rate", type=float, metavar="RATE", help="Highest learning rate.  [default: 0.003]")
@option("Training", "--warmup", type=int, metavar="N", help="Steps until the highest learning rate.  [default: 200]")
@option("Training", "--validate-every", type=int, metavar="N", help="Steps between validations.  [default: 500]")
@option("Training", "--seed", type=int, help="Random seed: the same seed gives the same run.  [default: 0]")
@options.device
@option("Computing", "--precision", type=PRECISIONS, help="Data type of computation.  [default: auto]")
@options.threads
@option("Computing", "--workers", type=int, metavar="N", help="Processes that prepare samples.  [default: 1]")
@option("Computing", "--compile", "compile", is_flag=True, default=None, help="Compile the network (torch.compile).")
@click.pass_context
def train(ctx: click.Context, /, root: Path, output: Path, as_json: bool, **given: Any) -> None:
    """Train a model on ROOT: 38-Cloud or 95-Cloud as distributed, or a folder with images/ and masks/.

    Writes config.toml, metrics.csv, curves.png, samples.png, best.safetensors (by validation Jaccard), last.safetensors
    and the state for --resume to RUN. Use the model with 'geocloud mask --model RUN/best.safetensors'. On several GPUs:
    torchrun --nproc-per-node 4 -m geocloud_cli train ….

    Example: geocloud train 38-Cloud --arch fast -o run1
    """
    from geocloud.training import require_extras

    require_extras()
    from geocloud.models import find_weights
    from geocloud.models.network import Network
    from geocloud.training.config import TrainConfig, update
    from geocloud.training.data.layout import open_dataset
    from geocloud.training.train import train_on

    report = training_progress(ctx.obj["quiet"])
    classes, reading = options.label_map(given), options.read_options(given)
    start, config = given.pop("start"), given.pop("config")
    how = {name: given.pop(name) for name in ("device", "pack", "resume")}
    changes = {name: value for name, value in given.items() if value is not None}
    model = Network.load(find_weights(start)) if start else None
    settings = TrainConfig.like(model.metadata) if model else TrainConfig()
    settings = TrainConfig.load(config, settings) if config else settings
    if model:
        settings = replace(settings, architecture=model.metadata.architecture, options=model.metadata.options)
    if changes.get("architecture", settings.architecture) != settings.architecture:
        changes["options"] = {}
    settings = update(settings, changes, "options")
    result = train_on(open_dataset(root, classes, reading), settings, output, start=model, report=report, **how)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        click.echo(json.dumps(result, default=str))
        return
    for key, value in result.items():
        click.echo(f"{key}: {value:.3f}" if isinstance(value, float) else f"{key}: {value}")
