"""What tiling asks of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Reflectance ``(N, 4, H, W)``, NaN where there is no data → probability of cloud ``(N, H, W)``, or of cloud and other
classes ``(N, classes, H, W)``."""


class Predict(Protocol):
    """A model: a `Function` with the attributes that its callers need."""

    name: str
    """As shown to people, and in the tags of results."""
    threshold: float
    """Pixels with a higher probability of cloud are cloud."""
    shadow_threshold: float
    """Pixels with a higher probability of shadow, the second class, are shadow."""
    pixel_size: float | None
    """Pixel size in metres that it was trained on; None: any."""
    optional_nir: bool
    """Whether near-infrared may be missing, NaN all over."""
    classes: int
    """Number of probabilities that it returns: 1 cloud, 2 cloud and shadow."""
    batch: int
    """Tiles per call."""
    workers: int
    """Number of threads that may call it at the same time."""
    stride: int
    """Height and width of tiles must be multiples of it; it divides 32."""

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``."""
        ...

    def start_worker(self) -> None:
        """Called once at the start of each of these threads."""
        ...


@dataclass(slots=True)
class PlainFunction:
    """A plain function as a model; for the fields see `Predict`."""

    function: Function
    name: str = "custom"
    threshold: float = 0.5
    shadow_threshold: float = 0.5
    pixel_size: float | None = None
    optional_nir: bool = True
    classes: int = 1
    batch: int = 4
    workers: int = 1
    stride: int = 32

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        found = np.array(self.function(reflectance))  # a copy: the function's own may be read-only, or its input
        return found[:, None] if found.ndim == 3 else found

    def start_worker(self) -> None:
        """Nothing to do."""


def as_predict(model: Predict | Function) -> Predict:
    """A model unchanged; a function as a `PlainFunction`, with those fields that the function has as attributes."""
    if hasattr(model, "start_worker"):
        return cast(Predict, model)
    known = {f.name: getattr(model, f.name) for f in fields(PlainFunction)[1:] if hasattr(model, f.name)}
    return PlainFunction(model, **known)
