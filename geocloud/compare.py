"""Agreement of a cloud mask with the cloud flags of a product, or with another mask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geocloud.errors import BandError, GridError, OptionError, SceneNotFoundError
from geocloud.grid import GeoBox
from geocloud.io import gdal
from geocloud.masks.codes import CLEAR, CLOUD, NO_DATA, SHADOW, STRIP, Mask
from geocloud.picture import Pixels, encode
from geocloud.readers import Source, open_raster
from geocloud.readers.archive import list_folder
from geocloud.writers.staging import Staging

Decode = Callable[[NDArray[np.integer]], Mask]
"""Values of a raster of flags → codes of a mask."""

SIDE = 1200
"""Longest side in pixels of a picture."""

COLOURS = {
    "both cloud": (255, 255, 255),
    "cloud in the mask alone": (213, 94, 0),
    "cloud in the reference alone": (0, 114, 178),
    "both clear": (90, 90, 90),
}
"""Colours of a picture, after Okabe and Ito, so that colour-blind people tell them apart."""


def _bits(cloud: int, shadow: int, fill: int | None = None, no_data: int | None = None) -> Decode:
    """Decodes bit flags, given as masks of bits; ``no_data`` is a value, not a bit."""

    def decode(values: NDArray[np.integer]) -> Mask:
        codes = np.where(values & cloud, CLOUD, np.where((values & shadow) == shadow, SHADOW, CLEAR)).astype("uint8")
        if fill is not None:
            codes[(values & fill) > 0] = NO_DATA
        if no_data is not None:
            codes[values == no_data] = NO_DATA
        return codes

    return decode


def _values(cloud: Sequence[int], shadow: Sequence[int], no_data: Sequence[int]) -> Decode:
    """Decodes classes, given by their values."""

    def decode(values: NDArray[np.integer]) -> Mask:
        codes = np.full(values.shape, CLEAR, "uint8")
        for code, members in ((CLOUD, cloud), (SHADOW, shadow), (NO_DATA, no_data)):
            codes[np.isin(values, members)] = code
        return codes

    return decode


@dataclass(frozen=True, slots=True)
class Flags:
    """A kind of raster that tells cloud."""

    title: str
    """Its name, and which of its classes count as cloud and shadow."""
    name: re.Pattern[str]
    """Pattern in the names of its files."""
    decode: Decode
    """Values → codes of a mask."""


def _flags(title: str, name: str, decode: Decode) -> Flags:
    return Flags(title, re.compile(name, re.IGNORECASE), decode)


def _decode_bqa(values: NDArray[np.integer]) -> Mask:
    """Decodes BQA of Collection 1, and of the time before (values from 8192 on), which has no flag of shadow."""
    early = np.where(values & 1, NO_DATA, np.where(values >> 14 == 0b11, CLOUD, CLEAR)).astype("uint8")
    return np.where(values < 1 << 13, _bits(1 << 4, 0b11 << 7, fill=1)(values), early)


FLAGS = {
    "qa_pixel": _flags(
        "Landsat Collection 2 QA_PIXEL: cloud (bit 3) and cirrus (2); shadow (4)",
        r"_QA_PIXEL\.",
        _bits(0b1100, 1 << 4, fill=1),
    ),
    "pixel_qa": _flags(
        "Landsat Collection 1 Level-2 pixel_qa: cloud (bit 5); shadow (3)",
        r"_pixel_qa\.",
        _bits(1 << 5, 1 << 3, fill=1),
    ),
    "bqa": _flags(
        "Landsat Level-1 BQA: cloud (bit 4; before the collections 14 and 15); shadow of high confidence (7, 8)",
        r"(?:^|[_-])BQA\b",
        _decode_bqa,
    ),
    "scl": _flags(
        "Sentinel-2 Level-2A SCL: cloud of medium and high probability, thin cirrus (8, 9, 10); shadow (3)",
        r"(?:^|_)SCL(?:_\d+m)?\.",
        _values((8, 9, 10), (3,), (0,)),
    ),
    "hls": _flags("HLS Fmask: cloud (bit 1); shadow (3)", r"HLS\..*\.Fmask\.", _bits(1 << 1, 1 << 3, no_data=255)),
    "fmask": _flags("python-fmask: cloud (2); shadow (3)", r"fmask", _values((2,), (3,), (0,))),
    "cldprb": _flags(
        "Sentinel-2 MSK_CLDPRB: cloud above 50 %",
        r"MSK_CLDPRB",
        _values(range(51, 101), (), (255,)),
    ),
    "geocloud": _flags("a mask by geocloud", r"(?!)", _values((CLOUD,), (SHADOW,), (NO_DATA,))),
}
"""Kinds of references, the best of a product first."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Agreement of a mask with a reference, over the pixels with data in both."""

    mask: str
    """The mask."""
    reference: str
    """The reference."""
    kind: str
    """Kind of the reference, a key of `FLAGS`."""
    counts: tuple[tuple[int, ...], ...]
    """Pixels by class in the reference (rows) and in the mask (columns): clear, cloud, shadow."""

    def percent(self, of_mask: bool, code: int = CLOUD) -> float:
        """Per cent of the pixels that are of a class in the mask, or in the reference."""
        table = np.array(self.counts)
        return 100 * float((table[:, code] if of_mask else table[code]).sum() / max(table.sum(), 1))

    def scores(self, code: int = CLOUD) -> dict[str, float | None]:
        """Precision, recall and Jaccard index of a class, in [0, 1]; None where they are not defined."""
        table = np.array(self.counts)
        hits, said, true = table[code, code], table[:, code].sum(), table[code].sum()
        parts = {"precision": (hits, said), "recall": (hits, true), "jaccard": (hits, said + true - hits)}
        return {name: float(part / whole) if whole else None for name, (part, whole) in parts.items()}

    @property
    def agreement(self) -> float:
        """Share of the pixels, in [0, 1], that are cloud in both or in neither."""
        cloud = np.arange(3) == CLOUD
        return float(np.array(self.counts)[cloud[:, None] == cloud].sum() / max(np.sum(self.counts), 1))

    def to_json(self) -> str:
        """One line of JSON."""
        shares = {name: round(self.percent(of), 3) for name, of in (("mask_cloud", True), ("reference_cloud", False))}
        facts: dict[str, Any] = {
            "mask": self.mask,
            "reference": self.reference,
            "kind": self.kind,
            "counts": self.counts,
        }
        facts |= {"agreement": self.agreement, "cloud": self.scores(), "shadow": self.scores(SHADOW)}
        return json.dumps({**facts, "percent": shares})

    def to_text(self) -> str:
        """A table for people."""
        names = ("clear", "cloud", "shadow")
        has_shadow = any(self.counts[SHADOW]) or self.percent(True, SHADOW) > 0
        shown = (CLEAR, CLOUD, SHADOW)[: 2 + has_shadow]
        lines = [f"reference: {self.reference} ({FLAGS[self.kind].title})"]
        lines += [f"{'pixels':>18}" + "".join(f"{'mask ' + names[code]:>14}" for code in shown)]
        for row in shown:
            lines += [f"{'reference ' + names[row]:>18}" + "".join(f"{self.counts[row][col]:>14,}" for col in shown)]
        for code in shown[1:]:
            scores = ", ".join(f"{k} {'none' if v is None else f'{v:.3f}'}" for k, v in self.scores(code).items())
            both = f"mask {self.percent(True, code):.1f} %, reference {self.percent(False, code):.1f} %"
            lines += [f"{names[code]}: {both}; {scores}"]
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
        mask: A mask by geocloud.
        reference: A raster of one of the kinds in `FLAGS`.
        kind: The kind; None: by the file's name, or by the tags that geocloud writes.
        picture: PNG to write that shows where the two differ; None: none.
        overwrite: True replaces an existing picture.
        name: Name of the mask in the result; None: its path.

    Raises:
        GeocloudError: OptionError for an unknown kind, SceneReadError, BandError for values that are no codes,
            GridError if the two have no common place, or OutputError.
    """
    label = str(reference)
    with rasterio.Env(**gdal.OPTIONS), open_raster(str(mask), str(mask)) as own, open_raster(label, label) as other:
        kind = kind or find_kind(label, other.tags())
        if kind not in FLAGS:
            raise OptionError(f"kind {kind!r}: wanted {', '.join(FLAGS)}")
        for dataset in (own, other):
            if not np.issubdtype(np.dtype(dataset.dtypes[0]), np.integer):
                raise BandError(f"{dataset.name}: holds {dataset.dtypes[0]}, wanted whole numbers")
        grid = GeoBox(own.height, own.width, own.transform, own.crs)
        with _on_grid(other, grid, label, kind) as aligned:
            counts = np.zeros((3, 3), "int64")
            for top in range(0, grid.height, STRIP):
                window = Window(0, top, grid.width, min(STRIP, grid.height - top))
                a, b = _codes(own, "geocloud", window), _codes(aligned, kind, window)
                both = (a != NO_DATA) & (b != NO_DATA)
                counts += np.bincount(3 * b[both].astype(int) + a[both], minlength=9).reshape(3, 3)
            if not counts.sum():
                raise GridError(f"{label}: no pixel with data in common with {mask}; wanted two rasters of one place")
            result = Comparison(name or str(mask), label, kind, tuple(tuple(map(int, row)) for row in counts))
            if picture:
                _write_picture(own, aligned, result, Path(picture), overwrite)
    return result


def find_flags(source: str | Path) -> str:
    """The raster of cloud flags inside a product: a path or a name that GDAL opens. Raises SceneNotFoundError."""
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
    """The kind of a reference, by its file's name or its tags. Raises OptionError."""
    if "GEOCLOUD_MODEL" in tags:
        return "geocloud"
    name = re.split(r"[/\\]", path)[-1]
    for kind, flags in FLAGS.items():
        if flags.name.search(name):
            return kind
    raise OptionError(f"{path}: its name does not tell what its values are; say --as {', '.join(FLAGS)}")


