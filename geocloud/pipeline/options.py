"""What may be said of how a mask is made, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geocloud.errors import OptionError
from geocloud.outputs.mask import Thresholds
from geocloud.tiling.blend import Predict


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How a mask is made from probabilities. Raises OptionError."""

    threshold: float | None = None
    """Cloud is what is above it; None: the model's own."""
    shadows: bool = False
    """Whether cloud shadow is masked, too."""
    shadow_threshold: float | None = None
    """Shadow is what is above it and no cloud; None: the model's own."""
    min_area: float = 0.0
    """Square metres below which clouds and shadows are dropped and holes filled."""
    buffer: float = 0.0
    """Metres by which cloud and shadow are grown, after that."""
    shadow_buffer: float = 0.0
    """Metres by which shadow is grown beyond that."""
    polygon_min_area: float | None = None
    """Square metres below which clouds, shadows and holes make no polygon; None: nine pixels."""
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
        for name in ("threshold", "shadow_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise OptionError(f"{name.replace('_', ' ')} {value:g}: wanted more than 0 and less than 1")
        if not self.shadows and (self.shadow_threshold is not None or self.shadow_buffer):
            raise OptionError("a threshold or buffer of shadow was given, but shadow is not asked for: say --shadows")
        for name in ("min_area", "buffer", "shadow_buffer", "polygon_min_area"):
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


def find_thresholds(predict: Predict, options: MaskOptions) -> Thresholds:
    """Those that were asked for, or the model's own. Raises OptionError for shadow, where the model knows none."""
    cloud = predict.threshold if options.threshold is None else options.threshold
    if not options.shadows:
        return Thresholds(cloud)
    if predict.classes < 2:
        raise OptionError(f"model {predict.name!r} tells no shadow; leave --shadows out, or take a model that does")
    return Thresholds(cloud, options.shadow_threshold or predict.shadow_threshold)
