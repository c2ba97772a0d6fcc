"""Files that are not rasters, damaged rasters, and folders with no or several scenes."""

from .case import NAME, NEIGHBOUR, product, ramp, refused, stack

NO_RASTER = "cannot be opened as a raster"


@refused("no such file or folder")
def nothing_of_that_name(folder):
    return folder / "gone.tif"


@refused(NO_RASTER)
def an_empty_file(folder):
    (folder / "scene.tif").touch()
    return folder / "scene.tif"


@refused(NO_RASTER, "a text named .tif")
def text(folder):
    (folder / "scene.tif").write_text("no raster\n" * 99)
    return folder / "scene.tif"


@refused(NO_RASTER, "wrong magic in front of a TIFF")
def wrong_magic(folder):
    path = stack(folder)
    path.write_bytes(b"XX" + path.read_bytes()[2:])
    return path


@refused("scene.tif: ", "a TIFF cut off", {f"at {percent} %": percent for percent in range(5, 100, 10)})
def cut_off(folder, percent):
    path = stack(folder, ramp(), compress="deflate")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * percent // 100])
    return path


@refused("no Landsat band files")
def a_folder_without_bands(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


@refused("to mask all in it: geocloud batch")
def a_folder_of_several_rasters(folder):
    for name in ("a.tif", "b.tif"):
        stack(folder, name=name)
    return folder


@refused("to mask all in it: geocloud batch")
def a_folder_of_several_products(folder):
    for name in (NAME, NEIGHBOUR):
        product(folder / "all", name)
    return folder / "all"
