"""Options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from geocloud.bands import Units
from geocloud_cli.command import OTHER, Decorator, option

if TYPE_CHECKING:
    from geocloud.pipeline import ComputeOptions
    from geocloud.readers import ReadOptions


class Bands(click.ParamType[tuple[int, ...] | str]):
    """``4,3,2,5``: band numbers of red, green, blue and, if there is one, near-infrared; or ``bgrn``, their order."""

    name = "R,G,B[,NIR]|rgbn|bgrn"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...] | str:
        word = str(value).strip().lower()
        if re.fullmatch("[rgbnx]+", word):
            from geocloud.readers.base import is_order

            if is_order(word):
                return word
            self.fail(f"{value!r}: wanted a letter per band, such as rgbn or bgrn (x: not used)", param, ctx)
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in (3, 4) or min(numbers) < 1 or len(set(numbers)) < len(numbers):
            self.fail(
                f"{value!r}: wanted three or four different band numbers from 1, such as 4,3,2,5, or rgbn or bgrn",
                param,
                ctx,
            )
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


_VALUES = [
    option(
        "Input",
        "--units",
        type=click.Choice([str(u) for u in Units]),
        default=str(Units.AUTO),
        help="Units of the pixel values. auto: from metadata, or from values that leave no doubt, else an error.",
    ),
    option("Input", "--scale", type=float, help="reflectance = scale · value + offset, instead of --units."),
    option("Input", "--offset", type=float, help="See --scale.  [default: 0]"),
    option(
        "Input",
        "--bands",
        type=Bands(),
        envvar="GEOCLOUD_BANDS",
        help="Band numbers of red, green, blue and, unless it is missing, near-infrared: in a raster, counted from 1; "
        "in a folder of Landsat, Sentinel-2 or HLS bands, those of the file names. Or a letter for each band (rgbn, "
        "bgrn), for rasters whose bands have no names.",
    ),
    option(
        "Input",
        "--pixel-size",
        type=float,
        metavar="METRES",
        help="Side of a pixel, for rasters without a CRS that tells it.",
    ),
]

_SCENE = [
    option("Input", "--sun-elevation", type=float, metavar="DEGREES", help="For Level-1 values without metadata."),
    option("Input", "--extent", type=Extent(), help="Only this part: left, bottom, right, top in the scene's CRS."),
    option("Input", "--scene-id", metavar="ID", help="The scene to mosaic from a folder of 38-Cloud patches."),
]


def adding(added: Sequence[Decorator]) -> Decorator:
    """A decorator that adds several options, in their order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(added):
            command = decorator(command)
        return command

    return add


values = adding(_VALUES)
"""Adds the options of what the pixels of many images mean; `read_options` takes them."""

reading = adding([*_VALUES, *_SCENE])
"""Adds these and the options of a single scene; `read_options` takes them."""


def read_options(given: dict[str, Any]) -> ReadOptions:
    """Removes the options of `reading`, or of `values`, from a command's parameters and returns them."""
    from geocloud.readers import ReadOptions

    return ReadOptions(
        units=Units(given.pop("units")),
        scale=given.pop("scale"),
        offset=given.pop("offset"),
        bands=given.pop("bands"),
        sun_elevation=given.pop("sun_elevation", None),
        scene_id=given.pop("scene_id", None),
        extent=given.pop("extent", None),
        pixel_size=given.pop("pixel_size", None),
    )


def compute_options(given: dict[str, Any]) -> ComputeOptions:
    """Removes the options of where the model computes from a command's parameters and returns them."""
    from geocloud.pipeline import ComputeOptions

    return ComputeOptions(device=given.pop("device"), precision=given.pop("precision"), batch=given.pop("batch"))


