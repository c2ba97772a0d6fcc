"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from geocloud.bands import Units

if TYPE_CHECKING:
    from geocloud.pipeline import ComputeOptions
    from geocloud.scene import ReadOptions

Command = Callable[..., Any]


class Bands(click.ParamType[tuple[int, ...]]):
    """``4,3,2,5``: band numbers of red, green, blue and, where there is one, near-infrared."""

    name = "R,G,B[,NIR]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in (3, 4) or min(numbers) < 1 or len(set(numbers)) < len(numbers):
            self.fail(f"{value!r}: wanted three or four different band numbers from 1, such as 4,3,2,5", param, ctx)
        return numbers


class Extent(click.ParamType[tuple[float, ...]]):
    """``500000,5400000,510000,5410000``: left, bottom, right, top."""

    name = "LEFT,BOTTOM,RIGHT,TOP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 4:
            self.fail(f"{value!r}: wanted four numbers: left, bottom, right, top", param, ctx)
        return numbers


_READING = [
    click.option(
        "--units",
        type=click.Choice([str(u) for u in Units]),
        default=str(Units.AUTO),
        help="What pixel values are. auto: metadata first, then what leaves no doubt; else it asks.",
    ),
    click.option("--sun-elevation", type=float, metavar="DEGREES", help="For Level-1 values whose metadata are lost."),
    click.option("--scale", type=float, help="reflectance = scale · value + offset, in place of --units."),
    click.option("--offset", type=float, help="See --scale.  [default: 0]"),
    click.option(
        "--bands",
        type=Bands(),
        help="Band numbers of red, green, blue and, unless it is missing, near-infrared: a raster's own, from 1; in a "
        "folder of Landsat's, Sentinel-2's or HLS's bands, those of the file names.",
    ),
    click.option(
        "--extent",
        type=Extent(),
        help="Only what lies in these bounds: left, bottom, right, top in the scene's CRS.",
    ),
    click.option("--scene-id", metavar="ID", help="The scene to put together from a folder of 38-Cloud patches."),
]


def reading(command: Command) -> Command:
    """Adds the options that say how a source is read; `read_options` takes them."""
    for option in reversed(_READING):
        command = option(command)
    return command


def masking(command: Command) -> Command:
    """Adds the options that say how scenes are read and masked; what `read_options` and
    `compute_options` leave are those of MaskOptions."""
    for option in reversed([*_MASKING, device]):
        command = option(command)
    return reading(command)


def read_options(given: dict[str, Any]) -> ReadOptions:
    """Takes the options of `reading` out of a command's parameters."""
    from geocloud.scene import ReadOptions

    return ReadOptions(
        units=Units(given.pop("units")),
        sun_elevation=given.pop("sun_elevation"),
        scale=given.pop("scale"),
        offset=given.pop("offset"),
        bands=given.pop("bands"),
        scene_id=given.pop("scene_id"),
        extent=given.pop("extent"),
    )


def compute_options(given: dict[str, Any]) -> ComputeOptions:
    """Takes those of the options of `masking` that say where the model computes out of a command's parameters."""
    from geocloud.pipeline import ComputeOptions

    return ComputeOptions(device=given.pop("device"), precision=given.pop("precision"), batch=given.pop("batch"))


_MASKING = [
    click.option("--threshold", type=float, metavar="0..1", help="Cloud is above it.  [default: the model's own]"),
    click.option("--shadows", is_flag=True, help="Also mask cloud shadow: 2."),
    click.option(
        "--shadow-threshold", type=float, metavar="0..1", help="Shadow is above it.  [default: the model's own]"
    ),
    click.option(
        "--min-area", type=float, default=0.0, metavar="M2", help="Drop smaller clouds and shadows, fill smaller holes."
    ),
    click.option(
        "--buffer",
        type=float,
        default=0.0,
        metavar="METRES",
        help="Grow clouds and shadows by this much, after --min-area.",
    ),
    click.option("--shadow-buffer", type=float, default=0.0, metavar="METRES", help="Grow shadows by so much more."),
    click.option(
        "--polygon-min-area",
        type=float,
        metavar="M2",
        help="Smaller clouds, shadows and holes make no polygon; 0 keeps all.  [default: 9 pixels]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        help="auto: bfloat16 where the device is fast at it.",
    ),
    click.option("--batch", type=int, metavar="TILES", help="Tiles at a time.  [default: by device]"),
    click.option(
        "--tile-size",
        type=int,
        metavar="PIXELS",
        help="Largest side of a tile: less takes less memory.  [default: 768 high, 1280 wide; in wide scenes lower]",
    ),
    click.option(
        "--working-resolution",
        metavar="METRES|native",
        help="Pixels that the model sees; the mask stays on the scene's own. native takes pixels beyond 300 m too, "
        "which are refused otherwise.  [default: the model's own (30) for scenes finer than 20 m, else native]",
    ),
    click.option(
        "--overlap", type=int, default=128, metavar="PIXELS", help="By how much tiles overlap, to hide seams."
    ),
]

model = click.option("--model", default="fast", metavar="NAME|PATH", help="See 'geocloud models'.")
device = click.option("--device", default="auto", metavar="auto|cpu|cuda|cuda:N|mps", help="Where the model runs.")
classes = click.option(
    "--classes",
    metavar="NAME|V=M,…",
    help="For images with masks, what mask values mean: geocloud (0 clear, 1 cloud), l8-biome, sparcs, or pairs such "
    "as 0=clear,128=cloud,255=ignore.  [default: geocloud]",
)


def label_map(given: dict[str, Any]) -> dict[int, str] | None:
    """Takes the option `classes` out of a command's parameters."""
    from geocloud.training.data.chips import parse_classes

    text = given.pop("classes")
    return None if text is None else parse_classes(text)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace results that are there already.")
