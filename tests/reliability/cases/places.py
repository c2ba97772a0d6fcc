"""Georeferencing of the pixels."""

import rasterio
from affine import Affine
from conftest import UTM, geobox
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC

from geocloud.grid import GeoBox

from .case import masked, refused, stack
from .rasters import vrt

NOWHERE = GeoBox(90, 110, Affine.identity(), None)

TRANSFORMS = {
    "rotated": geobox().transform @ Affine.rotation(30),
    "with south up": Affine(30, 0, 499_980, 0, 30, 5_400_040),
    "mirrored": Affine(-30, 0, 499_980, 0, -30, 5_400_040),
}


@masked(each=TRANSFORMS)
def a_geotransform(folder, transform):
    return stack(folder, grid=GeoBox(90, 110, transform, UTM))


PLACES = {
    "in degrees": (4326, Affine(0.0003, 0, 12, 0, -0.0003, 48)),
    "across the antimeridian": (32601, Affine(30, 0, 200_000, 0, -30, 7_000_000)),
    "in polar stereographic": (3031, Affine(30, 0, 100_000, 0, -30, 100_000)),
}


@masked(each=PLACES)
def a_scene(folder, place):
    code, transform = place
    scene = stack(folder, grid=GeoBox(90, 110, transform, CRS.from_epsg(code)))
    return [scene, "--polygons", folder / "out" / "clouds.gpkg"]


@refused("gives its pixels no area", "pixels without area, by the geotransform")
def pixels_without_area(folder):
    stack(folder)
    path = vrt(folder, "scene.tif")
    place = "<SRS>EPSG:32633</SRS><GeoTransform>500000, 30, 0, 5400000, 30, 0</GeoTransform><VRTRasterBand"
    path.write_text(path.read_text().replace("<VRTRasterBand", place, 1))
    return path


@masked(what="no CRS")
def no_crs(folder):
    return stack(folder, grid=geobox(crs=None))


@refused("need a scene whose pixel size is known", "no CRS, and a buffer in metres")
def buffer_without_crs(folder):
    return [stack(folder, grid=geobox(crs=None)), "--buffer", "90"]


@masked("ground control points only")
def ground_control_points_only(folder):
    path = stack(folder, grid=NOWHERE)
    points = [GroundControlPoint(r, c, 5e5 + 30 * c, 5.4e6 - 30 * r) for r in (0, 90) for c in (0, 110)]
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = points, UTM
    return path


@masked("RPCs only", "RPCs only")
def rpcs(folder):
    path = stack(folder, grid=NOWHERE)
    numbers = {"height_off": 0, "height_scale": 1, "lat_off": 48, "lat_scale": 1, "line_off": 45, "line_scale": 45}
    numbers |= {"long_off": 12, "long_scale": 1, "samp_off": 55, "samp_scale": 55}
    coefficients = {f"{part}_coeff": [1.0] + 19 * [0.0] for part in ("line_den", "line_num", "samp_den", "samp_num")}
    with rasterio.open(path, "r+") as dataset:
        dataset.rpcs = RPC(**numbers, **coefficients, err_bias=None, err_rand=None)
    return path


def of_size(folder, size):
    return stack(folder, grid=GeoBox(90, 110, Affine(size, 0, 5e5, 0, -size, 5.4e6), UTM))


masked("trained at 30 to 60 m", "pixels of", {"0.5 m": 0.5, "200 m": 200})(of_size)
refused("trained at 30 to 60 m", "pixels of", {"1000 m": 1000})(of_size)


@masked("trained at 30 to 60 m", "pixels of 1000 m, insisted on")
def large_pixels_insisted_on(folder):
    return [of_size(folder, 1000), "--working-resolution", "native"]