def _on_grid(dataset: Any, grid: GeoBox, label: str, kind: str) -> Any:
    own = GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs)
    if own.agrees_with(grid):
        return dataset
    if own.crs is None or grid.crs is None:
        raise GridError(f"{label}: its grid differs from the mask's; wanted the same grid, or a CRS in both")
    outside = next(value for value in (255, 0, 1) if FLAGS[kind].decode(np.array([value]))[0] == NO_DATA)
    return WarpedVRT(dataset, src_nodata=outside, nodata=outside, resampling=Resampling.nearest, **grid.profile)


def _codes(dataset: Any, kind: str, window: Window, shape: tuple[int, int] | None = None) -> Mask:
    values = dataset.read(1, window=window, out_shape=shape, resampling=Resampling.nearest)
    return FLAGS[kind].decode(values)


def _write_picture(own: Any, other: Any, result: Comparison, path: Path, overwrite: bool) -> None:
    """Draws where a mask and a reference agree and differ, with a legend below."""
    if path.suffix.lower() != ".png":
        raise OptionError(f"{path}: wanted a name that ends in .png")
    share = min(1, SIDE / max(own.shape))
    shape = (max(1, round(own.height * share)), max(1, round(own.width * share)))
    whole = Window(0, 0, own.width, own.height)
    a, b = _codes(own, "geocloud", whole, shape), _codes(other, result.kind, whole, shape)
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
        staging.place(path).write_bytes(encode(np.concatenate([pixels, _legend(shape[1])], 0), "png"))
        staging.publish()


def _legend(width: int) -> Pixels:
    """The colours of a picture with their names, one below the other."""
    letters = max(11, min(24, width // 40))
    font, step = ImageFont.load_default(letters), round(1.5 * letters)
    image = Image.new("RGBA", (width, step * len(COLOURS) + letters), (225, 225, 225, 255))
    draw = ImageDraw.Draw(image)
    for row, (name, colour) in enumerate(COLOURS.items()):
        top = letters // 2 + row * step
        draw.rectangle([letters, top, 2 * letters, top + letters], fill=(*colour, 255), outline=(0, 0, 0, 255))
        draw.text((3 * letters, top), name, (0, 0, 0, 255), font)
    return np.asarray(image)
