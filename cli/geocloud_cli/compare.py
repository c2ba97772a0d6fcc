"""``geocloud compare``: comparison of a mask with the cloud flags of a product."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option, output


@click.command(cls=Command, short_help="Compare a mask with a product's own cloud flags.")
@click.argument("mask", metavar="MASK.tif|SCENE")
@click.argument("reference", required=False)
@output("OUT.png", "Also draw where the two differ.", type=click.Path(path_type=Path))
@options.overwrite
@options.as_json
@option("Reference", "--as", "kind", metavar="KIND", help="Kind of REFERENCE.  [default: by its file name]")
@options.snow
@options.cirrus
@options.model
@options.reading
def compare(
    mask: str,
    reference: str | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    kind: str | None,
    snow: bool,
    cirrus: bool,
    model: str,
    **given: Any,
) -> None:
    """Compare MASK.tif with REFERENCE: Landsat's QA_PIXEL, pixel_qa or BQA, Sentinel-2's SCL or MSK_CLDPRB, Fmask of
    HLS or python-fmask, or another mask by geocloud. A SCENE is masked first and, without REFERENCE, compared with its
    product's own flags. Shadow, snow and thin cirrus are compared if both have these classes. A reference on another
    grid is resampled to the mask's, nearest neighbour.

    KIND is qa_pixel, pixel_qa, bqa, scl, cldprb, hls, fmask or geocloud.

    \b
    Examples:
      geocloud compare LC08_L2SP_190026_20200803_20200908_02_T1.tar -o differences.png
      geocloud compare mask.tif T32TQM_20200101T101031_SCL_20m.jp2
    """
    from geocloud.compare import compare_masks, find_flags
    from geocloud.models import read_metadata
    from geocloud.pipeline import MaskOptions, mask_scene
    from geocloud.readers import open_raster

    with tempfile.TemporaryDirectory(prefix="geocloud-compare-") as folder:
        own = Path(mask)
        is_mask = False
        if own.is_file() and own.suffix.lower() in (".tif", ".tiff"):
            with open_raster(mask, mask) as dataset:
                is_mask = "GEOCLOUD_MODEL" in dataset.tags()
        if is_mask and reference is None:
            raise click.UsageError(f"{mask} is a mask: name the REFERENCE to compare it with")
        against = reference or find_flags(mask)
        if not is_mask:
            own = Path(folder) / "mask.tif"
            shadows = bool(read_metadata(model).shadow)
            read = options.read_options(given)
            mask_scene(
                mask, own, model=model, read=read, options=MaskOptions(shadows=shadows, snow=snow, cirrus=cirrus)
            )
        result = compare_masks(own, against, kind=kind, picture=output, overwrite=overwrite, name=mask)
    click.echo(result.to_json() if as_json else result.to_text())
