"""The input of the networks, in torch; `geocloud.model.graph` and `geocloud.model.complete` do the same without it."""

from __future__ import annotations

import torch
from torch import Tensor


def normalise(
    reflectance: Tensor, mean: Tensor, std: Tensor, clip: float | None = None, optional_nir: bool = False
) -> Tensor:
    """The input of the networks: (reflectance − mean) / std, band by band.

    Args:
        reflectance: ``(N, 4, H, W)``. Pixels without data, NaN in any band, are filled with each band's mean over the
            rest of the tile: a fixed value would make an edge that is bright beside the sea and dark beside snow.
        mean: ``(1, 4, 1, 1)``.
        std: ``(1, 4, 1, 1)``.
        clip: Reflectance above it is set to it.
        optional_nir: Adds a fifth band, 1 in images whose near-infrared is NaN everywhere, where red replaces it;
            0 in all others.

    Returns:
        ``(N, 4, H, W)``, or ``(N, 5, H, W)`` with ``optional_nir``.
    """
    count, bands, height, width = reflectance.shape
    x = reflectance.new_empty(count, bands + optional_nir, height, width)
    seen = x[:, :bands]
    torch.mul(reflectance, 1 / std, out=seen)
    seen -= mean / std
    if optional_nir:
        absent = reflectance[:, 3, ::16, ::16].isnan().flatten(1).all(1)  # (N,): a sample, which usually suffices
        if absent.any():
            absent = reflectance[:, 3].isnan().flatten(1).all(1)
        for i in torch.nonzero(absent)[:, 0]:
            seen[i, 3] = (reflectance[i, 0] - mean[0, 3]) / std[0, 3]
        x[:, bands] = absent[:, None, None]
    if clip is not None:
        torch.minimum(seen, (clip - mean) / std, out=seen)
    if not seen.sum().isnan():  # the quickest look at all of them
        return x
    missing = seen.sum(1, keepdim=True).isnan()  # (N, 1, H, W)
    known = (~missing).float()
    average = torch.where(missing, 0, seen).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    torch.where(missing, average, seen, out=seen)
    return x
