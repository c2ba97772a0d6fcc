"""``geocloud evaluate``: scores of a model on scenes with truth masks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option, output
from geocloud_cli.messages import counted, progress_bar

if TYPE_CHECKING:
    from geocloud.training.evaluate import Evaluation

PATH = click.Path(path_type=Path)


@click.command(cls=Command, short_help="Score a model, or predictions of another program.")
@click.argument("root", type=PATH)
@output("DIR", "Write error maps, scores by threshold, precision by recall and calibration.", type=PATH)
@option("Output", "--csv", "table", type=PATH, metavar="FILE.csv", help="Write the table as CSV.")
@options.as_json
@options.classes
@options.values
@options.model
@option(
    "Model",
    "--predictions",
    type=PATH,
    metavar="DIR",
    help="Score predicted patches in this folder instead of a model: files named like 38-Cloud's patches.",
)
@option(
    "Scores",
    "--protocol",
    type=click.Choice(["official", "whole"]),
    help="official: as 38-Cloud's authors do, patch by patch, threshold 12/255, black margins counted. whole: as "
    "'geocloud mask' does, the model's own threshold, pixels without data ignored.  [default: official if there "
    "are test scenes]",
)
@option(
    "Scores", "--threshold", type=float, metavar="P", help="Threshold of the probability.  [default: the protocol's]"
)
@option("Scores", "--shadows", is_flag=True, help="Score cloud shadow instead, if the masks have such a class.")
@options.device
@options.threads
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    root: Path,
    model: str,
    predictions: Path | None,
    protocol: str | None,
    threshold: float | None,
    shadows: bool,
    output: Path | None,
    table: Path | None,
    device: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Score a model on ROOT: 38-Cloud's test scenes, or a folder with images/ and masks/.

    Scores are summarised in ways that can differ widely: the mean over scenes (38-Cloud's official figure), all pixels
    pooled, the median over scenes, and each scene.

    Example: geocloud evaluate 38-Cloud --model run1/best.safetensors -o report
    """
    from geocloud.training import report
    from geocloud.training.data.layout import open_dataset
    from geocloud.training.evaluate import evaluate as score

    if predictions is not None and ctx.get_parameter_source("model") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("give --model or --predictions, not both")
    dataset = open_dataset(root, options.label_map(given), options.read_options(given))
    predictor = None
    if predictions is None:
        from geocloud.models.predictor import load_model

        predictor = load_model(model, device)
    total = len(dataset.testing) or len(dataset.training)
    bar = progress_bar("scoring", "scenes", ctx.obj["quiet"])
    for done, (picture, found) in enumerate(score(dataset, predictor, predictions, protocol, threshold, shadows), 1):
        if output is not None:
            report.write_map(picture, found.threshold, output)
        bar(done, total)
    if output is not None:
        report.write_plots(found, output)
    if table is not None:
        report.write_csv(found, table)
    if as_json:
        click.echo(json.dumps(report.as_dict(found)))
    else:
        _show(found)


def _show(found: Evaluation) -> None:
    from geocloud.training.evaluate import SCORES

    views = found.views()
    width = max(len(name) for name in views) + 2
    scenes = counted(len(found.scenes), "scene")
    click.echo(f"protocol {found.protocol}, {found.what} above {found.threshold:.3f}, {scenes}; per cent")
    click.echo(" " * width + "".join(f"{score:>13}" for score in SCORES))
    for name, scores in views.items():
        values = ("–" if math.isnan(scores[s]) else f"{100 * scores[s]:.2f}" for s in SCORES)
        click.echo(f"{name:<{width}}" + "".join(f"{value:>13}" for value in values))
    for score in SCORES:
        if lost := len(found.scenes) - len(found.defined(score)):
            click.echo(f"{score}: undefined (0/0) in {counted(lost, 'scene')}, which the mean and the median leave out")
