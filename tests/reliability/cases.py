"""The matrix of bad and odd input: what is given, and what geocloud makes of it.

A case makes its files in a folder of its own and returns the words after ``geocloud mask``. ``code`` is the exit code
and ``says`` a part of the one line on stderr, or, where the scene is masked, of its notes. docs/reliability.md is made
of it.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from conftest import UTM, geobox, ramp, write_tif
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from safe import L1C, L2A, OLD, numbers, pack, product_text, write_safe
from small import small

from geocloud.grid import GeoBox
from geocloud.simulate import SimulatedScene, write_level1

NAME = "LC08_L1TP_190026_20240701_20240708_02_T1"
NAMES = ("red", "green", "blue", "nir")
MASKED = 0


@dataclass(frozen=True)
class Case:
    """One line of the matrix. ``expect`` gets the mask ``(h, w)`` of what is masked, and the input's ramp."""

    group: str
    what: str
    make: Callable[[Path], list[str]]
    code: int
    says: str = ""
    expect: Callable[[np.ndarray], Any] = lambda mask: (mask != 255).all()


CASES: list[Case] = []


def case(group: str, what: str, code: int, says: str = "", **options: Any) -> Callable[[Any], Any]:
    def keep(make: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
        CASES.append(Case(group, what, make, code, says, **options))
        return make

    return keep


def stack(folder: Path, values: Any = None, name: str = "scene.tif", grid: GeoBox | None = None, **options: Any) -> str:
    values = ramp() if values is None else values
    options.setdefault("descriptions", NAMES if len(values) == 4 else None)
    return str(write_tif(folder / name, values, grid, **options))


def product(folder: Path, name: str = NAME, **options: Any) -> Path:
    scene = SimulatedScene(ramp(), np.zeros((90, 110), bool))
    write_level1(scene, folder / name, name, grid=geobox(), **{"sun_elevation": 50.0, **options})
    return folder / name


def mtl(folder: Path, change: Callable[[str], str]) -> list[str]:
    made = product(folder)
    path = made / f"{NAME}_MTL.txt"
    path.write_text(change(path.read_text()))
    return [str(made)]


def bands(folder: Path, pattern: str, names: tuple[str, ...], dtype: str = "uint16") -> list[str]:
    (folder / "bands").mkdir()
    for name, image in zip(names, np.rint(ramp()[: len(names)] * 1e4).astype(dtype), strict=True):
        write_tif(folder / "bands" / pattern.format(name), image[None])
    return [str(folder / "bands")]


def one(changed: Callable[[np.ndarray], None], dtype: str = "float32", **options: Any) -> Callable[[Path], list[str]]:
    """A stack of which some pixels are changed."""

    def make(folder: Path) -> list[str]:
        values = ramp() if dtype.startswith("float") else np.rint(ramp() * 1e4)
        values = values.astype(dtype)
        changed(values)
        return [stack(folder, values, **options), *([] if dtype.startswith("float") else ["--scale", "0.0001"])]

    return make


# Files that are no rasters, or no longer.


@case("file", "nothing of that name", 1, "no such file or folder")
def _(folder: Path) -> list[str]:
    return [str(folder / "gone.tif")]


@case("file", "an empty file", 1, "cannot be opened as a raster")
def _(folder: Path) -> list[str]:
    (folder / "scene.tif").write_bytes(b"")
    return [str(folder / "scene.tif")]


@case("file", "a text named .tif", 1, "cannot be opened as a raster")
def _(folder: Path) -> list[str]:
    (folder / "scene.tif").write_text("no raster\n" * 99)
    return [str(folder / "scene.tif")]


@case("file", "wrong magic in front of a TIFF", 1, "cannot be opened as a raster")
def _(folder: Path) -> list[str]:
    path = Path(stack(folder))
    path.write_bytes(b"XX" + path.read_bytes()[2:])
    return [str(path)]


for tenth in range(10):

    @case("file", f"a TIFF cut off after {tenth + 0.5:g} tenths", 1, "scene.tif: ")
    def _(folder: Path, tenth: int = tenth) -> list[str]:
        path = Path(stack(folder, ramp(), compress="deflate"))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * (tenth + 0.5) / 10)])
        return [str(path)]


