"""``geocloud doctor``: checks of the installation."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from geocloud.errors import GeocloudError
from geocloud_cli import options
from geocloud_cli.command import Command
from geocloud_cli.mask import mask

if TYPE_CHECKING:
    from geocloud._checks import Finding


@click.command(cls=Command, short_help="Check this installation, and mask a scene with known clouds.")
@options.as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this installation: environment variables, versions, drivers, devices, models, and a scene with known
    clouds.

    Exit code 0: all checks passed; 1: some failed. Include the output in bug reports.

    Example: geocloud doctor
    """
    findings = [_environment(ctx)]  # as the user set them
    from geocloud.doctor import examine

    if not as_json:
        click.echo(str(findings[0]))
    for finding in examine():
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    if not all(finding.well for finding in findings):
        sys.exit(1)


def _environment(ctx: click.Context) -> Finding:
    """Checks the environment variables that set defaults of options of 'geocloud mask'."""
    from geocloud._checks import Finding
    from geocloud.models import find_model
    from geocloud.pipeline import MaskOptions

    names = [parameter.envvar for parameter in mask.params if isinstance(parameter.envvar, str)]
    variables = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
    text = ", ".join(variables) or f"none of {', '.join(names)} is set"
    try:
        parameters = mask.make_context("mask", ["SCENE"], ctx.parent).params
        MaskOptions(threshold=parameters["threshold"])
        find_model(parameters["model"])
    except GeocloudError as error:
        return Finding("environment variables", False, f"{text}: {error}")
    return Finding("environment variables", True, text)
