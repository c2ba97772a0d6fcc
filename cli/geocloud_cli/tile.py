"""``geocloud tile``: cut a scene into training tiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option, output
from geocloud_cli.messages import counted

MASK = "Also cut this mask, on the scene's grid. Values above 0 are cloud; nodata is kept."
LAYOUT = "geotiff: one file per tile, reflectance × 10 000. 38-cloud: folders, names and Level-1 values of 38-Cloud."


@click.command(cls=Command, short_help="Cut a scene into georeferenced tiles.")
@click.argument("scene")
@output("DIR", "Folder for the tiles.", type=click.Path(path_type=Path), required=True)
@options.overwrite
@options.as_json
@option("Tiles", "--mask", metavar="MASK.tif", help=MASK)
@option("Tiles", "--layout", type=click.Choice(["geotiff", "38-cloud"]), default="geotiff", help=LAYOUT)
@option("Tiles", "--tile-size", type=int, default=384, metavar="PIXELS", help="Height and width of a tile.")
@option("Tiles", "--overlap", type=int, default=0, metavar="PIXELS", help="Overlap between tiles (geotiff only).")
@options.reading
def tile(scene: str, output: Path, as_json: bool, **given: Any) -> None:
    """Cut SCENE into georeferenced GeoTIFF tiles for training. Tiles without data are left out.

    With --layout 38-cloud the scene is centred and padded to whole patches, all of which are written.

    Example: geocloud tile scene.tar -o tiles --mask scene_cloudmask.tif --layout 38-cloud
    """
    from geocloud.readers import open_scene
    from geocloud.training.data.cut import cut_38cloud, cut_geotiffs

    cut: Callable[..., int] = cut_geotiffs
    how = {name: given.pop(name) for name in ("mask", "tile_size", "overlap", "overwrite")}
    if given.pop("layout") == "38-cloud":
        if how.pop("overlap"):
            raise click.UsageError("--overlap: patches of 38-Cloud do not overlap")
        cut = cut_38cloud
    with open_scene(scene, options.read_options(given)) as opened:
        count = cut(opened, output, **how)
    text = f"{output}: {counted(count, 'tile')}"
    click.echo(json.dumps({"folder": str(output), "tiles": count}) if as_json else text)
