"""GDAL options and dataset names with which all rasters are opened, without the warning about georeferencing."""

from __future__ import annotations

import re
import warnings
from pathlib import Path, PurePath
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.session import DummySession

TROUBLE = (RasterioError, CPLE_BaseError, UnicodeDecodeError)
"""Exceptions of rasterio: its own errors, GDAL's that it does not wrap, UnicodeDecodeError for text not in UTF-8."""

CACHE = 32 * 2**20

OPTIONS: dict[str, Any] = {
    "session": DummySession(),  # or rasterio makes one of boto3 each time where AWS_ACCESS_KEY_ID is set: 20 ms
    "GDAL_CACHEMAX": CACHE,  # bytes; the default is 5 % of the machine's memory and no faster
    "CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO",  # or GDAL writes NAME.tar.gz.properties beside the source
}
"""Arguments of `rasterio.Env` wherever geocloud reads or writes rasters: GDAL options, but for the session."""


def open_quietly(path: str | Path, mode: str = "r", **profile: Any) -> Any:
    """`rasterio.open` without the warning about missing georeferencing: 38-Cloud and its masks have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **profile)


NAME = re.compile(r"/vsi\w+[/?].*|[A-Za-z][A-Za-z0-9_]+:(?!//).+", re.DOTALL)


def is_gdal_name(source: str | Path) -> bool:
    """True for what GDAL opens and no disk has under that name.

    That is ``/vsizip/…``, ``/vsicurl/…`` and the like, and ``DRIVER:…``: ``GTIFF_DIR:2:FILE``, ``NETCDF:"FILE":DATA``.
    """
    return bool(NAME.fullmatch(str(source))) and not _on_disk(str(source))


def file_of(name: str) -> str | None:
    """The file on a disk, or the URL, that one of GDAL's names is about; None where it cannot be told.

    ``/vsizip//data/a.zip/b.tif`` → ``/data/a.zip``; ``/vsicurl/https://there/a.tif`` → ``https://there/a.tif``.
    """
    parts = [name] if name.startswith("/vsi") else [*name.split('"')[1::2], *_fields(name), name.split(":", 2)[-1]]
    for part in parts:
        path = re.sub(r"^(?:/?vsi(?!s3/|gs/|az/)\w+/)+(?=.)", "", re.sub("[{}]", "", part))  # braces: an archive's name
        path = re.sub(r"^/?vsi(s3|gs|az)/", r"\1://", path)
        if re.match(r"https?://|s3://|gs://|az://", path):
            archive = re.match(r".*?\.(?:zip|tar|tgz|tar\.gz)(?=/)", path)  # and a file in it
            return archive[0] if archive else path
        here = PurePath(path)  # on Windows also with backslashes
        if file := next((p for p in map(str, (here, *here.parents)) if _on_disk(p) and Path(p).is_file()), None):
            return file
    return None


def stem_of(name: str) -> str:
    """A short name for people: ``scene`` of ``/vsizip/a.zip/scene.tif``, ``2_scene`` of ``GTIFF_DIR:2:scene.tif``."""
    parts = [name] if name.startswith("/vsi") else _fields(name)
    parts = [part.strip('"').partition("?")[0] for part in parts if not part.endswith(("http", "https"))]
    stems = [PurePath(part).stem for part in parts]
    return re.sub(r"[^\w.\-]+", "_", "_".join(filter(None, stems))).strip("_") or "scene"


def _fields(name: str) -> list[str]:
    """The parts of ``DRIVER:…:…`` after the driver."""
    return name.split(":")[1:]


def _on_disk(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
