"""Remote files: ``https://``, ``s3://``, ``gs://`` and ``az://``.

GDAL reads remote rasters itself; this is for all else: texts, lists of files, uploads, and the contents of archives.
GDAL can list and read these stores, too, but rasterio offers neither. Each store has a module of its own, which tells
why it uses the library that it uses. Logins and servers are named by environment variables: see docs/scaling.md.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

from geocloud.errors import GeocloudError, OutputError, SceneNotFoundError, SceneReadError
from geocloud.io.patience import RETRIES, TIMEOUT

STORES = {"s3": "vsis3", "gs": "vsigs", "az": "vsiaz"}
"""Object stores, which can be listed and written: scheme → GDAL's name for it."""
SCHEMES = ("https", "http", *STORES)
FILES = (".tif", ".tiff", ".jp2", ".img", ".vrt", ".tar", ".tar.gz", ".tgz", ".zip")
CHUNK = 64 * 2**10
"""Bytes that are requested at a time from a file that is read in parts."""

READING = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # or GDAL requests sidecar files that do not exist
    "GDAL_HTTP_MAX_RETRY": str(RETRIES),  # of 429, 500, 502, 503, 504, resets and timeouts
    "GDAL_HTTP_RETRY_DELAY": "1",  # seconds; about twice as many before each further one
    "GDAL_HTTP_TIMEOUT": str(TIMEOUT),
    "VSI_CACHE": "TRUE",
}
"""GDAL options for remote rasters; variables of these names in the environment take their place."""

FORGETTING = {
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/{name}/" for name in ("vsicurl", *STORES.values())),
    "GDAL_HTTP_MAX_RETRY": "0",
}
"""GDAL options with which it forgets, when it closes a raster, what it has fetched of it."""


def is_remote(source: str | Path) -> bool:
    """True for a URL of one of `SCHEMES`."""
    return isinstance(source, str) and "://" in source and source.partition("://")[0].lower() in SCHEMES


def is_store(source: str | Path) -> bool:
    """True for the URL of an object store, which has folders and can be written."""
    return isinstance(source, str) and source.startswith(tuple(f"{scheme}://" for scheme in STORES))


def names_file(url: str) -> bool:
    """True for a URL with the extension of a raster or archive; in stores other names with dots are folders."""
    return urlparse(url).path.lower().endswith(FILES)


def gdal_name(url: str) -> str:
    """GDAL's name for the file at a URL."""
    scheme, _, rest = url.partition("://")
    return f"/{STORES[scheme]}/{rest}" if scheme in STORES else f"/vsicurl/{url}"


def gdal_options(*paths: str) -> dict[str, Any]:
    """Further arguments of `rasterio.Env` for rasters at these URLs or under these of GDAL's names; {} for disks."""
    remote = [path for path in paths if is_remote(path) or "/vsicurl" in path or _in_store(path)]
    if not remote:
        return {}
    found: dict[str, Any] = {name: value for name, value in READING.items() if name not in os.environ}
    if any(path.startswith("s3://") or "/vsis3/" in path for path in remote):
        from geocloud.io import s3

        found |= s3.gdal_options()
    return found


def read_bytes(url: str) -> bytes:
    """A whole file. Raises SceneNotFoundError, SceneReadError, DependencyError."""
    try:
        data: bytes = _client(url).read(url)
    except Exception as error:
        raise _explained(url, error) from error
    return data


def identity(url: str) -> str:
    """What changes with the file: its ETag, or else its date and size. Raises as `read_bytes` does."""
    try:
        return str(_client(url).about(url)[1])
    except Exception as error:
        raise _explained(url, error) from error


def open_file(url: str) -> io.BufferedReader:
    """A file of which only those parts are fetched that are read. Raises as `read_bytes` does, reading too."""
    return io.BufferedReader(_Parts(url), CHUNK)


def list_files(url: str) -> list[str]:
    """The URLs of all files in a store's folder, which ends with a slash. Raises as `read_bytes` does."""
    try:
        found: list[str] = _client(url).list_files(url)
    except Exception as error:
        raise _explained(url, error) from error
    return found


def upload(path: Path, url: str) -> None:
    """Uploads a file to a store, whole or not at all. Raises OutputError, DependencyError."""
    try:
        _client(url).upload(path, url)
    except Exception as error:
        if isinstance(error, GeocloudError):
            raise
        raise OutputError(f"{url}: {path.name} cannot be uploaded ({_reason(error)})") from error


class _Parts(io.RawIOBase):
    """A remote file that can be read from any place."""

    def __init__(self, url: str) -> None:
        self._url, self._at = url, 0
        try:
            self._size: int = _client(url).about(url)[0]
        except Exception as error:
            raise _explained(url, error) from error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        try:
            data = _client(self._url).read(self._url, self._at, stop)
        except Exception as error:
            raise _explained(self._url, error) from error
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _client(url: str) -> ModuleType:
    """The module for a URL's scheme; it has ``read`` and ``about``, that of a store ``list_files`` and ``upload``."""
    from geocloud.io import s3, stores, web

    return {"s3": s3, "gs": stores, "az": stores}.get(url.partition("://")[0], web)


def _in_store(path: str) -> bool:
    return any(f"/{name}/" in path for name in STORES.values())


def _explained(url: str, error: Exception) -> Exception:
    if isinstance(error, GeocloudError):
        return error
    status = getattr(error, "code", None)
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status == 404 or isinstance(error, FileNotFoundError):
        return SceneNotFoundError(f"{url}: not found")
    return SceneReadError(f"{url}: cannot be read ({_reason(error)}); is it reachable, and may you read it?")


def _reason(error: Exception) -> str:
    """The error in a few words: of obstore's, which go on for pages, the first paragraph."""
    status = f"{error.code} " if hasattr(error, "code") else ""
    said = str(getattr(error, "reason", None) or error).partition("\n\n")[0]
    return f"{status}{said or type(error).__name__}"
