"""Destinations of a mask: existing, missing, not writable."""

from .case import NAME, masked, product, refused, stack


@refused("rasters are written as GeoTIFFs", each={name: name for name in ("m.jpg", "masks.v2")})
def a_mask_named(folder, name):
    return [stack(folder), "-o", folder / "out" / name]


@refused("bytes, too long", "a name of", {"244 letters": 244, "300 letters": 300})
def long_name(folder, length):
    return [stack(folder), "-o", folder / "out" / ("x" * (length - 4) + ".tif")]


@refused("is the scene itself")
def the_scene_itself(folder):
    path = stack(folder)
    return [path, "-o", path, "--overwrite"]


@refused("is the scene itself")
def a_symbolic_link_to_the_scene(folder):
    path = stack(folder)
    (folder / "link.tif").symlink_to(path)
    return [path, "-o", folder / "link.tif", "--overwrite"]


@refused("is the scene itself")
def a_band_of_the_product(folder):
    made = product(folder)
    return [made, "-o", made / f"{NAME}_B4.TIF", "--overwrite"]


@refused("exists already")
def a_file_that_is_there(folder):
    (folder / "old.tif").write_text("old")
    return [stack(folder), "-o", folder / "old.tif"]


@refused("two outputs are the same file")
def the_mask_and_the_probability_in_one_file(folder):
    out = folder / "out" / "x.tif"
    return [stack(folder), "-o", out, "--probability", out]


@refused("does not exist")
def under_a_file(folder):
    (folder / "file").touch()
    return [stack(folder), "-o", folder / "file" / "m.tif"]


@refused("cannot be written")
def a_folder_that_cannot_be_written_to(folder):
    return [stack(folder), "-o", "/proc/geocloud.tif"]


@masked()
def the_source_cannot_be_written_to(folder):
    path = stack(folder)
    path.chmod(0o400)
    return path
