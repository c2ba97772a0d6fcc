"""``geocloud qgis``: the QGIS plugin."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from geocloud_cli import options
from geocloud_cli.command import Group, option

PATH = click.Path(path_type=Path)

in_profile = options.adding(
    [
        option("QGIS", "--profile", default="default", metavar="NAME", help="QGIS user profile."),
        option(
            "QGIS",
            "--profiles",
            "folder",
            type=PATH,
            metavar="DIR",
            help="Folder of the profiles.  [default: where QGIS keeps them]",
        ),
    ]
)
"""Adds the options that select a profile."""


@click.group(cls=Group, short_help="Install, remove and check the QGIS plugin.")
def qgis() -> None:
    """The Processing plugin for QGIS: Mask clouds, Mask a folder, Preview.

    Example: geocloud qgis install
    """


@qgis.command()
@in_profile
def install(profile: str, folder: Path | None) -> None:
    """Copy the plugin into your QGIS profile. It runs geocloud in this Python environment.

    Example: geocloud qgis install --profile default
    """
    from geocloud.qgis.install import find_profiles
    from geocloud.qgis.install import install as copy

    for place in find_profiles(profile, folder):
        click.echo(f"{copy(place)}: installed; restart QGIS to find geocloud in the Processing toolbox")


@qgis.command()
@in_profile
def uninstall(profile: str, folder: Path | None) -> None:
    """Remove the plugin from your QGIS profile. The rest of the profile stays unchanged.

    Example: geocloud qgis uninstall
    """
    from geocloud.qgis.install import find_profiles, plugin_folder
    from geocloud.qgis.install import uninstall as remove

    for place in find_profiles(profile, folder):
        outcome = "the plugin is removed; the profile stays" if remove(place) else "the plugin was not installed"
        click.echo(f"{plugin_folder(place)}: {outcome}")


@qgis.command()
@in_profile
def doctor(profile: str, folder: Path | None) -> None:
    """Check the plugin and report any problems. Exit code 0: all checks passed; 1: some failed.

    Example: geocloud qgis doctor
    """
    from geocloud.qgis.install import examine, find_profiles

    findings = [finding for place in find_profiles(profile, folder) for finding in examine(place)]
    for finding in findings:
        click.echo(str(finding))
    if not all(finding.well for finding in findings):
        sys.exit(1)
