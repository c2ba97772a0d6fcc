"""The model, as tiling uses it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Predict(Protocol):
    """A model: a function on batches of tiles, with the attributes that its callers need."""

    name: str
    """Name in messages and in the tags of results."""
    threshold: float
    """Pixels with a higher probability of cloud are cloud."""
    shadow_threshold: float
    """Pixels with a higher probability of shadow, the second class, are shadow."""
    pixel_size: float | None
    """Pixel size in metres that it was trained on; None: any."""
    optional_nir: bool
    """True if near-infrared may be missing: NaN over the whole image."""
    classes: int
    """Number of probabilities that it returns: 1 cloud, 2 cloud and shadow."""
    batch: int
    """Tiles per call."""
    workers: int
    """Number of threads that may call it at the same time."""

    def __call__(self, reflectance: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``.

        H and W are multiples of 32.
        """
        ...
