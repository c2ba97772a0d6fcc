"""``geocloud preview``: a picture of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option, output


@click.command(cls=Command, short_help="Draw a scene, with its clouds.")
@click.argument("scene", metavar="SCENE")
@output("OUT.png", "Or .jpg, .webp.", type=click.Path(path_type=Path), required=True)
@options.overwrite
@option("Picture", "--mask", metavar="MASK.tif", help="The scene's mask, as 'geocloud mask' wrote it.")
@option(
    "Picture",
    "--colour",
    type=click.Choice(["natural", "nir", "both"]),
    default="natural",
    help="nir: near-infrared is shown as red.",
)
@option(
    "Picture",
    "--cloud",
    type=click.Choice(["outline", "overlay"]),
    help="How clouds are shown.  [default: overlay with --beside, else outline]",
)
@option("Picture", "--beside", is_flag=True, help="Also show the scene without its clouds, beside it.")
@option(
    "Picture", "--size", type=click.IntRange(16, 8192), default=1200, help="Longest side of each picture in pixels."
)
@option("Picture", "--caption/--no-caption", default=True, help="Scale bar, name and date below.")
@options.reading
def preview(scene: str, output: Path, mask: str | None, **given: Any) -> None:
    """Draw SCENE (whatever 'geocloud mask' takes) as a picture.

    \b
    Examples:
      geocloud preview scene.tif -o scene.png
      geocloud preview scene.tif --mask mask.tif --beside --colour both -o look.jpg
    """
    from geocloud.preview.draw import preview_scene

    read = options.read_options(given)
    height, width = preview_scene(scene, output, mask=mask, read=read, **given)
    click.echo(f"{output}: {width}×{height}")
