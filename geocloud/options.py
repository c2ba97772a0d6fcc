"""Options of the mask, and of the device that computes it."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

from geocloud.errors import OptionError

T = TypeVar("T")


def explained(cls: type[T]) -> type[T]:
    """Appends the docstrings of a dataclass's fields to its own, for `help`, reading its source on demand."""
    text = cls.__doc__ or ""

    class Doc:
        def __get__(self, instance: object, owner: type) -> str:
            try:
                body = ast.parse(inspect.getsource(owner)).body[0].body  # type: ignore[attr-defined]
            except OSError:  # installed without its source
                return text
            fields = (
                f"{ast.unparse(field.target)}: {' '.join(ast.literal_eval(doc.value).split())}"
                for field, doc in pairwise(body)
                if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)
            )
            return "\n\n".join([text, *fields])

    cls.__doc__ = Doc()  # type: ignore[assignment]
    return cls


@explained
@dataclass(frozen=True, slots=True)
class MaskOptions:
    """Options of the mask. Raises OptionError."""

    threshold: float | None = None
    """Probability of cloud above which a pixel is cloud; None: the model's own."""
    shadows: bool = False
    """True masks cloud shadow, as class 2."""
    snow: bool = False
    """True masks snow and ice, as class 3, if the scene has a band at 1.6 µm (swir1)."""
    cirrus: bool = False
    """True masks thin cirrus over clear ground, as class 4, if the scene has a band at 1.37 µm."""
    reject_snow: bool = False
    """True removes cloud that the band swir1 shows to be snow; it becomes clear or, with ``snow``, snow."""
    shadow_threshold: float | None = None
    """Probability of shadow above which a pixel is shadow, unless it is cloud; None: the model's own."""
    min_area: float = 0.0
    """Area in square metres below which clouds and shadows are removed and holes filled."""
    buffer: float = 0.0
    """Distance in metres by which cloud and shadow are grown, after ``min_area`` is applied."""
    shadow_buffer: float = 0.0
    """Additional distance in metres by which shadow is grown."""
    polygon_min_area: float | None = None
    """Area in square metres below which clouds, shadows and holes are left out of the polygons; None: nine pixels."""
    tile_size: int | None = None
    """Maximum side of a tile, in pixels of the model's input; None: the fastest. Like ``overlap``, it affects speed and
    memory, but hardly the mask."""
    overlap: int = 128
    """Overlap of neighbouring tiles in pixels."""
    working_resolution: float | str | None = None
    """Pixel size of the model's input in metres, at most 300, or "native" for the scene's own. None: scenes finer than
    the model's pixel size are averaged to it, others are not resampled, and pixels larger than 300 m are refused. The
    mask is always on the scene's grid."""
    overwrite: bool = False
    """True replaces existing results."""

    def changed(self, changes: Mapping[str, Any]) -> MaskOptions:
        """A copy with other values of some fields. Raises OptionError."""
        try:
            return replace(self, **changes)
        except TypeError as error:
            raise OptionError(f"{', '.join(changes)}: wanted fields of MaskOptions ({error})") from error

    @property
    def codes(self) -> tuple[int, ...]:
        """Values of the mask besides no data: 0 clear, 1 cloud, and those of the further classes requested."""
        return (0, 1, *(code for code, wanted in ((2, self.shadows), (3, self.snow), (4, self.cirrus)) if wanted))

    @property
    def further(self) -> tuple[str, ...]:
        """Names of the further bands that are needed."""
        needed = {"swir1": self.snow or self.reject_snow, "cirrus": self.cirrus}
        return tuple(name for name, wanted in needed.items() if wanted)

    def __post_init__(self) -> None:
        for name in ("threshold", "shadow_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise OptionError(f"{name.replace('_', ' ')} {value:g}: wanted more than 0 and less than 1")
        if not self.shadows and (self.shadow_threshold is not None or self.shadow_buffer):
            raise OptionError("a threshold or buffer of shadow needs shadow as a class: add MaskOptions(shadows=True)")
        for name in ("min_area", "buffer", "shadow_buffer", "polygon_min_area"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name.replace('_', ' ')} {value:g}: wanted 0 or more")


@explained
@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """Device, precision and batch of a model given by name; see `geocloud.load_model`."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """Precision: auto, float32, bfloat16, float16 or int8."""
    batch: int | None = None
    """Tiles per batch; None: the default of the device."""
