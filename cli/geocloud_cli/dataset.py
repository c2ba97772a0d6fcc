"""``geocloud dataset``: check or simulate training data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Group, option
from geocloud_cli.messages import counted, progress_bar

PATH = click.Path(path_type=Path)
AT_LEAST_0, AT_LEAST_1 = click.IntRange(0), click.IntRange(1)


@click.group(cls=Group, short_help="Check or simulate training data.")
def dataset() -> None:
    """Check a data set before training, or write a small simulated one.

    Example: geocloud dataset check 38-Cloud
    """


@dataset.command()
@click.argument("root", type=PATH)
@options.classes
@options.values
@option("Data", "--limit", type=AT_LEAST_1, metavar="N", help="Read N patches, evenly spread.  [default: all]")
@option("Output", "--pictures", type=PATH, metavar="FILE.png", help="Draw some patches with their labels.")
@options.as_json
@click.pass_context
def check(ctx: click.Context, /, root: Path, pictures: Path | None, as_json: bool, **given: Any) -> None:
    """Report on the data set ROOT: counts, missing files, empty patches, class balance, statistics of each band.

    ROOT is 38-Cloud or 95-Cloud as distributed, or a folder with images/ and masks/ whose files have the same names.
    The exit code is 1 if something is missing or cannot be read.

    Example: geocloud dataset check 38-Cloud --pictures look.png
    """
    from geocloud.training.data.check import check as check_dataset
    from geocloud.training.data.layout import open_dataset

    opened = open_dataset(root, options.label_map(given), options.read_options(given))
    report = check_dataset(opened, given["limit"], pictures, progress_bar("reading", "patches", ctx.obj["quiet"]))
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
        if pictures:
            click.echo(f"pictures: {pictures}")
    for problem in report["problems"]:
        click.echo(f"geocloud: problem: {problem}", err=True)
    if report["problems"]:
        ctx.exit(1)


def _show(report: dict[str, Any]) -> None:
    shares = (report["cloud_share"], report["known_share"])
    cloud, known = ("none" if math.isnan(share) else f"{100 * share:.1f} %" for share in shares)
    click.echo(f"{report['root']}: {report['kind']}")
    click.echo(f"training: {counted(report['chips'], 'patch')} of {counted(report['scenes'], 'scene')}")
    if report["informative"] is not None:
        click.echo(f"          {report['informative']} on the list of informative ones")
    if report["test_scenes"]:
        scenes = counted(report["test_scenes"], "scene")
        click.echo(f"test: {counted(report['test_patches'], 'patch')} of {scenes} with a truth mask")
    click.echo(f"read: {report['looked_at']}, of which {report['empty']} without data")
    click.echo(f"cloud: {cloud} of labelled pixels, {known} labelled")
    click.echo(f"       {counted(report['cloudless'], 'patch')} without any cloud, {report['overcast']} all cloud")
    click.echo(f"{'reflectance':<12}{'mean':>8}{'std':>8}{'min':>8}{'max':>8}")
    for band, numbers in report["statistics"].items():
        click.echo(f"{band:<12}" + "".join(f"{value:8.3f}" for value in numbers.values()))


@dataset.command()
@click.argument("root", type=PATH)
@click.option("--training", type=AT_LEAST_0, default=4, metavar="N", help="Number of training scenes.")
@click.option("--test", "testing", type=AT_LEAST_0, default=2, metavar="N", help="Number of test scenes.")
@click.option("--rows", type=AT_LEAST_1, default=2, metavar="N", help="Rows of patches per scene.")
@click.option("--cols", type=AT_LEAST_1, default=3, metavar="N", help="Columns of patches per scene.")
@click.option("--seed", type=AT_LEAST_0, default=0, help="Random seed: the same seed gives the same data set.")
@options.as_json
def simulate(root: Path, training: int, testing: int, rows: int, cols: int, seed: int, as_json: bool) -> None:
    """Write a small simulated data set to ROOT in 38-Cloud's exact layout, for short trials of training and evaluation.

    Example: geocloud dataset simulate toy-38-Cloud
    """
    from geocloud.training.data.synthetic import write_38cloud

    count = write_38cloud(root, training, testing, (rows, cols), seed)
    text = f"{root}: {counted(count, 'simulated patch')}"
    click.echo(json.dumps({"folder": str(root), "patches": count}) if as_json else text)
