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

ARCHIVED = r".*?\.(?:zip|tar|tgz|tar\.gz)(?=/)"
"""An archive, at the beginning of the path of a file in it."""


def is_gdal_name(source: str | Path) -> bool:
    """True for what GDAL opens and no disk has under that name.

    That is ``/vsizip/…``, ``/vsicurl/…`` and the like, and ``DRIVER:…``: ``GTIFF_DIR:2:FILE``, ``NETCDF:"FILE":DATA``.
    """
    return bool(NAME.fullmatch(str(source))) and not _on_disk(str(source))


def file_of(name: str) -> str | None:
    """The file on a disk, or the address, that one of GDAL's names is about; None where it cannot be told.

    ``/vsizip//data/a.zip/b.tif`` → ``/data/a.zip``; ``/vsicurl/https://there/a.tif`` → ``https://there/a.tif``.
    """
    parts = [name] if name.startswith("/vsi") else [*re.findall(r'"([^"]+)"', name), *name.split(":")[1:]]
    if not name.startswith("/vsi"):
        parts.append(name.split(":", 2)[-1])  # GTIFF_DIR:2:FILE, whatever is in FILE
    return next((file for part in parts if (file := _file_in(part))), None)


def _file_in(path: str) -> str | None:
    """The file of a path that may begin with ``/vsi…/`` and go on inside an archive."""
    path = path.replace("{", "").replace("}", "")  # GDAL's way to mark where an archive's name ends
    while found := re.match(r"/?vsi(\w+)/(.*)", path, re.DOTALL):
        if found[1] in ("s3", "gs", "az"):
            archive = re.match(ARCHIVED, found[2])
            return f"{found[1]}://{archive[0] if archive else found[2]}"
        path = found[2]
    if re.match(r"https?://", path):
        archive = re.match(ARCHIVED, path)
        return archive[0] if archive else path
    here = PurePath(path)  # on Windows also with backslashes
    return next((str(place) for place in (here, *here.parents) if _on_disk(str(place)) and Path(place).is_file()), None)


def stem_of(name: str) -> str:
    """A short name for people: ``scene`` of ``/vsizip/a.zip/scene.tif``, ``2_scene`` of ``GTIFF_DIR:2:scene.tif``."""
    parts = [name] if name.startswith("/vsi") else name.split(":")[1:]
    parts = [part.strip('"').partition("?")[0] for part in parts if not part.endswith(("http", "https"))]
    stems = [PurePath(part).stem for part in parts]
    return re.sub(r"[^\w.\-]+", "_", "_".join(stem for stem in stems if stem)).strip("_") or "scene"


def _on_disk(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
