"""The pipeline: scene → tiles → model → mosaic → mask and polygons."""

from geocloud.pipeline.arrays import mask_array
from geocloud.pipeline.mask import mask_scene
from geocloud.pipeline.options import ComputeOptions, MaskOptions
from geocloud.pipeline.result import MaskResult
from geocloud.pipeline.xarrays import mask_xarray

__all__ = ["ComputeOptions", "MaskOptions", "MaskResult", "mask_array", "mask_scene", "mask_xarray"]
