"""Input of the networks, in torch; exported with them, so that their ONNX files take reflectance."""

from __future__ import annotations

import torch
from torch import Tensor


def prepare(
    reflectance: Tensor, mean: Tensor, std: Tensor, clip: float | None = None, optional_nir: bool = False
) -> tuple[Tensor, Tensor]:
    """Normalised reflectance, and images without near-infrared marked.

    Pixels without data, NaN in any band, are filled with each band's mean over the rest of the tile: a constant would
    make an edge that is bright beside the sea and dark beside snow.

    Args:
        reflectance: ``(N, 4, H, W)``, NaN where there is no data.
        mean: ``(1, 4, 1, 1)``.
        std: ``(1, 4, 1, 1)``.
        clip: Reflectance is clipped to this maximum; None: no clipping.
        optional_nir: True if near-infrared may be NaN over a whole image; red then replaces it.

    Returns:
        (reflectance − mean) / std ``(N, 4, H, W)``, and 1.0 for images without near-infrared, else 0.0
        ``(N, 1, 1, 1)``.
    """
    x, no_nir = reflectance, torch.zeros_like(reflectance[:, :1, :1, :1])
    if optional_nir:
        no_nir = reflectance[:, 3:].isnan().to(reflectance.dtype).amin((2, 3), keepdim=True)
        is_nir = torch.tensor([False, False, False, True], device=x.device).view(1, 4, 1, 1)
        x = torch.where((no_nir > 0.5) & is_nir, x[:, :1], x)
    missing = x.sum(1, keepdim=True).isnan()  # (N, 1, H, W)
    if clip is not None:
        x = x.clamp(max=clip)
    x = torch.where(missing, torch.zeros_like(mean[:, :1]), x)
    count = (~missing).to(x.dtype).sum((2, 3), keepdim=True)
    x = torch.where(missing, x.sum((2, 3), keepdim=True) / count.clamp(min=1), x)
    return (x - mean) * (1 / std), no_nir
