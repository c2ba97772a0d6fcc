"""The pipeline: scene → tiles → model → mosaic → mask and polygons."""

from geocloud.options import ComputeOptions, MaskOptions
from geocloud.pipeline.arrays import mask_array, mask_raster
from geocloud.pipeline.mask import mask_scene
from geocloud.pipeline.masked import apply_mask
from geocloud.pipeline.result import MaskResult
from geocloud.pipeline.xarrays import mask_xarray

__all__ = [
    "ComputeOptions",
    "MaskOptions",
    "MaskResult",
    "apply_mask",
    "mask_array",
    "mask_raster",
    "mask_scene",
    "mask_xarray",
]
