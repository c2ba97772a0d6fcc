"""Granules of Harmonized Landsat and Sentinel-2."""

from .case import bands, masked, refused

PATTERN = "HLS.S30.T15TWM.2021191T170851.v2.0.{}.tif"


@masked()
def a_granule(folder):
    return bands(folder, PATTERN, ("B04", "B03", "B02", "B8A"), "int16")


@refused("no nir (B8A)", "a granule without B8A")
def granule_without_nir(folder):
    return bands(folder, PATTERN, ("B04", "B03", "B02"), "int16")
