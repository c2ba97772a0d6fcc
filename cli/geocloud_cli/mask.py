"""``geocloud mask``: cloud masks of scenes."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geocloud.io.allocator import keep_freed_memory
from geocloud_cli import options
from geocloud_cli.command import Command, option, output
from geocloud_cli.messages import counted, progress_bar, show_error

if TYPE_CHECKING:
    from geocloud.models.predictor import Predictor
    from geocloud.pipeline import MaskResult
    from geocloud.tiling.mosaic import Progress

FILE_SUFFIXES = (".tif", ".tiff", ".gpkg", ".geojson", ".fgb", ".parquet")


@click.command(cls=Command, short_help="Mask the clouds of one or several scenes.")
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...")
@output("OUT.tif|DIR", "Mask to write, or a folder for several scenes.  [default: NAME_cloudmask.tif, here]")
@option(
    "Output",
    "--polygons",
    metavar="OUT.gpkg|DIR",
    help="Also write cloud polygons: GeoPackage layer 'clouds', or .geojson, .fgb, .parquet.",
)
@option("Output", "--probability", metavar="OUT.tif|DIR", help="Also write the cloud probability, in per cent.")
@option(
    "Output",
    "--masked",
    metavar="OUT.tif|DIR",
    help="Also write the scene itself, with cloud, shadow and no data set to nodata.",
)
@options.overwrite
@options.as_json
@options.masking
@options.progress
@click.pass_context
def mask(
    ctx: click.Context,
    /,
    scenes: tuple[str, ...],
    output: str | None,
    polygons: str | None,
    probability: str | None,
    masked: str | None,
    model: str,
    progress: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Mask the clouds of SCENE: a Landsat, Sentinel-2 (.SAFE) or HLS product as a folder, .tar, .tar.gz or .zip, any
    file of such a folder, a raster with red, green, blue and near-infrared bands, a STAC item, an https://, s3://,
    gs:// or az:// address of these, or 38-Cloud patches.

    The mask is a Cloud Optimized GeoTIFF on the scene's own grid: 0 clear, 1 cloud, 2 cloud shadow (with
    --shadows), 255 no data.

    \b
    Examples:
      geocloud mask LC08_L1TP_190026_20200803_20200807_02_T1.tar
      geocloud mask scene.tif -o mask.tif --polygons clouds.gpkg --buffer 150
      geocloud mask archive/*.tar -o masks/
    """
    from geocloud.errors import OutputExistsError
    from geocloud.pipeline import MaskOptions, mask_scene
    from geocloud.readers import find_recipe
    from geocloud.writers.staging import sweep

    if ctx.obj["quiet"]:
        progress = "none"
    read = options.read_options(given)
    compute = options.compute_options(given)
    settings = MaskOptions(**given)
    many = len(scenes) > 1
    for place in (output, polygons, probability, masked):
        if many and place is not None and Path(place).suffix.lower() in FILE_SUFFIXES:
            raise click.UsageError(f"{place}: several scenes need a folder, not a file")
    if settings.polygon_min_area is not None and polygons is None:
        raise click.UsageError("--polygon-min-area has no effect without --polygons")
    keep_freed_memory()
    loaded: str | Predictor = model
    if many:
        from geocloud.models.predictor import load_model

        loaded = load_model(model, **asdict(compute))

    failed, taken = 0, set[Path]()
    fresh = [Path(place) for place in (output, polygons, probability, masked) if place and not _exists(place)]
    for scene in scenes:
        try:
            recipe = find_recipe(scene, read)
            destination = _destination(output or "", many, recipe.name, "_cloudmask.tif")
            assert destination is not None
            if destination in taken:
                raise OutputExistsError(
                    f"{scene}: an earlier scene of this run is written to {destination} too; mask it separately"
                )
            taken.add(destination)
            sweep(destination.parent)
            result = mask_scene(
                recipe,
                destination,
                polygons=_destination(polygons, many, recipe.name, "_clouds.gpkg"),
                probability=_destination(probability, many, recipe.name, "_probability.tif"),
                masked=_destination(masked, many, recipe.name, "_masked.tif"),
                model=loaded,  # a name is loaded while the scene is read
                read=read,
                options=settings,
                compute=None if many else compute,
                progress=_reporter(progress, recipe.name),
            )
        except Exception as error:
            for folder in fresh:
                with suppress(OSError):
                    folder.rmdir()  # only if it is empty
            if not many or ctx.obj["debug"]:
                raise
            failed += 1
            show_error(error)
            continue
        click.echo(result.to_json() if as_json else _line(result))
    if failed:
        click.echo(f"geocloud: {failed} of {counted(len(scenes), 'scene')} failed", err=True)
        sys.exit(1)


def _exists(place: str) -> bool:
    """True if a path exists; False for an invalid path, too, on which writing fails later."""
    try:
        return Path(place).exists()
    except OSError:
        return False


def _destination(place: str | None, many: bool, name: str, ending: str) -> Path | None:
    """The file ``place``, or a file with the scene's name in the folder ``place`` ("": here), which is created."""
    from geocloud.errors import OutputError

    if place is None:
        return None
    path = Path(place)
    if not many and path.suffix and not place.endswith(("/", os.sep)) and not (_exists(place) and path.is_dir()):
        return path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: the folder cannot be created ({error.strerror})") from error
    return path / f"{name}{ending}"


def _line(result: MaskResult) -> str:
    cloud = "cloud none (no valid pixels)"
    if result.cloud_percent is not None:
        shares = ", ".join(f"{name} {value:.1f} %" for name, value in result.shares.items())
        cloud = f"{shares} of valid pixels, valid {result.valid_percent:.1f} %"
    parts = [f"{result.mask}: {cloud}"]
    if result.polygon_count is not None:
        parts.append(f"{counted(result.polygon_count, 'polygon')} in {result.polygons}")
    files = {"probability": result.probability, "scene without clouds": result.masked}
    parts += [f"{name} in {path}" for name, path in files.items() if path]
    return ", ".join(parts if result.crs else [*parts, "no CRS (the source has none)"])


def _reporter(kind: str, name: str) -> Progress | None:
    if kind == "json":
        return lambda done, total: click.echo(json.dumps({"scene": name, "done": done, "total": total}), err=True)
    return None if kind == "none" else progress_bar(name, "rows of tiles")
