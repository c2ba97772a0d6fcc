"""``geocloud preview``: a picture of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option, output


@click.command(cls=Command, short_help="Draw a scene, with its clouds.")
@click.argument("scene", metavar="SCENE")
@output("OUT.png", "Picture to write: .png, .jpg or .webp.", type=click.Path(path_type=Path), required=True)
@options.overwrite
@option("Picture", "--mask", metavar="MASK.tif", help="Mask of the scene, written by 'geocloud mask'.")
@option(
    "Picture",
    "--colour",
    type=click.Choice(["natural", "nir", "both"]),
    default="natural",
    help="Colours; nir shows near-infrared as red.",
)
@option(
    "Picture",
    "--cloud",
    type=click.Choice(["outline", "overlay"]),
    help="Style of the clouds.  [default: overlay with --beside, else outline]",
)
@option("Picture", "--beside", is_flag=True, help="Also show the scene without the mask, beside it.")
@option(
    "Picture", "--size", type=click.IntRange(16, 8192), default=1200, help="Longest side of each picture in pixels."
)
@option("Picture", "--caption/--no-caption", default=True, help="Draw scale bar, name and date below the picture.")
@options.reading
def preview(scene: str, output: Path, mask: str | None, **given: Any) -> None:
    """Draw SCENE (any source that 'geocloud mask' takes) as a picture.

    \b
    Examples:
      geocloud preview scene.tif -o scene.png
      geocloud preview scene.tif --mask mask.tif --beside --colour both -o look.jpg
    """
    from geocloud.preview.draw import preview_scene

    read = options.read_options(given)
    height, width = preview_scene(scene, output, mask=mask, read=read, **given)
    click.echo(f"{output}: {width}×{height}")
