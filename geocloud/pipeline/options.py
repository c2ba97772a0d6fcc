"""What may be said of how a mask is made, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geocloud.errors import OptionError


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How a mask is made from probabilities. Raises OptionError."""

    threshold: float | None = None
    """Cloud is what is above it; None: the model's own."""
    min_area: float = 0.0
    """Square metres below which clouds are dropped and holes filled."""
    buffer: float = 0.0
    """Metres by which cloud is grown, after that."""
    polygon_min_area: float | None = None
    """Square metres below which clouds and holes make no polygon; None: nine pixels."""
    tile_size: int | None = None
    """The largest side of a tile in pixels that the model sees, None: what is quickest. It changes the cost, hardly
    the mask, and so does ``overlap``."""
    overlap: int = 128
    """Pixels by which tiles overlap."""
    working_resolution: float | str | None = None
    """Metres of the pixels that the model sees, or "native". None: scenes finer than 20 m are seen in the model's own,
    others as they are, and pixels beyond 300 m, which "native" takes too, are refused. The mask is on the scene's grid
    all the same."""
    overwrite: bool = False
    """Whether results that are there are replaced."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise OptionError(f"threshold {self.threshold:g}: wanted more than 0 and less than 1")
        for name in ("min_area", "buffer", "polygon_min_area"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name.replace('_', ' ')} {value:g}: wanted 0 or more")


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """Where a model that is given by name computes; see `geocloud.predict.Predictor`."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto, float32, bfloat16 or float16."""
    batch: int | None = None
    """Tiles at a time; None: by device."""
