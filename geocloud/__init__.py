"""geocloud: georeferenced cloud masks for Landsat 8 and similar satellites.

    import geocloud

    result = geocloud.mask_scene("scene.tif", "mask.tif")
    print(result.cloud_percent)

The public names are those in ``__all__``. Each is loaded on first use, so that ``import geocloud`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geocloud._proj import use_own_database

if TYPE_CHECKING:
    from geocloud.bands import BANDS, Units
    from geocloud.compare import compare_masks
    from geocloud.errors import GeocloudError
    from geocloud.models.metadata import ModelMetadata
    from geocloud.models.predictor import Predictor, load_model
    from geocloud.options import ComputeOptions, MaskOptions
    from geocloud.pipeline import MaskResult, apply_mask, mask_array, mask_raster, mask_scene, mask_xarray
    from geocloud.raster import Raster, Sun
    from geocloud.readers import RasterScene, ReadOptions, Scene, open_scene

use_own_database()

__all__ = [
    "BANDS",
    "ComputeOptions",
    "GeocloudError",
    "MaskOptions",
    "MaskResult",
    "ModelMetadata",
    "Predictor",
    "Raster",
    "RasterScene",
    "ReadOptions",
    "Scene",
    "Sun",
    "Units",
    "apply_mask",
    "compare_masks",
    "load_model",
    "mask_array",
    "mask_raster",
    "mask_scene",
    "mask_xarray",
    "open_scene",
]

_HOMES = {
    "BANDS": "bands",
    "Units": "bands",
    "GeocloudError": "errors",
    "ComputeOptions": "options",
    "MaskOptions": "options",
    "Raster": "raster",
    "Sun": "raster",
    "apply_mask": "pipeline",
    "compare_masks": "compare",
    "mask_raster": "pipeline",
    "MaskResult": "pipeline",
    "mask_array": "pipeline",
    "mask_scene": "pipeline",
    "mask_xarray": "pipeline",
    "ModelMetadata": "models.metadata",
    "Predictor": "models.predictor",
    "load_model": "models.predictor",
    "RasterScene": "readers",
    "ReadOptions": "readers",
    "Scene": "readers",
    "open_scene": "readers",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("geocloud")
    if name not in _HOMES:
        raise AttributeError(f"module 'geocloud' has no attribute {name!r}")
    return getattr(import_module(f"geocloud.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