@case("file", "a folder without bands", 1, "no Landsat band files")
def _(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return [str(folder / "empty")]


@case("file", "a folder of several rasters", 1, "to mask all in it: geocloud batch")
def _(folder: Path) -> list[str]:
    for name in ("a.tif", "b.tif"):
        stack(folder, name=name)
    return [str(folder)]


@case("file", "a folder of several products", 1, "to mask all in it: geocloud batch")
def _(folder: Path) -> list[str]:
    for name in (NAME, NAME.replace("190026", "190027")):
        product(folder / "all", name)
    return [str(folder / "all")]


# Landsat products.


@case("product", "a band is missing", 1, "no nir (B5)")
def _(folder: Path) -> list[str]:
    (product(folder) / f"{NAME}_B5.TIF").unlink()
    return [str(folder / NAME)]


for what, grid in {
    "size": geobox(80, 110),
    "CRS": geobox(crs=CRS.from_epsg(32634)),
    "transform": GeoBox(90, 110, geobox().transform @ Affine.translation(3, 0), UTM),
}.items():

    @case("product", f"bands of different {what}", 1, "all bands must cover the same pixels")
    def _(folder: Path, grid: GeoBox = grid) -> list[str]:
        values = np.full((1, *grid.shape), 9000, "uint16")
        write_tif(product(folder) / f"{NAME}_B5.TIF", values, grid)
        return [str(folder / NAME)]


@case("product", "Level-1 and surface reflectance mixed, neither whole", 1, "neither whole")
def _(folder: Path) -> list[str]:
    made = product(folder)
    for number in (4, 5):
        (made / f"{NAME}_B{number}.TIF").rename(made / f"{NAME}_SR_B{number}.TIF")
    return [str(made)]


@case("product", "two products in one folder", 1, "name one file of one")
def _(folder: Path) -> list[str]:
    made = product(folder)
    for file in product(folder, NAME.replace("190026", "190027")).iterdir():
        file.rename(made / file.name)
    return [str(made)]


@case("product", "no MTL file", MASKED, "sun elevation unknown")
def _(folder: Path) -> list[str]:
    (product(folder) / f"{NAME}_MTL.txt").unlink()
    return [str(folder / NAME)]


@case("product", "an MTL file that is cut off", 1, "cut off")
def _(folder: Path) -> list[str]:
    return mtl(folder, lambda text: text[: len(text) // 2])


@case("product", "an MTL file in Latin-1", MASKED)
def _(folder: Path) -> list[str]:
    made = product(folder)
    path = made / f"{NAME}_MTL.txt"
    path.write_bytes(path.read_text().replace("GROUP = IMAGE", 'ORIGIN = "Köln"\n  GROUP = IMAGE', 1).encode("latin-1"))
    return [str(made)]


@case("product", "an MTL file whose sun elevation is NaN", MASKED, "sun elevation unknown")
def _(folder: Path) -> list[str]:
    return mtl(folder, lambda text: re.sub(r"SUN_ELEVATION = .*", "SUN_ELEVATION = NaN", text))


@case("product", "the sun below the horizon", 1, "without sunlight shows no clouds")
def _(folder: Path) -> list[str]:
    return mtl(folder, lambda text: text.replace("SUN_ELEVATION = 50", "SUN_ELEVATION = -3"))


@case("product", "an MTL file that says every group twice", MASKED)
def _(folder: Path) -> list[str]:
    def twice(text: str) -> str:
        head, middle, end = text.partition("\n")[0], text.partition("\n")[2].rpartition("END_GROUP")[0], text
        return f"{head}\n{middle}{middle}END_GROUP{end.rpartition('END_GROUP')[2]}"

    return mtl(folder, twice)


@case("product", "Landsat MSS, which has no blue band", 1, "no blue")
def _(folder: Path) -> list[str]:
    name = "LM05_L1TP_033033_19840503_20200902_02_T2"
    return bands(folder, f"{name}_{{}}.TIF", ("B1", "B2", "B3", "B4"))


@case("product", "reflectance under the names of Level-2 bands", MASKED, "cannot be that; read as reflectance")
def _(folder: Path) -> list[str]:
    (folder / "bands").mkdir()
    for number, band in zip((4, 3, 2, 5), ramp(), strict=True):
        write_tif(folder / "bands" / f"{NAME.replace('L1TP', 'L2SP')}_SR_B{number}.TIF", band[None])
    return [str(folder / "bands")]


@case("product", "bands named by colour", MASKED)
def _(folder: Path) -> list[str]:
    return bands(folder, "{}.tif", NAMES)


# Archives.


def tar(folder: Path, change: Callable[[tarfile.TarFile, Path], None], whole: bool = True) -> list[str]:
    made = product(folder)
    with tarfile.open(folder / f"{NAME}.tar", "w") as archive:
        for file in sorted(made.iterdir()) if whole else []:
            archive.add(file, file.name)
        change(archive, made)
    return [str(folder / f"{NAME}.tar")]


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **header: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in header.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


@case("archive", "a tar with a member named ../../x beside the bands", MASKED)
def _(folder: Path) -> list[str]:
    return tar(folder, lambda archive, made: add(archive, f"../../{NAME}_B1.TIF", b"x"))


@case("archive", "a tar of bands with absolute paths", 1, "no Landsat band files")
def _(folder: Path) -> list[str]:
    def bands(archive: tarfile.TarFile, made: Path) -> None:
        for file in made.glob("*.TIF"):
            add(archive, f"/{file.name}", file.read_bytes())

    return tar(folder, bands, whole=False)


for kind, header in {
    "symbolic links": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard links": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
    "device nodes": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "named pipes": {"type": tarfile.FIFOTYPE},
}.items():

    @case("archive", f"a tar whose bands are {kind}", 1, "no Landsat band files")
    def _(folder: Path, header: dict[str, Any] = header) -> list[str]:
        def links(archive: tarfile.TarFile, made: Path) -> None:
            for number in range(2, 6):
                add(archive, f"{NAME}_B{number}.TIF", **header)

        return tar(folder, links, whole=False)


@case("archive", "an archive in an archive", 1, "no Landsat band files")
def _(folder: Path) -> list[str]:
    (inner,) = tar(folder, lambda archive, made: None)
    with tarfile.open(folder / "outer.tar", "w") as archive:
        archive.add(inner, "inner.tar")
    return [str(folder / "outer.tar")]


@case("archive", "a tar that is cut off", 1, "damaged or cut off")
def _(folder: Path) -> list[str]:
    (path,) = tar(folder, lambda archive, made: None)
    whole = Path(path).read_bytes()
    with tarfile.open(path) as archive:
        end = max(m.offset_data + m.size for m in archive if m.name.endswith("_B5.TIF"))
    Path(path).write_bytes(whole[: end - 9000])
    return [path]


@case("archive", "a zip with a wrong checksum", 1, "cannot be read")
def _(folder: Path) -> list[str]:
    made = product(folder)
    path = folder / f"{NAME}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(made.iterdir()):
            archive.write(file, file.name)
        at = archive.getinfo(f"{NAME}_MTL.txt").header_offset + 200
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    return [str(path)]


@case("archive", "a zip with an entry without a name", 1, "cannot be read as an archive")
def _(folder: Path) -> list[str]:
    path = folder / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\x01", "nothing")
    path.write_bytes(path.read_bytes().replace(b"\x01", b"\x00"))
    return [str(path)]


@case("archive", "a zip of one raster", MASKED)
def _(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(stack(folder), "in/scene.tif")
    return [str(folder / "a.zip")]


@case("archive", "a zip of two rasters", 1, "it holds 2 rasters: name one of them, such as /vsizip/")
def _(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name in ("a.tif", "b.tif"):
            archive.write(stack(folder, name=name), name)
    return [str(folder / "a.zip")]


@case("archive", "a plain tar named .tar.gz", MASKED)
def _(folder: Path) -> list[str]:
    (path,) = tar(folder, lambda archive, made: None)
    return [str(Path(path).rename(folder / f"{NAME}.tar.gz"))]


@case("archive", "an archive of something else", 1, "no Landsat band files")
def _(folder: Path) -> list[str]:
    return tar(folder, lambda archive, made: add(archive, "readme.txt", b"hello"), whole=False)


@case("archive", "a bomb: some kilobytes that say they are 400 000 by 400 000 pixels", 1, "too wide")
def _(folder: Path) -> list[str]:
    path = folder / f"{NAME}_B4.TIF"
    for number in range(2, 6):
        band = path.with_name(f"{NAME}_B{number}.TIF")
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": UTM, "transform": geobox().transform}
        with rasterio.open(
            band, "w", **profile, height=400_000, width=400_000, tiled=True, blockxsize=4096, blockysize=4096,
            SPARSE_OK=True, BIGTIFF="YES",
        ):  # fmt: skip
            pass
    with tarfile.open(folder / "bomb.tar.gz", "w:gz") as archive:
        for number in range(2, 6):
            archive.add(path.with_name(f"{NAME}_B{number}.TIF"), f"{NAME}_B{number}.TIF")
    return [str(folder / "bomb.tar.gz")]


# Sentinel-2.


for name in (L1C, L2A):

    @case("sentinel-2", f"a .SAFE product of Level-{'2A' if name == L2A else '1C'}", MASKED)
    def _(folder: Path, name: str = name) -> list[str]:
        return [str(write_safe(folder, numbers(ramp()), name))]


@case("sentinel-2", "a zip of a .SAFE product", MASKED)
def _(folder: Path) -> list[str]:
    return [str(pack(write_safe(folder, numbers(ramp())), folder / f"{L1C}.zip"))]


@case("sentinel-2", "a .SAFE product without B08", 1, "no nir (B08) at 10 m")
def _(folder: Path) -> list[str]:
    made = write_safe(folder, numbers(ramp()))
    next(made.rglob("IMG_DATA/*_B08.jp2")).unlink()
    return [str(made)]


@case("sentinel-2", "a .SAFE product without its metadata", 1, "no product metadata")
def _(folder: Path) -> list[str]:
    made = write_safe(folder, numbers(ramp()))
    (made / "MTD_MSIL1C.xml").unlink()
    return [str(made)]


@case("sentinel-2", "an old .SAFE product of two granules", 1, "name the folder of one")
def _(folder: Path) -> list[str]:
    return [str(write_safe(folder, numbers(ramp()), OLD, tiles=("T33UXP", "T33UYP")))]


@case("sentinel-2", "a band in JPEG 2000 that is cut off", 1, "_B03.jp2: ")
def _(folder: Path) -> list[str]:
    made = write_safe(folder, numbers(ramp()))
    band = next(made.rglob("IMG_DATA/*_B03.jp2"))
    band.write_bytes(band.read_bytes()[:600])
    return [str(made)]


for what, text, says in (
    ("that are cut off", product_text()[:900], "damaged or cut off"),
    ("of 5 MB", product_text() + " " * 5_000_000, "that is no metadata file"),
    (
        "that hold a bomb of entities",
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>',
        "has a DOCTYPE",
    ),
    (
        "that ask for a file of this machine",
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        "has a DOCTYPE",
    ),
):

    @case("sentinel-2", f"metadata {what}", 1, says)
    def _(folder: Path, text: str = text) -> list[str]:
        return [str(write_safe(folder, numbers(ramp()), text=text))]


@case("sentinel-2", "bare bands, B8A among them", MASKED, "bands of Sentinel-2 by their names")
def _(folder: Path) -> list[str]:
    return bands(folder, "{}.tif", ("B04", "B03", "B02", "B8A"))


@case("sentinel-2", "bare bands of two tiles in one folder", 1, "2 products in one place")
def _(folder: Path) -> list[str]:
    (place,) = bands(folder, "T33UXP_20230823T095559_{}.tif", ("B04", "B03", "B02", "B08"))
    for file in list(Path(place).iterdir()):
        (Path(place) / file.name.replace("XP", "YP")).write_bytes(file.read_bytes())
    return [place]


HLS = "HLS.S30.T15TWM.2021191T170851.v2.0"


@case("hls", "a granule", MASKED)
def _(folder: Path) -> list[str]:
    return bands(folder, f"{HLS}.{{}}.tif", ("B04", "B03", "B02", "B8A"), "int16")


@case("hls", "a granule without B8A", 1, "no nir (B8A)")
def _(folder: Path) -> list[str]:
    return bands(folder, f"{HLS}.{{}}.tif", ("B04", "B03", "B02"), "int16")


# Rasters.


@case("raster", "1 by 1 pixel", MASKED)
def _(folder: Path) -> list[str]:
    return [stack(folder, ramp(1, 1))]


@case("raster", "1 by 100 000 pixels", MASKED)
def _(folder: Path) -> list[str]:
    return [stack(folder, ramp(1, 100_000))]


@case("raster", "100 000 by 1 pixels", MASKED)
def _(folder: Path) -> list[str]:
    return [stack(folder, ramp(100_000, 1))]


@case("raster", "no band", 1, "cannot be opened as a raster")
def _(folder: Path) -> list[str]:
    (folder / "scene.vrt").write_text('<VRTDataset rasterXSize="9" rasterYSize="9"></VRTDataset>')
    return [str(folder / "scene.vrt")]


@case("raster", "3 bands", 1, "3 band(s)")
def _(folder: Path) -> list[str]:
    return [stack(folder, ramp()[:3])]


def land(blue_first: bool = False) -> np.ndarray:
    """Reflectance × 10 000 from plants to bare soil, which tells red from blue."""
    share = ((ramp() - 0.05) % 0.01 * 100)[:1]
    ends = zip((0.03, 0.05, 0.03, 0.4), (0.25, 0.18, 0.12, 0.32), strict=True)
    image = np.concatenate([plants + share * (soil - plants) for plants, soil in ends])
    return np.rint(image[[2, 1, 0, 3] if blue_first else [0, 1, 2, 3]] * 1e4).astype("uint16")


@case("raster", "four bands without names, of which the pixels tell that blue is first", MASKED, "read as blue, green")
def _(folder: Path) -> list[str]:
    return [stack(folder, land(blue_first=True), descriptions=None)]


@case("raster", "four bands without names, of which the pixels leave doubt", 1, "--bands 3,2,1,4")
def _(folder: Path) -> list[str]:
    return [stack(folder, descriptions=None)]


@case("raster", "four bands of 8 bits without names", 1, "and, of 8 bits, --units scaled-8bit")
def _(folder: Path) -> list[str]:
    return [stack(folder, (ramp() * 255).astype("uint8"), descriptions=None, photometric="minisblack")]


@case("raster", "near-infrared of 8 bits that is marked alpha", 1, "varies as near-infrared does")
def _(folder: Path) -> list[str]:
    return [stack(folder, (ramp() * 255).astype("uint8"), descriptions=None)]


@case("raster", "an alpha band named in --bands", 1, "is alpha (transparency), not light")
def _(folder: Path) -> list[str]:
    values = (ramp() * 255).astype("uint8")
    values[3] = 255
    return [stack(folder, values, descriptions=None), "--bands", "1,2,3,4", "--units", "scaled-8bit"]


@case("raster", "twelve bands without names", 1, "if they are Sentinel-2's from B01, 4,3,2,8")
def _(folder: Path) -> list[str]:
    return [stack(folder, np.resize(land(), (12, 90, 110)))]


@case("raster", "PlanetScope radiance without its coefficients", 1, "put it there, or say --scale and --offset")
def _(folder: Path) -> list[str]:
    return [stack(folder, land(), "20240701_103015_12_2465_3B_AnalyticMS.tif", descriptions=None)]


@case("raster", "200 bands without names", 1, "say --bands")
def _(folder: Path) -> list[str]:
    return [stack(folder, np.repeat(ramp(), 50, 0))]


for dtype in ("complex64", "int8"):
    refused = dtype == "complex64"

    @case(
        "raster",
        f"values of type {dtype}",
        1 if refused else MASKED,
        "are no reflectance" if refused else "",
    )
    def _(folder: Path, dtype: str = dtype) -> list[str]:
        return [stack(folder, (ramp() * 100).astype(dtype)), "--scale", "0.01"]


for what, value, dtype in (
    ("NaN", np.nan, "float32"),
    ("infinite", np.inf, "float32"),
    ("no data", 0, "uint16"),
):

    @case("raster", f"all pixels are {what}", MASKED, expect=lambda mask: (mask == 255).all())
    def _(folder: Path, value: float = value, dtype: str = dtype) -> list[str]:
        extra = ["--scale", "0.0001"] if dtype == "uint16" else []
        return [stack(folder, np.full((4, 90, 110), value, dtype)), *extra]


def lost(mask: np.ndarray) -> bool:
    return bool(mask[7, 9] == 255) and int((mask == 255).sum()) == 1


for what, value in (("NaN", np.nan), ("infinite", np.inf), ("minus infinite", -np.inf)):

    def _change(values: np.ndarray, value: float = value) -> None:
        values[2, 7, 9] = value

    case("raster", f"one pixel of one band is {what}", MASKED, expect=lost)(one(_change))


def _fill(value: float) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[:] = value

    return change


case("raster", "all pixels saturated (65535)", MASKED, "are the units right")(one(_fill(65535), "uint16"))
case("raster", "all pixels the same", MASKED)(one(_fill(0.3)))
case("raster", "all pixels below zero", MASKED)(one(_fill(-0.1)))
case("raster", "values far beyond reflectance", 1, "nothing tells what the values mean")(one(_fill(3e8)))


@case("raster", "four bands of numbers from 0 to 1500", 1, "too dark for reflectance × 10 000")
def _(folder: Path) -> list[str]:
    return [stack(folder, np.random.default_rng(3).integers(0, 1501, (4, 90, 110)).astype("uint16"))]


@case("raster", "a raster in a zip, by the name that GDAL has for it", MASKED)
def _(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(stack(folder), "in/scene.tif")
    return [f"/vsizip/{folder}/a.zip/in/scene.tif"]


@case("raster", "one of GDAL's names that leads nowhere", 1, "cannot be opened as a raster")
def _(folder: Path) -> list[str]:
    return [f"GTIFF_DIR:7:{stack(folder)}"]


@case("raster", "two dates of the same bands", 1, "'red' occurs 2 times (bands 1, 5)")
def _(folder: Path) -> list[str]:
    return [stack(folder, np.resize(land(), (8, 90, 110)), descriptions=NAMES * 2)]


@case("raster", "B2 to B8, which may be Sentinel-2's or Landsat's", 1, "say --units sentinel2 or --units landsat-l2")
def _(folder: Path) -> list[str]:
    return [stack(folder, np.resize(land(), (7, 90, 110)), descriptions=[f"B{n}" for n in range(2, 9)])]


@case("raster", "four bands without names, and their order in letters", MASKED)
def _(folder: Path) -> list[str]:
    return [stack(folder, descriptions=None), "--bands", "bgrn"]


@case("raster", "a virtual raster whose source is gone", 1, "gone.tif, of which it is made, does not exist")
def _(folder: Path) -> list[str]:
    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{i}"><Description>{name}</Description><SimpleSource><SourceFilename '
        f'relativeToVRT="1">gone.tif</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>'
        for i, name in enumerate(NAMES, 1)
    )
    (folder / "scene.vrt").write_text(f'<VRTDataset rasterXSize="110" rasterYSize="90">{bands}</VRTDataset>')
    return [str(folder / "scene.vrt")]


@case("raster", "reflectance that still carries its scale", MASKED, "cannot be that; read as reflectance")
def _(folder: Path) -> list[str]:
    return [stack(folder, scales=[1e-4] * 4)]


@case("raster", "0 to 65535 for reflectance of 0 to 1", 1, "scaled-16bit (0 to 65535 for 0 to 1)")
def _(folder: Path) -> list[str]:
    return [stack(folder, np.rint(ramp() * 65535).astype("uint16"))]


# Where pixels are.


for what, transform in {
    "rotated": geobox().transform @ Affine.rotation(30),
    "with south up": Affine(30, 0, 499_980, 0, 30, 5_400_040),
    "mirrored": Affine(-30, 0, 499_980, 0, -30, 5_400_040),
}.items():

    @case("place", f"a geotransform {what}", MASKED)
    def _(folder: Path, transform: Affine = transform) -> list[str]:
        return [stack(folder, grid=GeoBox(90, 110, transform, UTM))]


for what, crs, transform in (
    ("in degrees", 4326, Affine(0.0003, 0, 12, 0, -0.0003, 48)),
    ("across the antimeridian", 32601, Affine(30, 0, 200_000, 0, -30, 7_000_000)),
    ("in polar stereographic", 3031, Affine(30, 0, 100_000, 0, -30, 100_000)),
):

    @case("place", f"a scene {what}", MASKED)
    def _(folder: Path, crs: int = crs, transform: Affine = transform) -> list[str]:
        return [
            stack(folder, grid=GeoBox(90, 110, transform, CRS.from_epsg(crs))),
            "--polygons",
            str(folder / "out" / "clouds.gpkg"),
        ]


@case("place", "pixels without area, by the geotransform", 1, "gives its pixels no area")
def _(folder: Path) -> list[str]:
    path = folder / "scene.vrt"
    stack(folder)
    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">scene.tif'
        f"</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
        for i in range(1, 5)
    )
    path.write_text(
        '<VRTDataset rasterXSize="110" rasterYSize="90"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000, 30, 0, 5400000, 30, 0</GeoTransform>{bands}</VRTDataset>"
    )
    return [str(path)]


@case("raster", "band descriptions that are not UTF-8", 1, "four bands without names")
def _(folder: Path) -> list[str]:
    path = Path(stack(folder, descriptions=("rXd", "grXn", "blXu", "nXr")))
    path.write_bytes(path.read_bytes().replace(b"rXd", b"r\xf6d").replace(b"grXn", b"gr\xfcn"))
    return [str(path)]


@case("place", "no CRS", MASKED)
def _(folder: Path) -> list[str]:
    return [stack(folder, grid=geobox(crs=None))]


@case("place", "no CRS, and a buffer in metres", 1, "need a scene whose pixel size is known")
def _(folder: Path) -> list[str]:
    return [stack(folder, grid=geobox(crs=None)), "--buffer", "90"]


@case("place", "ground control points only", MASKED, "ground control points only")
def _(folder: Path) -> list[str]:
    path = stack(folder, grid=GeoBox(90, 110, Affine.identity(), None))
    points = [GroundControlPoint(r, c, 5e5 + 30 * c, 5.4e6 - 30 * r) for r in (0, 90) for c in (0, 110)]
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = points, UTM
    return [path]


@case("place", "RPCs only", MASKED, "RPCs only")
def _(folder: Path) -> list[str]:
    path = stack(folder, grid=GeoBox(90, 110, Affine.identity(), None))
    some = [1.0] + 19 * [0.0]
    numbers = {"height_off": 0, "height_scale": 1, "lat_off": 48, "lat_scale": 1, "line_off": 45, "line_scale": 45}
    numbers |= {"long_off": 12, "long_scale": 1, "samp_off": 55, "samp_scale": 55}
    coefficients = {f"{key}_coeff": some for key in ("line_den", "line_num", "samp_den", "samp_num")}
    with rasterio.open(path, "r+") as dataset:
        dataset.rpcs = RPC(**numbers, **coefficients, err_bias=None, err_rand=None)
    return [path]


for size, code, more in ((0.5, MASKED, ""), (200, MASKED, ""), (1000, 1, ""), (1000, MASKED, "native")):

    @case("place", f"pixels of {size:g} m{', insisted on' if more else ''}", code, "trained at 30 to 60 m")
    def _(folder: Path, size: float = size, more: str = more) -> list[str]:
        grid = GeoBox(90, 110, Affine(size, 0, 5e5, 0, -size, 5.4e6), UTM)
        return [stack(folder, grid=grid), *(["--working-resolution", more] if more else [])]


# Names and destinations.


for name in ("a b.tif", "Wölkchen ☁.tif", 'it\'s "one".tif', "100%d %s.tif", "-dash.tif", "x" * 240 + ".tif"):
    shown = name if len(name) < 40 else "of 244 letters"

    @case("name", f"a file named {shown}", MASKED)
    def _(folder: Path, name: str = name) -> list[str]:
        return ["--", stack(folder, name=name)]


for length in (244, 300):

    @case("destination", f"a name of {length} letters", 1, f"a name of {length} bytes, too long")
    def _(folder: Path, length: int = length) -> list[str]:
        return [stack(folder), "-o", str(folder / "out" / ("x" * (length - 4) + ".tif"))]


for name in ("m.jpg", "masks.v2"):

    @case("destination", f"a mask named {name}", 1, "rasters are written as GeoTIFFs")
    def _(folder: Path, name: str = name) -> list[str]:
        return [stack(folder), "-o", str(folder / "out" / name)]


@case("destination", "the scene itself", 1, "is the scene itself")
def _(folder: Path) -> list[str]:
    path = stack(folder)
    return [path, "-o", path, "--overwrite"]


@case("destination", "a symbolic link to the scene", 1, "is the scene itself")
def _(folder: Path) -> list[str]:
    path = stack(folder)
    (folder / "link.tif").symlink_to(path)
    return [path, "-o", str(folder / "link.tif"), "--overwrite"]


@case("destination", "a band of the product", 1, "is the scene itself")
def _(folder: Path) -> list[str]:
    made = product(folder)
    return [str(made), "-o", str(made / f"{NAME}_B4.TIF"), "--overwrite"]


@case("destination", "a file that is there", 1, "exists already")
def _(folder: Path) -> list[str]:
    (folder / "old.tif").write_text("old")
    return [stack(folder), "-o", str(folder / "old.tif")]


@case("destination", "the mask and the probability in one file", 1, "two outputs are the same file")
def _(folder: Path) -> list[str]:
    out = str(folder / "out" / "x.tif")
    return [stack(folder), "-o", out, "--probability", out]


@case("destination", "under a file", 1, "does not exist")
def _(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return [stack(folder), "-o", str(folder / "file" / "m.tif")]


@case("destination", "a folder that cannot be written to", 1, "cannot be written")
def _(folder: Path) -> list[str]:
    return [stack(folder), "-o", "/proc/geocloud.tif"]


@case("destination", "the source cannot be written to", MASKED)
def _(folder: Path) -> list[str]:
    path = stack(folder)
    os.chmod(path, 0o400)  # noqa: PTH101
    return [path]


# Models.


def model(folder: Path, change: Callable[[bytes], bytes]) -> list[str]:
    path = folder / "m.safetensors"
    small().save(path)
    path.write_bytes(change(path.read_bytes()))
    return [stack(folder), "--model", str(path)]


def _flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 0x10]) + data[-4:]


@case("model", "no model of that name", 1, "no bundled model of that name")
def _(folder: Path) -> list[str]:
    return [stack(folder), "--model", "best"]


@case("model", "a checkpoint that is cut off", 1, "no safetensors file, or a damaged one")
def _(folder: Path) -> list[str]:
    return model(folder, lambda data: data[:-99])


@case("model", "a checkpoint of which one bit is flipped", 1, "damaged or tampered with")
def _(folder: Path) -> list[str]:
    return model(folder, _flip)


@case("model", "weights of another architecture", 1, "do not fit")
def _(folder: Path) -> list[str]:
    network = small()
    network.body = small("unet").body
    network.save(folder / "m.safetensors")
    return [stack(folder), "--model", str(folder / "m.safetensors")]


@case("model", "an architecture that does not exist", 1, "no architecture 'othe'")
def _(folder: Path) -> list[str]:
    path = folder / "m.safetensors"
    small().save(path)
    data = path.read_bytes().replace(b'\\"architecture\\": \\"fast\\"', b'\\"architecture\\": \\"oth\\" ')
    path.write_bytes(data.replace(b'\\"oth\\" ', b'\\"oth_\\"').replace(b"oth_", b"othe"))
    return [stack(folder), "--model", str(path)]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(os.environ["GEOCLOUD_EVIL"]),))


@case("model", "a pickle, which would run code if it were loaded", 1, "no safetensors file")
def _(folder: Path) -> list[str]:
    os.environ["GEOCLOUD_EVIL"] = str(folder / "out" / "evil")
    (folder / "m.pt").write_bytes(pickle.dumps(Evil()))
    return [stack(folder), "--model", str(folder / "m.pt")]
