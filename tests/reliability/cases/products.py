"""Landsat products, and separate bands."""

import re

import numpy as np
from affine import Affine
from conftest import UTM, geobox, ramp, write_tif
from rasterio.crs import CRS

from geocloud.grid import GeoBox

from .case import NAME, NEIGHBOUR, bands, masked, product, refused


def with_mtl(folder, change):
    """A product with a changed MTL file."""
    made = product(folder)
    path = made / f"{NAME}_MTL.txt"
    path.write_bytes(change(path.read_bytes()))
    return made


@refused("no nir (B5)")
def a_band_is_missing(folder):
    made = product(folder)
    (made / f"{NAME}_B5.TIF").unlink()
    return made


GRIDS = {
    "size": geobox(80, 110),
    "CRS": geobox(crs=CRS.from_epsg(32634)),
    "transform": GeoBox(90, 110, geobox().transform @ Affine.translation(3, 0), UTM),
}


@refused("all bands must cover the same pixels", each=GRIDS)
def bands_of_different(folder, grid):
    made = product(folder)
    write_tif(made / f"{NAME}_B5.TIF", np.full((1, *grid.shape), 9000, "uint16"), grid)
    return made


@refused("neither whole", "Level-1 and surface reflectance mixed, neither whole")
def mixed_levels(folder):
    made = product(folder)
    for number in (4, 5):
        (made / f"{NAME}_B{number}.TIF").rename(made / f"{NAME}_SR_B{number}.TIF")
    return made


@refused("name a file of one")
def two_products_in_one_folder(folder):
    made = product(folder)
    for file in product(folder, NEIGHBOUR).iterdir():
        file.rename(made / file.name)
    return made


@masked("sun elevation unknown", "no MTL file")
def no_mtl(folder):
    made = product(folder)
    (made / f"{NAME}_MTL.txt").unlink()
    return made


@refused("cut off", "an MTL file that is cut off")
def mtl_cut_off(folder):
    return with_mtl(folder, lambda text: text[: len(text) // 2])


@masked(what="an MTL file in Latin-1")
def mtl_in_latin1(folder):
    return with_mtl(folder, lambda text: text.replace(b"GROUP = IMAGE", b'ORIGIN = "K\xf6ln"\n  GROUP = IMAGE', 1))


@masked("sun elevation unknown", "an MTL file whose sun elevation is NaN")
def mtl_with_nan(folder):
    return with_mtl(folder, lambda text: re.sub(rb"SUN_ELEVATION = .*", b"SUN_ELEVATION = NaN", text))


@refused("without sunlight shows no clouds")
def the_sun_below_the_horizon(folder):
    return with_mtl(folder, lambda text: text.replace(b"SUN_ELEVATION = 50", b"SUN_ELEVATION = -3"))


@masked(what="an MTL file that says every group twice")
def mtl_twice(folder):
    def twice(text):
        head, _, rest = text.partition(b"\n")
        groups, end, tail = rest.rpartition(b"END_GROUP")
        return head + b"\n" + groups + groups + end + tail

    return with_mtl(folder, twice)


@refused("no blue", "Landsat MSS, which has no blue band")
def mss(folder):
    return bands(folder, "LM05_L1TP_033033_19840503_20200902_02_T2_{}.TIF", ("B1", "B2", "B3", "B4"))


@masked("cannot be that; read as reflectance", "reflectance under the names of Level-2 bands")
def reflectance_as_level2(folder):
    (folder / "bands").mkdir()
    for number, band in zip((4, 3, 2, 5), ramp(), strict=True):
        write_tif(folder / "bands" / f"{NAME.replace('L1TP', 'L2SP')}_SR_B{number}.TIF", band[None])
    return folder / "bands"


@masked()
def bands_named_by_colour(folder):
    return bands(folder, "{}.tif")
