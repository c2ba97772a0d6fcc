"""Sentinel-2 products and bands."""

from conftest import ramp
from safe import L1C, L2A, OLD, numbers, pack, product_text, write_safe

from .case import bands, masked, refused


def safe(folder, *words, **options):
    return write_safe(folder, numbers(ramp()), *words, **options)


@masked(what="a .SAFE product of", each={"Level-1C": L1C, "Level-2A": L2A})
def safe_product(folder, name):
    return safe(folder, name)


@masked(what="a zip of a .SAFE product")
def safe_in_zip(folder):
    return pack(safe(folder), folder / f"{L1C}.zip")


@refused("no nir (B08) at 10 m", "a .SAFE product without B08")
def safe_without_nir(folder):
    made = safe(folder)
    next(made.rglob("IMG_DATA/*_B08.jp2")).unlink()
    return made


@refused("no product metadata", "a .SAFE product without its metadata")
def safe_without_metadata(folder):
    made = safe(folder)
    (made / "MTD_MSIL1C.xml").unlink()
    return made


@refused("name the folder of one", "an old .SAFE product of two granules")
def safe_of_two_granules(folder):
    return safe(folder, OLD, tiles=("T33UXP", "T33UYP"))


@refused("_B03.jp2: ", "a band in JPEG 2000 that is cut off")
def jpeg2000_cut_off(folder):
    made = safe(folder)
    band = next(made.rglob("IMG_DATA/*_B03.jp2"))
    band.write_bytes(band.read_bytes()[:600])
    return made


@refused("damaged or cut off")
def metadata_that_are_cut_off(folder):
    return safe(folder, text=product_text()[:900])


@refused("too large for a metadata file", "metadata of 5 MB")
def large_metadata(folder):
    return safe(folder, text=product_text() + " " * 5_000_000)


ENTITIES = {
    "hold a bomb of entities": '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">',
    "ask for a file of this machine": '<!ENTITY b SYSTEM "file:///etc/passwd">',
}


@refused("has a DOCTYPE", each=ENTITIES)
def metadata_that(folder, entities):
    return safe(folder, text=f"<!DOCTYPE x [{entities}]><x>&b;</x>")


@masked("identified by name as Sentinel-2 bands", "bare bands, B8A among them")
def bare_bands(folder):
    return bands(folder, "{}.tif", ("B04", "B03", "B02", "B8A"))


@refused("2 products in one place")
def bare_bands_of_two_tiles_in_one_folder(folder):
    place = bands(folder, "T33UXP_20230823T095559_{}.tif", ("B04", "B03", "B02", "B08"))
    for file in list(place.iterdir()):
        (place / file.name.replace("XP", "YP")).write_bytes(file.read_bytes())
    return place