def _limit_threads(_: click.Context, __: click.Parameter, threads: int | None) -> None:
    """Sets the variable that says how many threads compute, here and in the processes of a batch."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


model = option(
    "Model",
    "--model",
    default="fast",
    envvar="GEOCLOUD_MODEL",
    metavar="NAME|PATH",
    help="A bundled model (see 'geocloud models'), or a file: .safetensors or .onnx.",
)
device = option(
    "Computing",
    "--device",
    default="auto",
    envvar="GEOCLOUD_DEVICE",
    metavar="auto|cpu|cuda|cuda:N|mps",
    help="Where the model runs.",
)
threads = option(
    "Computing",
    "--threads",
    type=click.IntRange(1),
    envvar="GEOCLOUD_THREADS",
    metavar="N",
    expose_value=False,
    callback=_limit_threads,
    help="Threads in which the model computes on a CPU.  [default: one per core]",
)

snow = option("Mask", "--snow", is_flag=True, help="Also mask snow and ice, as 3, if the scene has a band at 1.6 µm.")
cirrus = option(
    "Mask", "--cirrus", is_flag=True, help="Also mask thin cirrus, as 4, if the scene has a band at 1.37 µm."
)

_MASKING = [
    option(
        "Mask",
        "--threshold",
        type=float,
        envvar="GEOCLOUD_THRESHOLD",
        metavar="0..1",
        help="Threshold of cloud probability.  [default: the model's own]",
    ),
    option("Mask", "--shadows", is_flag=True, help="Also mask cloud shadow, as 2."),
    snow,
    cirrus,
    option("Mask", "--reject-snow", is_flag=True, help="Take cloud back that is snow by its band at 1.6 µm."),
    option(
        "Mask",
        "--shadow-threshold",
        type=float,
        metavar="0..1",
        help="Threshold of shadow probability.  [default: the model's own]",
    ),
    option(
        "Mask",
        "--min-area",
        type=float,
        default=0,
        metavar="M2",
        help="Remove smaller clouds and shadows, fill smaller holes.",
    ),
    option(
        "Mask",
        "--buffer",
        type=float,
        default=0,
        metavar="METRES",
        help="Grow clouds and shadows, after --min-area.",
    ),
    option(
        "Mask",
        "--shadow-buffer",
        type=float,
        default=0,
        metavar="METRES",
        help="Grow shadows further.",
    ),
    option(
        "Mask",
        "--polygon-min-area",
        type=float,
        metavar="M2",
        help="Leave smaller clouds, shadows and holes out of the polygons; 0 keeps all.  [default: 9 pixels]",
    ),
    model,
    option(
        "Model",
        "--working-resolution",
        metavar="METRES|native",
        help="Pixel size that the model sees; the mask stays on the scene's grid. native also takes pixels larger than "
        "300 m, which are refused otherwise.  [default: the model's own (30) for finer scenes, else native]",
    ),
    device,
    option(
        "Computing",
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
        default="auto",
        envvar="GEOCLOUD_PRECISION",
        help="auto: what the device is fastest at.",
    ),
    threads,
    option("Computing", "--batch", type=int, metavar="TILES", help="Tiles per batch.  [default: by device]"),
    option(
        "Computing",
        "--tile-size",
        type=int,
        metavar="PIXELS",
        help="Largest side of a tile; less needs less memory.  [default: height 768, in wide scenes less; width 1216]",
    ),
    option("Computing", "--overlap", type=int, default=128, metavar="PIXELS", help="Overlap of tiles, to hide seams."),
]

masking = adding([*_VALUES, *_SCENE, *_MASKING])
"""Adds the options for reading and masking scenes, and ``model``. Those that `read_options` and `compute_options` leave
are MaskOptions."""

classes = option(
    "Data",
    "--classes",
    metavar="NAME|V=M,…",
    help="Meaning of mask values, for images with masks: geocloud (0 clear, 1 cloud), l8-biome, sparcs, or pairs such "
    "as 0=clear,128=cloud,255=ignore.  [default: geocloud]",
)

progress = option(
    OTHER,
    "--progress",
    type=click.Choice(["bar", "json", "none"]),
    default="bar",
    help="On stderr: a bar if it is a terminal, or lines of JSON.",
)


def label_map(given: dict[str, Any]) -> dict[int, str] | None:
    """Removes the option `classes` from a command's parameters and returns it."""
    from geocloud.training.data.chips import parse_classes

    text = given.pop("classes")
    return None if text is None else parse_classes(text)


as_json = option("Output", "--json", "as_json", is_flag=True, help="Print JSON instead of text.")
overwrite = option("Output", "--overwrite", is_flag=True, help="Replace existing results.")
