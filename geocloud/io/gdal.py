"""GDAL options for opening rasters, and GDAL's dataset names."""

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
"""Exceptions raised by rasterio: its own, GDAL errors that it does not wrap, UnicodeDecodeError for invalid UTF-8."""

CACHE = 32 * 2**20

OPTIONS: dict[str, Any] = {
    "session": DummySession(),  # otherwise rasterio spends 20 ms on a boto3 session if AWS_ACCESS_KEY_ID is set
    "GDAL_CACHEMAX": CACHE,  # bytes; the default, 5 % of the machine's memory, is no faster
    "CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO",  # otherwise GDAL writes NAME.tar.gz.properties next to the source
}
"""Arguments of `rasterio.Env` for reading and writing rasters: a session and GDAL options."""


def open_quietly(path: str | Path, mode: str = "r", **profile: Any) -> Any:
    """`rasterio.open` without the warning about missing georeferencing, which 38-Cloud and its masks lack."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **profile)


NAME = re.compile(r"/vsi\w+[/?].*|[A-Za-z][A-Za-z0-9_]+:(?!//).+", re.DOTALL)


def is_gdal_name(source: str | Path) -> bool:
    """True for a GDAL dataset name that is not the path of a file.

    These are ``/vsizip/…``, ``/vsicurl/…`` and so on, and ``DRIVER:…``: ``GTIFF_DIR:2:FILE``, ``NETCDF:"FILE":DATA``.
    """
    return bool(NAME.fullmatch(str(source))) and not _on_disk(str(source))


def file_of(name: str) -> str | None:
    """Path or URL of the file that a GDAL dataset name refers to; None if it cannot be determined.

    ``/vsizip//data/a.zip/b.tif`` → ``/data/a.zip``; ``/vsicurl/https://host/a.tif`` → ``https://host/a.tif``.
    """
    parts = [name] if name.startswith("/vsi") else [*name.split('"')[1::2], *_fields(name), name.split(":", 2)[-1]]
    for part in parts:
        path = re.sub(r"^(?:/?vsi(?!s3/|gs/|az/)\w+/)+(?=.)", "", re.sub("[{}]", "", part))  # braces enclose archives
        path = re.sub(r"^/?vsi(s3|gs|az)/", r"\1://", path)
        if re.match(r"https?://|s3://|gs://|az://", path):
            archive = re.match(r".*?\.(?:zip|tar|tgz|tar\.gz)(?=/)", path)  # followed by a file in it
            return archive[0] if archive else path
        here = PurePath(path)  # splits at backslashes, too, on Windows
        if file := next((p for p in map(str, (here, *here.parents)) if _on_disk(p) and Path(p).is_file()), None):
            return file
    return None


def stem_of(name: str) -> str:
    """Short name for display: ``scene`` for ``/vsizip/a.zip/scene.tif``, ``2_scene`` for ``GTIFF_DIR:2:scene.tif``."""
    parts = [name] if name.startswith("/vsi") else _fields(name)
    parts = [part.strip('"').partition("?")[0] for part in parts if not part.endswith(("http", "https"))]
    stems = [PurePath(part).stem for part in parts]
    return re.sub(r"[^\w.\-]+", "_", "_".join(filter(None, stems))).strip("_") or "scene"


def _fields(name: str) -> list[str]:
    """Parts of ``DRIVER:…:…`` after the driver."""
    return name.split(":")[1:]


def _on_disk(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
