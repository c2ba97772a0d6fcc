"""``geocloud doctor``: checks of the installation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from geocloud_cli import options
from geocloud_cli.command import Command


@click.command(cls=Command, short_help="Check this installation, and mask a scene with known clouds.")
@options.as_json
def doctor(as_json: bool) -> None:
    """Check this installation: versions, drivers, devices, models, and a scene with known clouds.

    Exit code 0: all checks passed; 1: some failed. Include the output in bug reports.

    Example: geocloud doctor
    """
    from geocloud.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    if not all(finding.well for finding in findings):
        sys.exit(1)
