"""Masks and tile grids for tests."""

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

from geocloud.tiling.tiles import TileGrid


def blobs(height=90, width=110, seed=1, share=0.3, missing=0.0):
    """A mask of clumps, with some no data in a corner."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), 1.5)
    mask = (noise > np.quantile(noise, 1 - share)).astype("uint8")
    mask[: int(height * missing)] = 255
    return mask


sizes = st.integers(1, 700)
tilings = st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(32 * n), st.integers(0, 16 * n)))


@st.composite
def grids(draw):
    tile, overlap = draw(tilings)
    shift = draw(st.integers(0, tile - overlap - 1))
    wider = draw(st.integers(0, 3))
    size = (tile, tile + 32 * wider) if wider else tile
    return TileGrid(draw(sizes), draw(sizes), size, overlap, shift)
