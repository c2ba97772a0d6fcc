"""Which of four bands without names is red and which is blue, where pixels leave no doubt.

Stacks of four are red, green, blue, nir, or blue, green, red, nir. From plants to bare soil red rises more than blue
does, whether the air is in the picture (it adds to blue and takes contrast from it) or was corrected for. Clouds, snow
and water tell nothing: there the two rise alike, and blue more where too much air was taken out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocloud.readers.base import SceneRecipe, sample_pixels
from geocloud.readers.limits import FEWEST, LAND
from geocloud.readers.stack import BandStack

RED_FIRST, BLUE_FIRST = (1, 2, 3, 4), (3, 2, 1, 4)
"""Numbers of red, green, blue and nir in the two orders."""


def compare_rises(pixels: NDArray[np.generic]) -> float | None:
    """Contrast ratio between the first and the third of four bands: their 5 to 75 percentile ranges over land.

    ``pixels`` ``(4, n)``, in any units that all bands share, nir the last. None where there is too little land.
    """
    first, green, third, nir = pixels.astype("float64")
    land = nir > LAND * np.maximum(green, 0)
    if np.count_nonzero(land) < max(FEWEST[0], FEWEST[1] * land.size):
        return None
    noise = 0.02 * float(np.median(green[land]))
    rises = [float(np.subtract(*np.percentile(band[land], (75, 5)))) + noise for band in (first, third)]
    return rises[0] / rises[1] if min(rises) > 0 else None


def sample_scene(recipe: SceneRecipe) -> NDArray[np.generic]:
    """Pixels with data ``(band, n)``, as they are on disk, of small windows all over a scene. Raises SceneError."""
    stack = BandStack(recipe)
    try:
        return np.concatenate(list(sample_pixels(stack.grid, lambda window: stack.read(window, recipe.fill))), 1)
    finally:
        stack.close()
