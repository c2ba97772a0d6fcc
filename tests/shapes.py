"""Masks for tests."""

import numpy as np
from scipy import ndimage


def blobs(height=90, width=110, seed=1, share=0.3, missing=0.0):
    """A mask of blobs, with nodata in a corner."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), 1.5)
    mask = (noise > np.quantile(noise, 1 - share)).astype("uint8")
    mask[: int(height * missing)] = 255
    return mask
