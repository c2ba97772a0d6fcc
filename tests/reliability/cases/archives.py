"""Archives."""

import io
import tarfile
import zipfile

import rasterio
from conftest import UTM, geobox

from .case import NAME, masked, product, refused, stack

NO_BANDS = "no Landsat band files"
BAND_NAMES = [f"{NAME}_B{number}.TIF" for number in range(2, 6)]


def tar(folder, change=lambda archive, made: None, whole=True):
    """A tar of a product, or an empty one, with the additions of ``change``."""
    made = product(folder)
    with tarfile.open(folder / f"{NAME}.tar", "w") as archive:
        for file in sorted(made.iterdir()) if whole else []:
            archive.add(file, file.name)
        change(archive, made)
    return folder / f"{NAME}.tar"


def add(archive, name, data=b"", **header):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in header.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


def zip_of(folder, files):
    """A zip of rasters, by member name."""
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name in files:
            archive.write(stack(folder, name=name.replace("/", "_")), name)
    return folder / "a.zip"


@masked(what="a tar with a member named ../../x beside the bands")
def tar_that_climbs(folder):
    return tar(folder, lambda archive, made: add(archive, f"../../{NAME}_B1.TIF", b"x"))


@refused(NO_BANDS)
def a_tar_of_bands_with_absolute_paths(folder):
    def absolute(archive, made):
        for file in made.glob("*.TIF"):
            add(archive, f"/{file.name}", file.read_bytes())

    return tar(folder, absolute, whole=False)


KINDS = {
    "symbolic links": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard links": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
    "device nodes": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "named pipes": {"type": tarfile.FIFOTYPE},
}


@refused(NO_BANDS, each=KINDS)
def a_tar_whose_bands_are(folder, header):
    def links(archive, made):
        for name in BAND_NAMES:
            add(archive, name, **header)

    return tar(folder, links, whole=False)


@refused(NO_BANDS)
def an_archive_in_an_archive(folder):
    with tarfile.open(folder / "outer.tar", "w") as archive:
        archive.add(tar(folder), "inner.tar")
    return folder / "outer.tar"


@refused("damaged or cut off")
def a_tar_that_is_cut_off(folder):
    path = tar(folder)
    with tarfile.open(path) as archive:
        end = max(m.offset_data + m.size for m in archive if m.name.endswith("_B5.TIF"))
    path.write_bytes(path.read_bytes()[: end - 9000])
    return path


@refused("cannot be read")
def a_zip_with_a_wrong_checksum(folder):
    path = folder / f"{NAME}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(product(folder).iterdir()):
            archive.write(file, file.name)
        inside = archive.getinfo(f"{NAME}_MTL.txt").header_offset + 200
    data = bytearray(path.read_bytes())
    data[inside] ^= 0xFF
    path.write_bytes(data)
    return path


@refused("cannot be read as an archive")
def a_zip_with_an_entry_without_a_name(folder):
    path = folder / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\x01", "nothing")
    path.write_bytes(path.read_bytes().replace(b"\x01", b"\x00"))
    return path


@masked()
def a_zip_of_one_raster(folder):
    return zip_of(folder, ["in/scene.tif"])


@masked(what="a raster in a zip, by the name that GDAL has for it")
def vsizip(folder):
    return f"/vsizip/{zip_of(folder, ['in/scene.tif'])}/in/scene.tif"


@refused("it holds 2 rasters: name one of them, such as /vsizip/")
def a_zip_of_two_rasters(folder):
    return zip_of(folder, ["a.tif", "b.tif"])


@masked(what="a plain tar named .tar.gz")
def tar_named_gz(folder):
    return tar(folder).rename(folder / f"{NAME}.tar.gz")


@refused(NO_BANDS)
def an_archive_of_something_else(folder):
    return tar(folder, lambda archive, made: add(archive, "readme.txt", b"hello"), whole=False)


@refused("too wide", "a bomb: some kilobytes that say they are 400 000 by 400 000 pixels")
def bomb(folder):
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": UTM, "transform": geobox().transform}
    profile |= {"height": 400_000, "width": 400_000, "tiled": True, "blockxsize": 4096, "blockysize": 4096}
    with tarfile.open(folder / "bomb.tar.gz", "w:gz") as archive:
        for name in BAND_NAMES:
            rasterio.open(folder / name, "w", **profile, SPARSE_OK=True, BIGTIFF="YES").close()
            archive.add(folder / name, name)
    return folder / "bomb.tar.gz"
