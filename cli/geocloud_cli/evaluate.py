"""``geocloud evaluate``: scores of a model on scenes with truth masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option, output
from geocloud_cli.messages import counted, progress_bar

PATH = click.Path(path_type=Path)
PREDICTIONS = (
    "Score the predicted patches in this folder instead of a model, by the official protocol. Files are named like "
    "38-Cloud's patches."
)
PROTOCOL = (
    "whole: masks as written by 'geocloud mask', with the model's own threshold; pixels without data are ignored. "
    "official: 38-Cloud's protocol, patch by patch, threshold 12/255, black margins counted.  [default: whole]"
)


@click.command(cls=Command, short_help="Score a model, or another program's predictions.")
@click.argument("root", type=PATH)
@output("DIR", "Write error maps, scores by threshold, precision-recall and calibration curves.", type=PATH)
@option("Output", "--csv", "table", type=PATH, metavar="FILE.csv", help="Write the table of scores as CSV.")
@options.as_json
@options.classes
@options.values
@options.model
@option("Model", "--predictions", type=PATH, metavar="DIR", help=PREDICTIONS)
@option("Scores", "--protocol", type=click.Choice(["whole", "official"]), help=PROTOCOL)
@option("Scores", "--threshold", type=float, metavar="P", help="Probability threshold.  [default: by --protocol]")
@option("Scores", "--shadows", is_flag=True, help="Score cloud shadow instead of cloud, if the masks have that class.")
@options.device
@options.threads
@click.pass_context
def evaluate(ctx: click.Context, /, root: Path, output: Path | None, as_json: bool, **given: Any) -> None:
    """Score a model on ROOT: 38-Cloud's test scenes, or a folder with images/ and masks/.

    Prints scores as the mean over scenes (38-Cloud's official figure), pooled over pixels, as the median over scenes,
    and for each scene. The summaries can differ widely.

    Example: geocloud evaluate 38-Cloud --model run1/best.safetensors -o report
    """
    from geocloud.models.predictor import load_model
    from geocloud.training import figures
    from geocloud.training.data.layout import open_dataset
    from geocloud.training.evaluate import evaluate as score

    model, device, table = (given.pop(name) for name in ("model", "device", "table"))
    named = ctx.get_parameter_source("model") is click.core.ParameterSource.COMMANDLINE
    if given["predictions"] is not None and named:
        raise click.UsageError("give --model or --predictions, not both")
    dataset = open_dataset(root, options.label_map(given), options.read_options(given))
    predictor = load_model(model, device) if given["predictions"] is None else None
    total = len(dataset.testing) or len(dataset.training)
    bar = progress_bar("scoring", "scenes", ctx.obj["quiet"])
    for done, (picture, evaluation) in enumerate(score(dataset, predictor, **given), 1):
        if output is not None:
            figures.write_map(picture, evaluation.threshold, output)
        bar(done, total)
    if output is not None:
        figures.write_report(evaluation, output)
    if table is not None:
        figures.write_csv(evaluation, table)
    if as_json:
        click.echo(json.dumps(evaluation.as_dict()))
        return
    target, scenes = evaluation.target, counted(len(evaluation.scenes), "scene")
    click.echo(f"protocol {evaluation.protocol}, {target} above {evaluation.threshold:.3f}, {scenes}; per cent")
    click.echo((100 * evaluation.table()).to_string(float_format="{:12.2f}".format, na_rep="–"))
    for name, lost in evaluation.undefined().items():
        if lost:
            click.echo(f"{name}: undefined (0/0) in {counted(lost, 'scene')}, ignored in mean and median")
