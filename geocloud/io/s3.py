"""Files on ``s3://``, by boto3: it knows every way to log in that Amazon's own tools know.

That is profiles, single sign-on, roles, and a bucket's region wherever it is. obstore, which reads ``gs://`` and ``az://``,
knows neither profiles nor regions, and so is no substitute.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlparse

from geocloud.errors import DependencyError
from geocloud.io.patience import BROKEN, RETRIES, TIMEOUT, check_length, patiently

_LOCK = Lock()


def read(url: str, start: int = 0, stop: int | None = None) -> bytes:
    """A file's bytes from ``start`` to ``stop``, or all of them."""
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    client, wanted = _s3(), {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}

    def once() -> bytes:
        answer = client.get_object(**_address(url), **_payer(), **wanted)
        check_length(url, answer["ContentLength"])
        return bytes(answer["Body"].read())

    # boto3 repeats a request, but not the reading of its body.
    return patiently(once, (*BROKEN, IncompleteReadError, ReadTimeoutError, ResponseStreamingError))


def about(url: str) -> tuple[int, str]:
    """Size in bytes, and the ETag."""
    head = _s3().head_object(**_address(url), **_payer())
    return int(head["ContentLength"]), str(head["ETag"])


def list_files(url: str) -> list[str]:
    """The URLs of all files whose keys begin with that of ``url``."""
    place = _address(url)
    pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=place["Bucket"], Prefix=place["Key"], **_payer())
    keys = (entry["Key"] for page in pages for entry in page.get("Contents", []))
    return [f"s3://{place['Bucket']}/{key}" for key in keys if not key.endswith("/")]


def upload(path: Path, url: str) -> None:
    """Uploads a file, whole or not at all."""
    place = _address(url)
    _s3().upload_file(str(path), place["Bucket"], place["Key"])


def gdal_options() -> dict[str, Any]:
    """Arguments of `rasterio.Env` with which GDAL finds the same server and logs in as boto3 does."""
    found: dict[str, Any] = {}
    endpoint = _endpoint()
    if endpoint and "AWS_S3_ENDPOINT" not in os.environ:
        parts = urlparse(endpoint)
        found["AWS_S3_ENDPOINT"] = f"{parts.netloc}{parts.path}".rstrip("/")
        found["AWS_HTTPS"] = "NO" if parts.scheme == "http" else "YES"
        found["AWS_VIRTUAL_HOSTING"] = os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE")  # as boto3 asks such servers
    with suppress(DependencyError):  # without boto3, GDAL logs in by itself
        found["session"] = _login()
    return found


def _address(url: str) -> dict[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _payer() -> dict[str, str]:
    """For requester-pays buckets: AWS_REQUEST_PAYER=requester, as for GDAL."""
    said = os.environ.get("AWS_REQUEST_PAYER")
    return {"RequestPayer": said} if said else {}


def _endpoint() -> str | None:
    """The URL of a server other than Amazon's, by GDAL's variables or boto3's."""
    named = os.environ.get("AWS_S3_ENDPOINT")
    if not named:
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if "://" in named:
        return named
    return ("http://" if os.environ.get("AWS_HTTPS", "YES").upper() == "NO" else "https://") + named


def _unsigned() -> bool:
    return os.environ.get("AWS_NO_SIGN_REQUEST", "NO").upper() in ("YES", "TRUE", "1")


def _s3() -> Any:
    with _LOCK:  # creating a boto3 client is not thread-safe
        return _client(_endpoint(), _unsigned())


@lru_cache(maxsize=1)
def _client(endpoint: str | None, unsigned: bool) -> Any:
    session = _session()
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        signature_version=UNSIGNED if unsigned else None,
        retries={"total_max_attempts": 1 + RETRIES, "mode": "standard"},  # of 5xx, throttling and resets
        connect_timeout=TIMEOUT,
        read_timeout=TIMEOUT,
    )
    return session.client("s3", endpoint_url=endpoint, config=config)


@lru_cache(maxsize=1)
def _login() -> Any:
    from rasterio.session import AWSSession

    return AWSSession(_session())


@lru_cache(maxsize=1)
def _session() -> Any:
    try:
        import boto3
    except ImportError as error:
        raise DependencyError("s3:// needs boto3; run pip install 'geocloud[batch]'") from error
    return boto3.Session()
