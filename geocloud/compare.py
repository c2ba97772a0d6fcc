"""Agreement of a cloud mask with the cloud flags of a product, or with another mask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from geocloud._picture import Pixels, encode
from geocloud.errors import BandError, GridError, OptionError, SceneNotFoundError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.masks.codes import CIRRUS, CLEAR, CLOUD, NO_DATA, SHADOW, SNOW, STRIP, Mask
from geocloud.pipeline.masked import on_grid
from geocloud.readers import Source, open_raster
from geocloud.readers.archive import list_folder
from geocloud.writers.staging import Staging
from geocloud.writers.styles import CLASSES

CODES = {**{name: code for code, name in CLASSES.items()}, "no_data": NO_DATA}
"""Class name → value in a mask."""

Decode = Callable[[NDArray[np.integer]], Mask]
"""Converts the values of a flag raster to mask codes."""

SIDE = 1200
"""Maximum side of a picture in pixels."""

COLOURS = {
    "both cloud": (255, 255, 255),
    "cloud in the mask alone": (213, 94, 0),
    "cloud in the reference alone": (0, 114, 178),
    "both clear": (90, 90, 90),
}
"""Colours of a picture, from the palette of Okabe and Ito for colour-blind people."""


class Flags(NamedTuple):
    """A kind of cloud flag raster."""

    title: str  # name, and the bits or values that count as cloud, shadow, snow and thin cirrus
    name: re.Pattern[str]  # pattern found in its file names
    codes: tuple[int, ...]  # mask codes that it distinguishes, besides clear
    decode: Decode  # converts its values to mask codes


def _flags(title: str, name: str, bits: dict[int, int] | None = None, **values: Collection[int]) -> Flags:
    """Flags by bits, which must all be set, or by values; the first matching class counts."""
    tests: dict[int, int | tuple[int, ...]] = {**(bits or {}), **{CODES[k]: tuple(v) for k, v in values.items()}}

    def decode(values: NDArray[np.integer]) -> Mask:
        fits = [(values & test) == test if isinstance(test, int) else np.isin(values, test) for test in tests.values()]
        return np.select(fits, list(tests), CLEAR).astype("uint8")

    return Flags(title, re.compile(name, re.IGNORECASE), tuple(tests), decode)


_BQA = _flags(
    "Landsat Level-1 BQA: cloud (bit 4; before the collections 14, 15); shadow and snow of high confidence (7 to 10)",
    r"(?:^|[_-])BQA\b",
    {NO_DATA: 1, CLOUD: 1 << 4, SHADOW: 0b11 << 7, SNOW: 0b11 << 9},
)
_EARLY_BQA = _flags("", "", {NO_DATA: 1, CLOUD: 0b11 << 14})

FLAGS = {
    "qa_pixel": _flags(
        "Landsat Collection 2 QA_PIXEL: cloud (bit 3), cirrus (2); shadow (4); snow (5)",
        r"_QA_PIXEL\.",
        {NO_DATA: 1, CLOUD: 1 << 3, CIRRUS: 1 << 2, SHADOW: 1 << 4, SNOW: 1 << 5},
    ),
    "pixel_qa": _flags(
        "Landsat Collection 1 Level-2 pixel_qa: cloud (bit 5); shadow (3); snow (4)",
        r"_pixel_qa\.",
        {NO_DATA: 1, CLOUD: 1 << 5, SHADOW: 1 << 3, SNOW: 1 << 4},
    ),
    # Of Collection 1, and of the time before (values from 8192 on), which has no flag of shadow.
    "bqa": _BQA._replace(decode=lambda v: np.where(v < 1 << 13, _BQA.decode(v), _EARLY_BQA.decode(v))),
    "scl": _flags(
        "Sentinel-2 Level-2A SCL: cloud of medium and high probability (8, 9), thin cirrus (10); shadow (3); snow (11)",
        r"(?:^|_)SCL(?:_\d+m)?\.",
        cloud=(8, 9),
        cirrus=(10,),
        shadow=(3,),
        snow=(11,),
        no_data=(0,),
    ),
    "hls": _flags(
        "HLS Fmask: cloud (bit 1); shadow (3); snow (4)",
        r"HLS\..*\.Fmask\.",
        {NO_DATA: 255, CLOUD: 1 << 1, SHADOW: 1 << 3, SNOW: 1 << 4},
    ),
    "fmask": _flags(
        "python-fmask: cloud (2); shadow (3); snow (4)", r"fmask", cloud=(2,), shadow=(3,), snow=(4,), no_data=(0,)
    ),
    "cldprb": _flags("Sentinel-2 MSK_CLDPRB: cloud above 50 %", r"MSK_CLDPRB", cloud=range(51, 101), no_data=(255,)),
    "geocloud": _flags(
        "a mask by geocloud",
        r"(?!)",
        cloud=(CLOUD,),
        shadow=(SHADOW,),
        snow=(SNOW,),
        cirrus=(CIRRUS,),
        no_data=(NO_DATA,),
    ),
}
"""Kinds of references, in order of preference within a product."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Agreement of a mask with a reference, over the pixels with data in both."""

    mask: str
    """Name of the mask: the one given, or its path."""
    reference: str
    """Path of the reference."""
    kind: str
    """Kind of the reference, a key of `FLAGS`."""
    counts: tuple[tuple[int, ...], ...]
    """Pixels by class in the reference (rows) and in the mask (columns), in the order of ``classes``."""
    classes: tuple[int, ...] = (CLEAR, CLOUD, SHADOW)
    """Compared classes: clear, cloud, and shadow (2), snow (3) and thin cirrus (4) if both rasters have them."""

    def percent(self, of_mask: bool, code: int = CLOUD) -> float:
        """Percentage of pixels in a class, in the mask if ``of_mask``, else in the reference."""
        table, at = np.array(self.counts), self.classes.index(code)
        return 100 * float((table[:, at] if of_mask else table[at]).sum() / max(table.sum(), 1))

    def scores(self, code: int = CLOUD) -> dict[str, float | None]:
        """Precision, recall and Jaccard index of a class, in [0, 1]; None if undefined."""
        table, at = np.array(self.counts), self.classes.index(code)
        hits, predicted, actual = table[at, at], table[:, at].sum(), table[at].sum()
        parts = {"precision": (hits, predicted), "recall": (hits, actual), "jaccard": (hits, predicted + actual - hits)}
        return {name: float(part / whole) if whole else None for name, (part, whole) in parts.items()}

    @property
    def agreement(self) -> float:
        """Share of the pixels, in [0, 1], that are cloud in both or in neither."""
        cloud = np.array(self.classes) == CLOUD
        return float(np.array(self.counts)[cloud[:, None] == cloud].sum() / max(np.sum(self.counts), 1))

    def to_json(self) -> str:
        """One line of JSON."""
        shares = {name: round(self.percent(of), 3) for name, of in (("mask_cloud", True), ("reference_cloud", False))}
        scores = {CLASSES[code]: self.scores(code) for code in self.classes[1:]}
        names = [CLASSES[code] for code in self.classes]
        return json.dumps({**asdict(self), "classes": names, "agreement": self.agreement, **scores, "percent": shares})

    def to_text(self) -> str:
        """A table and scores as text."""
        lines = [f"reference: {self.reference} ({FLAGS[self.kind].title})"]
        lines += [f"{'pixels':>18}" + "".join(f"{'mask ' + CLASSES[code]:>14}" for code in self.classes)]
        for code, row in zip(self.classes, self.counts, strict=True):
            lines += [f"{'reference ' + CLASSES[code]:>18}" + "".join(f"{count:>14,}" for count in row)]
        for code in self.classes[1:]:
            scores = ", ".join(f"{k} {'none' if v is None else f'{v:.3f}'}" for k, v in self.scores(code).items())
            both = f"mask {self.percent(True, code):.1f} %, reference {self.percent(False, code):.1f} %"
            lines += [f"{CLASSES[code]}: {both}; {scores}"]
        return "\n".join([*lines, f"agreement on cloud: {100 * self.agreement:.1f} % of the pixels with data in both"])


