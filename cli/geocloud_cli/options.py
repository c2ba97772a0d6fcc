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
    """``4,3,2,5``: band numbers of red, green, blue and, if there is one, near-infrared."""

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
        help="Units of the pixel values. auto: from metadata, or from values that leave no doubt, else an error.",
    ),
    click.option("--sun-elevation", type=float, metavar="DEGREES", help="For Level-1 values without metadata."),
    click.option("--scale", type=float, help="reflectance = scale · value + offset, instead of --units."),
    click.option("--offset", type=float, help="See --scale.  [default: 0]"),
    click.option(
        "--bands",
        type=Bands(),
        help="Band numbers of red, green, blue and, unless it is missing, near-infrared: in a raster, counted from 1; "
        "in a folder of Landsat, Sentinel-2 or HLS bands, those of the file names.",
    ),
    click.option(
        "--extent",
        type=Extent(),
        help="Only this part: left, bottom, right, top in the scene's CRS.",
    ),
    click.option("--scene-id", metavar="ID", help="The scene to mosaic from a folder of 38-Cloud patches."),
]


def reading(command: Command) -> Command:
    """Adds the options for reading a source; `read_options` takes them."""
    for option in reversed(_READING):
        command = option(command)
    return command


def masking(command: Command) -> Command:
    """Adds the options for reading and masking scenes. Those that `read_options` and `compute_options` leave are
    MaskOptions."""
    for option in reversed([*_MASKING, device]):
        command = option(command)
    return reading(command)


def read_options(given: dict[str, Any]) -> ReadOptions:
    """Removes the options of `reading` from a command's parameters and returns them."""
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
    """Removes the options of where the model computes from a command's parameters and returns them."""
    from geocloud.pipeline import ComputeOptions

    return ComputeOptions(device=given.pop("device"), precision=given.pop("precision"), batch=given.pop("batch"))


_MASKING = [
    click.option(
        "--threshold", type=float, metavar="0..1", help="Threshold of cloud probability.  [default: the model's own]"
    ),
    click.option("--shadows", is_flag=True, help="Also mask cloud shadow, as 2."),
    click.option(
        "--shadow-threshold",
        type=float,
        metavar="0..1",
        help="Threshold of shadow probability.  [default: the model's own]",
    ),
    click.option(
        "--min-area",
        type=float,
        default=0.0,
        metavar="M2",
        help="Remove smaller clouds and shadows, fill smaller holes.",
    ),
    click.option(
        "--buffer",
        type=float,
        default=0.0,
        metavar="METRES",
        help="Grow clouds and shadows, after --min-area.",
    ),
    click.option("--shadow-buffer", type=float, default=0.0, metavar="METRES", help="Grow shadows further."),
    click.option(
        "--polygon-min-area",
        type=float,
        metavar="M2",
        help="Leave smaller clouds, shadows and holes out of the polygons; 0 keeps all.  [default: 9 pixels]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        help="auto: bfloat16 where the device is fast at it.",
    ),
    click.option("--batch", type=int, metavar="TILES", help="Tiles per batch.  [default: by device]"),
    click.option(
        "--tile-size",
        type=int,
        metavar="PIXELS",
        help="Largest side of a tile; less needs less memory.  [default: height 768, in wide scenes less; width 1216]",
    ),
    click.option(
        "--working-resolution",
        metavar="METRES|native",
        help="Pixel size that the model sees; the mask stays on the scene's grid. native also takes pixels larger than "
        "300 m, which are refused otherwise.  [default: the model's own (30) for scenes finer than 20 m, else native]",
    ),
    click.option("--overlap", type=int, default=128, metavar="PIXELS", help="Overlap of tiles, to hide seams."),
]

model = click.option("--model", default="fast", metavar="NAME|PATH", help="See 'geocloud models'.")
device = click.option("--device", default="auto", metavar="auto|cpu|cuda|cuda:N|mps", help="Where the model runs.")
classes = click.option(
    "--classes",
    metavar="NAME|V=M,…",
    help="Meaning of mask values, for images with masks: geocloud (0 clear, 1 cloud), l8-biome, sparcs, or pairs such "
    "as 0=clear,128=cloud,255=ignore.  [default: geocloud]",
)


def label_map(given: dict[str, Any]) -> dict[int, str] | None:
    """Removes the option `classes` from a command's parameters and returns it."""
    from geocloud.training.data.chips import parse_classes

    text = given.pop("classes")
    return None if text is None else parse_classes(text)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace existing results.")
