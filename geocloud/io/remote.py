"""Remote files: ``https://`` and ``s3://``. GDAL reads remote rasters itself; this is for all other files.

An S3 server other than Amazon's is set as for GDAL (AWS_S3_ENDPOINT=HOST:PORT and AWS_HTTPS=NO) or as for boto3
(AWS_ENDPOINT_URL). AWS_NO_SIGN_REQUEST=YES reads public buckets without an account.
"""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from geocloud.errors import DependencyError, OutputError, SceneNotFoundError, SceneReadError

SCHEMES = ("https", "http", "s3")
FILES = (".tif", ".tiff", ".jp2", ".img", ".vrt", ".tar", ".tar.gz", ".tgz", ".zip")
LONGEST_TEXT = 256 * 2**20
TIMEOUT = 60
"""Seconds that a server may take to respond."""

_LOCK = threading.Lock()

READING = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # or GDAL requests sidecar files that do not exist
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": str(TIMEOUT),
    "VSI_CACHE": "TRUE",
}
"""GDAL options for remote rasters."""


def is_remote(source: str | Path) -> bool:
    """True for an ``https://``, ``http://`` or ``s3://`` URL."""
    return isinstance(source, str) and source.partition("://")[0].lower() in SCHEMES and "://" in source


def names_file(url: str) -> bool:
    """True for a URL with the extension of a raster or archive; on ``s3://`` other names with dots are folders."""
    return urlparse(url).path.lower().endswith(FILES)


def read_bytes(url: str) -> bytes:
    """A whole file. Raises SceneNotFoundError, SceneReadError, DependencyError."""
    try:
        if url.startswith("s3://"):
            data: bytes = _s3().get_object(**_address(url), **_payer())["Body"].read(LONGEST_TEXT)
            return data
        with _ask(url, "GET") as answer:
            return bytes(answer.read(LONGEST_TEXT))
    except Exception as error:
        raise _explained(url, error) from error


def identity(url: str) -> str:
    """What changes with the file: its ETag, or else its date and size. Raises as `read_bytes` does."""
    try:
        if url.startswith("s3://"):
            head = _s3().head_object(**_address(url), **_payer())
            return str(head["ETag"])
        with _ask(url, "HEAD") as answer:
            found = answer.headers
            return str(found["ETag"] or f"{found['Last-Modified']} {found['Content-Length']}")
    except Exception as error:
        raise _explained(url, error) from error


def list_files(url: str) -> list[str]:
    """The URLs of all files under ``s3://bucket/prefix``. Raises as `read_bytes` does."""
    place = _address(url)
    try:
        pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=place["Bucket"], Prefix=place["Key"], **_payer())
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    except Exception as error:
        raise _explained(url, error) from error
    return [f"s3://{place['Bucket']}/{key}" for key in keys if not key.endswith("/")]


def upload(path: Path, url: str) -> None:
    """Uploads a file to an ``s3://`` URL, whole or not at all. Raises OutputError, DependencyError."""
    place = _address(url)
    try:
        _s3().upload_file(str(path), place["Bucket"], place["Key"])
    except DependencyError:
        raise
    except Exception as error:
        raise OutputError(f"{url}: {path.name} cannot be uploaded ({error})") from error


def _address(url: str) -> dict[str, str]:
    parts = urlparse(url)
    return {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}


def _ask(url: str, method: str) -> Any:
    if not url.startswith(("https://", "http://")):
        raise SceneReadError(f"{url}: wanted a URL that begins with {', '.join(f'{s}://' for s in SCHEMES)}")
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "geocloud"})  # noqa: S310 - see above
    return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 - the same


def _payer() -> dict[str, str]:
    """For requester-pays buckets: AWS_REQUEST_PAYER=requester, as for GDAL."""
    said = os.environ.get("AWS_REQUEST_PAYER")
    return {"RequestPayer": said} if said else {}


def _s3() -> Any:
    with _LOCK:  # creating a boto3 client is not thread-safe
        return _client()


@lru_cache(maxsize=1)
def _client() -> Any:
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
    except ImportError as error:
        raise DependencyError("s3:// needs boto3; run pip install 'geocloud[batch]'") from error
    endpoint = os.environ.get("AWS_S3_ENDPOINT")
    if endpoint and "://" not in endpoint:
        endpoint = ("http://" if os.environ.get("AWS_HTTPS", "YES").upper() == "NO" else "https://") + endpoint
    unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "NO").upper() in ("YES", "TRUE", "1")
    config = Config(signature_version=UNSIGNED) if unsigned else None
    return boto3.client("s3", endpoint_url=endpoint, config=config)


def _explained(url: str, error: Exception) -> Exception:
    if isinstance(error, (DependencyError, SceneReadError)):
        return error
    status = getattr(error, "code", None)
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status == 404:
        return SceneNotFoundError(f"{url}: not found")
    reason = getattr(error, "reason", None) or error
    return SceneReadError(f"{url}: cannot be read ({reason}); is it reachable, and may you read it?")
