"""``geocloud apply``: copies of rasters with their clouds set to nodata."""

from __future__ import annotations

import click

from geocloud_cli import options
from geocloud_cli.command import Command, output


@click.command(cls=Command, short_help="Apply a mask to another raster of the scene.")
@click.argument("mask", metavar="MASK.tif")
@click.argument("raster", metavar="RASTER")
@output("OUT.tif", "File to write.", required=True)
@options.overwrite
def apply(mask: str, raster: str, output: str, overwrite: bool) -> None:
    """Copy RASTER with the cloud, shadow and no data of MASK.tif set to nodata, as a Cloud Optimized GeoTIFF.

    All bands are copied, with their data type, scale, offset and tags. A mask on another grid is resampled to the
    raster's (nearest neighbour). To mask the scene itself, use geocloud mask --masked.

    \b
    Example:
      geocloud apply mask.tif LC08_L2SP_190026_20200803_20200908_02_T1_ST_B10.TIF -o temperature.tif
    """
    from geocloud.pipeline import apply_mask

    apply_mask(raster, mask, output, overwrite=overwrite)
    click.echo(output)