def compare_masks(
    mask: str | Path,
    reference: str | Path,
    *,
    kind: str | None = None,
    picture: str | Path | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Comparison:
    """Compares a mask with the cloud flags of a product, or with another mask.

    A reference on another grid is resampled to the mask's, nearest neighbour.

    Args:
        mask: Path of a mask by geocloud.
        reference: A raster of one of the kinds in `FLAGS`.
        kind: Kind of the reference; None: by its file name, or by the tags that geocloud writes.
        picture: PNG file to write that shows the differences; None: not written.
        overwrite: True replaces an existing picture.
        name: Name of the mask in the result; None: its path.

    Raises:
        GeocloudError: OptionError for an unknown kind, SceneReadError, BandError for values that are not integers,
            GridError if the two do not overlap, or OutputError.
    """
    label = str(reference)
    with rasterio.Env(**gdal.OPTIONS), open_raster(str(mask), str(mask)) as own, open_raster(label, label) as other:
        kind = kind or find_kind(label, other.tags())
        if kind not in FLAGS:
            raise OptionError(f"kind {kind!r}: wanted {', '.join(FLAGS)}")
        for dataset in (own, other):
            if not np.issubdtype(np.dtype(dataset.dtypes[0]), np.integer):
                raise BandError(f"{dataset.name}: holds {dataset.dtypes[0]}, wanted whole numbers")
        grid = GeoBox.of(own)
        common = set(_told(own, "geocloud")) & set(_told(other, kind))
        classes = (CLEAR, CLOUD, *(code for code in (SHADOW, SNOW, CIRRUS) if code in common))
        outside = next(value for value in (255, 0, 1) if FLAGS[kind].decode(np.array([value]))[0] == NO_DATA)
        with on_grid(other, grid, outside) as aligned:
            counts = np.zeros((len(CLASSES), len(CLASSES)), "int64")
            for window in grid.strips(STRIP):
                a, b = _codes(own, "geocloud", classes, window), _codes(aligned, kind, classes, window)
                both = (a != NO_DATA) & (b != NO_DATA)
                pairs = len(CLASSES) * b[both].astype(int) + a[both]
                counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
            if not counts.sum():
                raise GridError(f"{label}: no pixel with data in common with {mask}; wanted two rasters of one place")
            table = tuple(tuple(map(int, row)) for row in counts[np.ix_(classes, classes)])
            result = Comparison(name or str(mask), label, kind, table, classes)
            if picture:
                _write_picture(own, aligned, result, Path(picture), overwrite)
    return result


def find_flags(source: str | Path) -> str:
    """Path or GDAL name of the cloud flag raster in a product. Raises SceneNotFoundError."""
    place = Source(str(source))
    listing = list_folder(place.path, below=True) if place.form == "folder" else place.listing
    for flags in FLAGS.values():
        for name in listing.names:
            if flags.name.search(name.rpartition("/")[2]) and not name.lower().endswith((".xml", ".txt", ".json")):
                return listing.path_of(name)
    raise SceneNotFoundError(
        f"{source}: no cloud flags in it (QA_PIXEL, pixel_qa, BQA, SCL, Fmask or MSK_CLDPRB); name a raster "
        "that holds them"
    )


def find_kind(path: str, tags: dict[str, str]) -> str:
    """Kind of a reference, by its file name or tags. Raises OptionError."""
    if "GEOCLOUD_MODEL" in tags:
        return "geocloud"
    name = re.split(r"[/\\]", path)[-1]
    for kind, flags in FLAGS.items():
        if flags.name.search(name):
            return kind
    raise OptionError(f"{path}: kind not recognised by its name; say kind=…: {', '.join(FLAGS)}")


def _told(dataset: Any, kind: str) -> tuple[int, ...]:
    """Classes that a raster distinguishes: those of its kind or, for a mask by geocloud, those in its tags."""
    tags = dataset.tags()
    if "GEOCLOUD_MODEL" not in tags:
        return FLAGS[kind].codes
    return tuple(code for code, name in CLASSES.items() if f"GEOCLOUD_{name.upper()}_PERCENT" in tags)


def _codes(
    dataset: Any, kind: str, classes: tuple[int, ...], window: Window, shape: tuple[int, int] | None = None
) -> Mask:
    """Mask codes of a window. Of the classes not compared, shadow and snow become clear, and thin cirrus becomes clear
    in masks and cloud in products."""
    codes = FLAGS[kind].decode(dataset.read(1, window=window, out_shape=shape, resampling=Resampling.nearest))
    for code, other in ((SHADOW, CLEAR), (SNOW, CLEAR), (CIRRUS, CLEAR if kind == "geocloud" else CLOUD)):
        if code not in classes:
            codes[codes == code] = other
    return codes


def _write_picture(own: Any, other: Any, result: Comparison, path: Path, overwrite: bool) -> None:
    """Draws where a mask and a reference agree and differ."""
    if path.suffix.lower() != ".png":
        raise OptionError(f"{path}: wanted a name that ends in .png")
    share = min(1, SIDE / max(own.shape))
    shape = (max(1, round(own.height * share)), max(1, round(own.width * share)))
    whole, classes = Window(0, 0, own.width, own.height), result.classes
    a, b = _codes(own, "geocloud", classes, whole, shape), _codes(other, result.kind, classes, whole, shape)
    classes = (
        (a == CLOUD) & (b == CLOUD),
        (a == CLOUD) & (b != CLOUD),
        (a != CLOUD) & (b == CLOUD),
        (a != CLOUD) & (b != CLOUD),
    )
    pixels: Pixels = np.zeros((*shape, 4), "uint8")
    for colour, here in zip(COLOURS.values(), classes, strict=True):
        pixels[here & (a != NO_DATA) & (b != NO_DATA)] = (*colour, 255)
    with Staging([path], overwrite) as staging:
        staging.write(path, encode(pixels, "png"))
        staging.publish()
