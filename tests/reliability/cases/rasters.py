"""Rasters of several bands: their size, bands, types and values."""

import numpy as np
from conftest import ramp

from geocloud.bands import BANDS

from .case import masked, refused, scaled, stack


def land(blue_first=False):
    """Reflectance × 10 000 from plants to bare soil, in which red and blue are distinguishable."""
    share = ((ramp() - 0.05) % 0.01 * 100)[:1]
    ends = zip((0.03, 0.05, 0.03, 0.4), (0.25, 0.18, 0.12, 0.32), strict=True)
    image = np.concatenate([plants + share * (soil - plants) for plants, soil in ends])
    return scaled(image[[2, 1, 0, 3] if blue_first else [0, 1, 2, 3]])


def eight_bits():
    return (ramp() * 255).astype("uint8")


def vrt(folder, source):
    """A VRT of four named bands of another file."""
    listed = "".join(
        f'<VRTRasterBand dataType="Float32" band="{i}"><Description>{name}</Description><SimpleSource><SourceFilename '
        f'relativeToVRT="1">{source}</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>'
        for i, name in enumerate(BANDS, 1)
    )
    (folder / "scene.vrt").write_text(f'<VRTDataset rasterXSize="110" rasterYSize="90">{listed}</VRTDataset>')
    return folder / "scene.vrt"


SIZES = {"1 by 1": (1, 1), "1 by 20 000": (1, 20_000), "20 000 by 1": (20_000, 1)}


@masked(what="pixels:", each=SIZES)
def size(folder, shape):
    return stack(folder, ramp(*shape))


@refused("cannot be opened as a raster")
def no_band(folder):
    (folder / "scene.vrt").write_text('<VRTDataset rasterXSize="9" rasterYSize="9"></VRTDataset>')
    return folder / "scene.vrt"


@refused("cannot be opened as a raster", "one of GDAL's names that leads nowhere")
def subdataset(folder):
    return f"GTIFF_DIR:7:{stack(folder)}"


@refused("3 band(s)", "3 bands")
def three_bands(folder):
    return stack(folder, ramp()[:3])


@masked("read as blue, green", "four bands without names, of which the pixels tell that blue is first")
def blue_first(folder):
    return stack(folder, land(blue_first=True), descriptions=None)


@refused("--bands 3,2,1,4", "four bands without names, of which the pixels leave doubt")
def doubtful_order(folder):
    return stack(folder, descriptions=None)


@masked(what="four bands without names, and their order in letters")
def order_in_letters(folder):
    return [stack(folder, descriptions=None), "--bands", "bgrn"]


@refused("and, of 8 bits, --units scaled-8bit")
def four_bands_of_8_bits_without_names(folder):
    return stack(folder, eight_bits(), descriptions=None, photometric="minisblack")


@refused("varies as near-infrared does")
def near_infrared_of_8_bits_that_is_marked_alpha(folder):
    return stack(folder, eight_bits(), descriptions=None)


@refused("is alpha (transparency), not light", "an alpha band named in --bands")
def alpha_as_nir(folder):
    values = eight_bits()
    values[3] = 255
    return [stack(folder, values, descriptions=None), "--bands", "1,2,3,4", "--units", "scaled-8bit"]


@refused("if they are Sentinel-2's from B01, 4,3,2,8")
def twelve_bands_without_names(folder):
    return stack(folder, np.resize(land(), (12, 90, 110)))


@refused("say --bands", "200 bands without names")
def many_bands(folder):
    return stack(folder, np.repeat(ramp(), 50, 0))


@refused("put it there, or say --scale and --offset", "PlanetScope radiance without its coefficients")
def planetscope_radiance(folder):
    return stack(folder, land(), "20240701_103015_12_2465_3B_AnalyticMS.tif", descriptions=None)


@refused("'red' occurs 2 times (bands 1, 5)")
def two_dates_of_the_same_bands(folder):
    return stack(folder, np.resize(land(), (8, 90, 110)), descriptions=BANDS * 2)


@refused("say --units sentinel2 or --units landsat-l2", "B2 to B8, which may be Sentinel-2's or Landsat's")
def ambiguous_names(folder):
    return stack(folder, np.resize(land(), (7, 90, 110)), descriptions=[f"B{n}" for n in range(2, 9)])


@refused("four bands without names", "band descriptions that are not UTF-8")
def descriptions_in_latin1(folder):
    path = stack(folder, descriptions=("rXd", "grXn", "blXu", "nXr"))
    path.write_bytes(path.read_bytes().replace(b"rXd", b"r\xf6d").replace(b"grXn", b"gr\xfcn"))
    return path


@refused("gone.tif: No such file")
def a_virtual_raster_whose_source_is_gone(folder):
    return vrt(folder, "gone.tif")


@refused("values; wanted integers or floats")
def complex_numbers(folder):
    return [stack(folder, (ramp() * 100).astype("complex64")), "--scale", "0.01"]


@masked()
def signed_bytes(folder):
    return [stack(folder, (ramp() * 100).astype("int8")), "--scale", "0.01"]


EMPTY = {"NaN": np.float32("nan"), "infinite": np.float32("inf"), "no data": np.uint16(0)}


@masked(what="all pixels are", each=EMPTY, expect=lambda mask: (mask == 255).all())
def empty(folder, value):
    scale = ["--scale", "0.0001"] if value == 0 else []
    return [stack(folder, np.full((4, 90, 110), value)), *scale]


def only_one_is_lost(mask):
    return mask[7, 9] == 255 and (mask == 255).sum() == 1


ODD = {"NaN": np.nan, "infinite": np.inf, "minus infinite": -np.inf}


@masked(what="one pixel of one band is", each=ODD, expect=only_one_is_lost)
def one_odd_pixel(folder, value):
    values = ramp()
    values[2, 7, 9] = value
    return stack(folder, values)


@masked(what="all pixels", each={"the same": 0.3, "below zero": -0.1})
def flat(folder, value):
    return stack(folder, np.full((4, 90, 110), value, "float32"))


@masked("are the units right", "all pixels saturated (65535)")
def saturated(folder):
    return [stack(folder, np.full((4, 90, 110), 65535, "uint16")), "--scale", "0.0001"]


@refused("units cannot be determined from the values")
def values_far_beyond_reflectance(folder):
    return stack(folder, np.full((4, 90, 110), 3e8, "float32"))


@refused("too dark for reflectance × 10 000")
def four_bands_of_numbers_from_0_to_1500(folder):
    return stack(folder, np.random.default_rng(3).integers(0, 1501, (4, 90, 110)).astype("uint16"))


@masked("cannot be that; read as reflectance")
def reflectance_that_still_carries_its_scale(folder):
    return stack(folder, scales=[1e-4] * 4)


@refused("scaled-16bit (0 to 65535 for 0 to 1)", "0 to 65535 for reflectance of 0 to 1")
def sixteen_bits(folder):
    return stack(folder, np.rint(ramp() * 65535).astype("uint16"))
