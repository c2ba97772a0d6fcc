"""``geocloud doctor``: is this installation well?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from geocloud_cli import options


@click.command(short_help="Look over this installation, and mask a scene whose answer is known.")
@options.as_json
def doctor(as_json: bool) -> None:
    """Look over this installation: versions, drivers, devices, models, and a scene whose answer is known.

    Exit code 0: all is well; 1: something is not. What it prints belongs into a report of a defect.

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
