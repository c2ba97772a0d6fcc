"""Options shared by several commands."""

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
    """Comma-separated numbers such as ``4,3,2,5``; other text stays a string, unless a number of values is required."""

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
    """Removes the options added by `reading` or `values` from a command's parameters; returns them as ReadOptions."""
    from geocloud.readers import ReadOptions

    return _taken(ReadOptions, given)


def compute_options(given: dict[str, Any]) -> ComputeOptions:
    """Removes the computing options from a command's parameters; returns them as ComputeOptions."""
    from geocloud.pipeline import ComputeOptions

    return _taken(ComputeOptions, given)


def _taken(kind: type[T], given: dict[str, Any]) -> T:
    """Removes the fields of a dataclass from a command's parameters; returns an instance of it."""
    return kind(**{field.name: given.pop(field.name) for field in fields(kind) if field.name in given})  # type: ignore[arg-type]


def _limit_threads(_: click.Context, __: click.Parameter, threads: int | None) -> None:
    """Sets the number of computing threads by the environment, for this process and those of a batch."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def adding(added: Sequence[Decorator]) -> Decorator:
    """A decorator that adds several options, in this order."""
    return lambda command: reduce(lambda made, decorator: decorator(made), reversed(added), command)


def _rows(heading: str, *rows: tuple[str, str, dict[str, Any]]) -> dict[str, Decorator]:
    """Options under a heading, by name. Each row: name with metavar, help text, further arguments of click.option."""
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
        "Threshold of cloud probability.  [default: set by the model]",
        FLOAT | {"envvar": "GEOCLOUD_THRESHOLD"},
    ),
    ("--shadows", "Also mask cloud shadow, as 2.", SWITCH),
    ("--snow", "Also mask snow and ice, as 3, if the scene has a band at 1.6 µm.", SWITCH),
    ("--cirrus", "Also mask thin cirrus, as 4, if the scene has a band at 1.37 µm.", SWITCH),
    ("--reject-snow", "Set cloud to clear where the band at 1.6 µm shows snow.", SWITCH),
    ("--shadow-threshold 0..1", "Threshold of shadow probability.  [default: set by the model]", FLOAT),
    ("--min-area M2", "Remove smaller clouds and shadows, fill smaller holes.", ZERO),
    ("--buffer METRES", "Grow clouds and shadows, after --min-area.", ZERO),
    ("--shadow-buffer METRES", "Grow shadows further.", ZERO),
    (
        "--polygon-min-area M2",
        "Omit smaller clouds, shadows and holes from the polygons; 0 keeps all.  [default: 9 pixels]",
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
        "Pixel size for the model; the mask stays on the scene's grid. native also accepts pixels larger than "
        "300 m, which are an error otherwise.  [default: the model's (30) for finer scenes, else native]",
        {},
    ),
)

_COMPUTING = _rows(
    "Computing",
    (
        "--device auto|cpu|cuda|cuda:N|mps",
        "Device that runs the model.",
        {"default": "auto", "envvar": "GEOCLOUD_DEVICE"},
    ),
    (
        "--precision",
        "auto: the fastest on the device.",
        {
            "type": click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
            "default": "auto",
            "envvar": "GEOCLOUD_PRECISION",
        },
    ),
    (
        "--threads N",
        "CPU threads for the model.  [default: one per core]",
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
        "Maximum side of a tile; smaller ones need less memory.  [default: 768 high, less in wide scenes; 1216 wide]",
        {"type": int},
    ),
    ("--overlap PIXELS", "Overlap of tiles, which avoids seams.", {"type": int, "default": 128}),
)

values = adding([*_VALUES.values()])
"""Adds the options for the meaning of pixel values; see `read_options`."""

reading = adding([values, *_SCENE.values()])
"""Adds the options of `values` and those for a single scene; see `read_options`."""

masking = adding([reading, *_MASK.values(), *_MODEL.values(), *_COMPUTING.values()])
"""Adds the options for reading and masking scenes, and ``model``. Those left by `read_options` and `compute_options`
are fields of MaskOptions."""

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
    help="Progress on stderr: a bar on a terminal, or lines of JSON.",
)


def label_map(given: dict[str, Any]) -> dict[int, str] | None:
    """Removes the option `classes` from a command's parameters; returns it as a label map."""
    from geocloud.training.data.chips import parse_classes

    text = given.pop("classes")
    return None if text is None else parse_classes(text)


as_json = option("Output", "--json", "as_json", is_flag=True, help="Print JSON instead of text.")
overwrite = option("Output", "--overwrite", is_flag=True, help="Replace existing results.")
