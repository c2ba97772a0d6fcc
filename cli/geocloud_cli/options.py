"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geocloud.bands import Units
from geocloud_cli.command import OTHER, Decorator, option

if TYPE_CHECKING:
    from geocloud.pipeline import ComputeOptions
    from geocloud.readers import ReadOptions

T = TypeVar("T")


class Numbers(click.ParamType[tuple[Any, ...] | str]):
    """Numbers between commas, such as ``4,3,2,5``; anything else stays a word, unless so many numbers are wanted."""

    def __init__(self, kind: type[Any], name: str, wanted: int | None = None) -> None:
        self.kind, self.name, self.wanted = kind, name, wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...] | str:
        word = str(value).strip().lower()
        try:
            numbers = tuple(self.kind(part) for part in word.split(","))
        except ValueError:
            numbers = ()
        if self.wanted not in (None, len(numbers)):
            self.fail(f"{value!r}: wanted {self.name}", param, ctx)
        return numbers or word


def read_options(given: dict[str, Any]) -> ReadOptions:
    """Removes the options of `reading`, or of `values`, from a command's parameters and returns them."""
    from geocloud.readers import ReadOptions

    return _taken(ReadOptions, given)


def compute_options(given: dict[str, Any]) -> ComputeOptions:
    """Removes the options of where the model computes from a command's parameters and returns them."""
    from geocloud.pipeline import ComputeOptions

    return _taken(ComputeOptions, given)


def _taken(kind: type[T], given: dict[str, Any]) -> T:
    """Removes the fields of a dataclass from a command's parameters and returns them as one."""
    return kind(**{field.name: given.pop(field.name) for field in fields(kind) if field.name in given})  # type: ignore[arg-type]


def _limit_threads(_: click.Context, __: click.Parameter, threads: int | None) -> None:
    """Sets the variable that says how many threads compute, here and in the processes of a batch."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def adding(added: Sequence[Decorator]) -> Decorator:
    """A decorator that adds several options, in their order."""
    return lambda command: reduce(lambda made, decorator: decorator(made), reversed(added), command)


def _rows(heading: str, *rows: tuple[str, str, dict[str, Any]]) -> dict[str, Decorator]:
    """Options under a heading by name, from rows: the name with its metavar, the help, and what else click takes."""
    made = {}
    for names, text, how in rows:
        name, _, metavar = names.partition(" ")
        made[name] = option(heading, name, help=text, metavar=metavar or None, **how)
    return made


FLOAT, SWITCH = {"type": float}, {"is_flag": True}
ZERO: dict[str, Any] = {"type": float, "default": 0}

_VALUES = _rows(
    "Input",
    (
        "--units",
        "Units of the pixel values. auto: from metadata, or from values that leave no doubt, else an error.",
        {"type": click.Choice([str(u) for u in Units]), "default": str(Units.AUTO)},
    ),
    ("--scale", "reflectance = scale · value + offset, instead of --units.", FLOAT),
    ("--offset", "See --scale.  [default: 0]", FLOAT),
    (
        "--bands",
        "Band numbers of red, green, blue and, unless it is missing, near-infrared: in a raster, counted from 1; "
        "in a folder of Landsat, Sentinel-2 or HLS bands, those of the file names. Or a letter for each band (rgbn, "
        "bgrn), for rasters whose bands have no names.",
        {"type": Numbers(int, "R,G,B[,NIR]|rgbn|bgrn"), "envvar": "GEOCLOUD_BANDS"},
    ),
    ("--pixel-size METRES", "Side of a pixel, for rasters without a CRS that tells it.", FLOAT),
)

_SCENE = _rows(
    "Input",
    ("--sun-elevation DEGREES", "For Level-1 values without metadata.", FLOAT),
    (
        "--extent",
        "Only this part: left, bottom, right, top in the scene's CRS.",
        {"type": Numbers(float, "LEFT,BOTTOM,RIGHT,TOP", 4)},
    ),
    ("--scene-id ID", "The scene to mosaic from a folder of 38-Cloud patches.", {}),
)

_MASK = _rows(
    "Mask",
    (
        "--threshold 0..1",
        "Threshold of cloud probability.  [default: the model's own]",
        FLOAT | {"envvar": "GEOCLOUD_THRESHOLD"},
    ),
    ("--shadows", "Also mask cloud shadow, as 2.", SWITCH),
    ("--snow", "Also mask snow and ice, as 3, if the scene has a band at 1.6 µm.", SWITCH),
    ("--cirrus", "Also mask thin cirrus, as 4, if the scene has a band at 1.37 µm.", SWITCH),
    ("--reject-snow", "Take cloud back that is snow by its band at 1.6 µm.", SWITCH),
    ("--shadow-threshold 0..1", "Threshold of shadow probability.  [default: the model's own]", FLOAT),
    ("--min-area M2", "Remove smaller clouds and shadows, fill smaller holes.", ZERO),
    ("--buffer METRES", "Grow clouds and shadows, after --min-area.", ZERO),
    ("--shadow-buffer METRES", "Grow shadows further.", ZERO),
    (
        "--polygon-min-area M2",
        "Leave smaller clouds, shadows and holes out of the polygons; 0 keeps all.  [default: 9 pixels]",
        FLOAT,
    ),
)

_MODEL = _rows(
    "Model",
    (
        "--model NAME|PATH",
        "A bundled model (see 'geocloud models'), or a file: .safetensors or .onnx.",
        {"default": "fast", "envvar": "GEOCLOUD_MODEL"},
    ),
    (
        "--working-resolution METRES|native",
        "Pixel size that the model sees; the mask stays on the scene's grid. native also takes pixels larger than "
        "300 m, which are refused otherwise.  [default: the model's own (30) for finer scenes, else native]",
        {},
    ),
)

_COMPUTING = _rows(
    "Computing",
    (
        "--device auto|cpu|cuda|cuda:N|mps",
        "Where the model runs.",
        {"default": "auto", "envvar": "GEOCLOUD_DEVICE"},
    ),
    (
        "--precision",
        "auto: what the device is fastest at.",
        {
            "type": click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
            "default": "auto",
            "envvar": "GEOCLOUD_PRECISION",
        },
    ),
    (
        "--threads N",
        "Threads in which the model computes on a CPU.  [default: one per core]",
        {
            "type": click.IntRange(1),
            "envvar": "GEOCLOUD_THREADS",
            "expose_value": False,
            "callback": _limit_threads,
        },
    ),
    ("--batch TILES", "Tiles per batch.  [default: by device]", {"type": int}),
    (
        "--tile-size PIXELS",
        "Largest side of a tile; less needs less memory.  [default: height 768, in wide scenes less; width 1216]",
        {"type": int},
    ),
    ("--overlap PIXELS", "Overlap of tiles, to hide seams.", {"type": int, "default": 128}),
)

values = adding([*_VALUES.values()])
"""Adds the options of what the pixels of many images mean; `read_options` takes them."""

reading = adding([values, *_SCENE.values()])
"""Adds these and the options of a single scene; `read_options` takes them."""

masking = adding([reading, *_MASK.values(), *_MODEL.values(), *_COMPUTING.values()])
"""Adds the options for reading and masking scenes, and ``model``. Those that `read_options` and `compute_options` leave
are MaskOptions."""

model, device, threads = _MODEL["--model"], _COMPUTING["--device"], _COMPUTING["--threads"]
snow, cirrus = _MASK["--snow"], _MASK["--cirrus"]

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
