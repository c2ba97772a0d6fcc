"""``geocloud preview``: a picture of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geocloud_cli import options


@click.command(short_help="Draw a scene, with its clouds.")
@click.argument("scene", metavar="SCENE")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="OUT.png", help="Or .jpg .webp")
@click.option("--mask", metavar="MASK.tif", help="The scene's mask, as 'geocloud mask' wrote it.")
@click.option(
    "--colour",
    type=click.Choice(["natural", "nir", "both"]),
    default="natural",
    help="nir: near-infrared is shown as red.",
)
@click.option("--cloud", type=click.Choice(["outline", "overlay"]), default="outline", help="How clouds are shown.")
@click.option("--beside", is_flag=True, help="Also show the scene without its clouds, beside it.")
@click.option("--size", type=int, default=1200, metavar="PIXELS", help="Longest side of each picture.")
@click.option("--caption/--no-caption", default=True, help="Scale bar, name and date below.")
@click.option("--world-file", is_flag=True, help="Also write georeferencing for a GIS.")
@options.reading
@options.overwrite
def preview(scene: str, output: Path, mask: str | None, **given: Any) -> None:
    """Draw SCENE (whatever 'geocloud mask' takes) as a picture.

    \b
    Examples:
      geocloud preview scene.tif -o scene.png
      geocloud preview scene.tif --mask mask.tif --beside --colour both -o look.jpg
    """
    from geocloud.preview.draw import PreviewOptions, preview_scene

    read = options.read_options(given)
    height, width = preview_scene(scene, output, mask=mask, read=read, options=PreviewOptions(**given))
    click.echo(f"{output}: {width}×{height}")
