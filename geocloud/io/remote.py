"""Remote files: ``https://``, ``s3://``, ``gs://`` and ``az://``.

GDAL reads remote rasters; obstore lists, reads and writes everything else: text files, archives, results. Both retry
failed requests. Environment variables set credentials and endpoints: see docs/scaling.md.
"""

from __future__ import annotations

import io
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import obstore
import obstore.exceptions
import obstore.store

from geocloud import errors

T = TypeVar("T")

STORES = {"s3": "vsis3", "gs": "vsigs", "az": "vsiaz"}
"""Object stores, which can be listed and written: URL scheme → GDAL's virtual file system."""
SCHEMES = ("https", "http", *STORES)
FILES = (".tif", ".tiff", ".jp2", ".img", ".vrt", ".tar", ".tar.gz", ".tgz", ".zip")
CHUNK = 64 * 2**10
"""Bytes per range request of `open_file`."""
RETRIES, FIRST_PAUSE, MAX_PAUSE, TIMEOUT = 4, 1.0, 15.0, 60
"""Maximum retries of a request; initial and maximum backoff, and timeout, in seconds."""
AMAZON = "https://s3.amazonaws.com"

READING = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # otherwise GDAL requests sidecar files that do not exist
    "GDAL_HTTP_MAX_RETRY": str(RETRIES),  # after status 429, 500, 502, 503, 504, resets and timeouts
    "GDAL_HTTP_RETRY_DELAY": "1",  # seconds; roughly doubled for each further retry
    "GDAL_HTTP_TIMEOUT": str(TIMEOUT),
    "VSI_CACHE": "TRUE",
}
"""GDAL options for remote rasters; environment variables of the same names take precedence."""

FORGETTING = {
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/{name}/" for name in ("vsicurl", *STORES.values())),
    "GDAL_HTTP_MAX_RETRY": "0",
}
"""GDAL options that disable retries, and drop cached remote data when a raster is closed."""

VARIABLES = {
    "s3": {"AWS_NO_SIGN_REQUEST": "skip_signature", "AWS_REQUEST_PAYER": "request_payer"},
    "gs": {"GS_NO_SIGN_REQUEST": "skip_signature", "CPL_GS_ENDPOINT": "base_url"},
    "az": {"AZURE_NO_SIGN_REQUEST": "skip_signature", "AZURE_STORAGE_ACCOUNT": "account_name"},
}
"""GDAL's environment variables with other names in obstore: scheme → variable → obstore's option."""

CONNECTION = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "BlobEndpoint": "endpoint",
    "SharedAccessSignature": "sas_key",
}
"""Part of AZURE_STORAGE_CONNECTION_STRING → obstore's option."""


def is_remote(source: str | Path) -> bool:
    """True for a URL of one of `SCHEMES`."""
    return isinstance(source, str) and "://" in source and source.partition("://")[0].lower() in SCHEMES


def is_store(source: str | Path) -> bool:
    """True for the URL of an object store, which has folders and can be written."""
    return isinstance(source, str) and source.startswith(tuple(f"{scheme}://" for scheme in STORES))


def names_file(url: str) -> bool:
    """True for a URL with the extension of a raster or archive. In object stores, all other names are folders."""
    return urlparse(url).path.lower().endswith(FILES)


def gdal_name(url: str) -> str:
    """GDAL's dataset name for the file at a URL."""
    scheme, _, rest = url.partition("://")
    return f"/{STORES[scheme]}/{rest}" if scheme in STORES else f"/vsicurl/{url}"


def gdal_options(*paths: str) -> dict[str, Any]:
    """Additional arguments of `rasterio.Env` for these URLs and GDAL dataset names; {} if none is remote."""
    names = [gdal_name(path) if is_remote(path) else path for path in paths]
    if not any(f"/{kind}" in name for name in names for kind in ("vsicurl", *STORES.values())):
        return {}
    options: dict[str, Any] = {name: value for name, value in READING.items() if name not in os.environ}
    if any("/vsis3/" in name for name in names):
        if (endpoint := _endpoint()) and "AWS_S3_ENDPOINT" not in os.environ:
            parts = urlparse(endpoint)
            options["AWS_S3_ENDPOINT"] = f"{parts.netloc}{parts.path}".rstrip("/")
            options["AWS_HTTPS"] = "NO" if parts.scheme == "http" else "YES"
            options["AWS_VIRTUAL_HOSTING"] = os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE")  # as obstore does
        if profile := _profile():
            from rasterio.session import AWSSession

            options["session"] = AWSSession(profile)
    return options


def read_bytes(url: str, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes ``start`` to ``stop`` of a file, or all if ``stop`` is None. Raises SceneNotFoundError, SceneReadError."""

    def read(store: Any, key: str) -> bytes:
        if stop is not None:
            return bytes(obstore.get_range(store, key, start=start, end=stop))
        return bytes(obstore.get(store, key).bytes())

    return _asked(url, read)


def identity(url: str) -> str:
    """A string that changes with the file: its ETag or, without one, its date and size. Raises as `read_bytes` does."""
    head = _asked(url, obstore.head)
    day = head["last_modified"]
    return str(head["e_tag"] or (day if is_store(url) else f"{format_datetime(day, usegmt=True)} {head['size']}"))


def list_files(url: str) -> list[str]:
    """URLs of all files below a folder in an object store; ``url`` ends with a slash. Raises as `read_bytes` does."""

    def listed(store: Any, key: str) -> list[str]:
        root = url[: len(url) - len(key)]
        return [f"{root}{entry['path']}" for page in obstore.list(store, key.rstrip("/") or None) for entry in page]

    return _asked(url, listed)


def upload(path: Path, url: str) -> None:
    """Uploads a file to an object store, completely or not at all. Raises OutputError, OptionError."""
    try:
        obstore.put(*_place(url), path)
    except errors.GeocloudError:
        raise
    except Exception as error:
        raise errors.OutputError(f"{url}: {path.name} cannot be uploaded ({_reason(error)})") from error


def open_file(url: str) -> io.BufferedReader:
    """A remote file that is fetched as it is read. Opening and reading it raise as `read_bytes` does."""
    return io.BufferedReader(_Parts(url), CHUNK)


class _Parts(io.RawIOBase):
    """A seekable remote file."""

    def __init__(self, url: str) -> None:
        self._url, self._at = url, 0
        self._size: int = _asked(url, obstore.head)["size"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        data = read_bytes(self._url, self._at, stop) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _asked(url: str, ask: Callable[[Any, str], T], attempt: int = 0) -> T:
    """Response of a store. Retries what obstore does not: truncated lists, and downloads without an ETag."""
    try:
        return ask(*_place(url))
    except errors.GeocloudError:
        raise
    except FileNotFoundError as error:
        raise errors.SceneNotFoundError(f"{url}: not found") from error
    except obstore.exceptions.NotSupportedError as error:
        raise errors.SceneError(f"{url}: this server does not support range requests; download the file") from error
    except Exception as error:
        if "response body" in str(error) and attempt < RETRIES:
            time.sleep(min(FIRST_PAUSE * 2**attempt, MAX_PAUSE))
            return _asked(url, ask, attempt + 1)
        hint = "is it reachable, and may you read it?"
        raise errors.SceneReadError(f"{url}: cannot be read ({_reason(error)}); {hint}") from error


def _reason(error: Exception) -> str:
    """First paragraph of obstore's message; the rest is very long."""
    return str(error).partition("\n\n")[0] or type(error).__name__


def _place(url: str) -> tuple[Any, str]:
    """The obstore store of a URL, and the file's key in it. Raises OptionError, DependencyError."""
    scheme, _, rest = url.partition("://")
    if scheme not in STORES:
        return _store(url, (), None), ""  # the whole URL, with its signature
    bucket, _, key = rest.partition("/")
    config = {option: value for name, option in VARIABLES[scheme].items() if (value := os.environ.get(name))}
    if scheme == "s3":
        endpoint = _endpoint()
        config |= {"endpoint": endpoint} if endpoint else {"region": _region(bucket)}
    if scheme == "az":
        parts = (part.partition("=") for part in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
        config |= {CONNECTION[name]: value for name, _, value in parts if name in CONNECTION}
        if not config.get("account_name") and "AZURE_STORAGE_ACCOUNT_NAME" not in os.environ:
            raise errors.OptionError(
                "az:// needs the name of an account: set AZURE_STORAGE_ACCOUNT, and a key or a login"
            )
    return _store(f"{scheme}://{bucket}", tuple(config.items()), _profile() if scheme == "s3" else None), key


@lru_cache(maxsize=8)
def _store(url: str, config: tuple[tuple[str, str], ...], profile: Any) -> Any:
    options: dict[str, Any] = {"config": dict(config)} if config else {}
    if profile:
        from obstore.auth.boto3 import Boto3CredentialProvider

        options["credential_provider"] = Boto3CredentialProvider(profile).__call__  # hides the profile's region
    pauses = {"init_backoff": timedelta(seconds=FIRST_PAUSE), "max_backoff": timedelta(seconds=MAX_PAUSE), "base": 2}
    make: Any = obstore.store.from_url
    return make(
        url,
        client_options={"timeout": timedelta(seconds=TIMEOUT), "allow_http": True, "user_agent": "geocloud"},
        retry_config={"max_retries": RETRIES, "backoff": pauses},
        **options,
    )


def _endpoint() -> str | None:
    """URL of the S3 server in GDAL's or Amazon's environment variables; None: Amazon's server."""
    name = os.environ.get("AWS_S3_ENDPOINT")
    if not name:
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    scheme = "http" if os.environ.get("AWS_HTTPS", "YES").upper() == "NO" else "https"
    return name if "://" in name else f"{scheme}://{name}"


@lru_cache
def _region(bucket: str) -> str:
    """Region of a bucket, which requests must name. Amazon returns it without credentials."""
    request = urllib.request.Request(f"{AMAZON}/{bucket}", method="HEAD")  # noqa: S310 - a constant
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - the same
            region = answer.headers["x-amz-bucket-region"]
    except OSError as error:
        region = error.headers["x-amz-bucket-region"] if isinstance(error, urllib.error.HTTPError) else None
    return region or os.environ.get("AWS_DEFAULT_REGION", "us-east-1")


def _profile() -> Any:
    """boto3 session for a profile in Amazon's configuration files; None: obstore and GDAL need no profile."""
    unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "NO").upper() in ("YES", "TRUE", "1")
    files = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
    paths = tuple(str(Path(os.environ.get(name, file)).expanduser()) for name, file in files.items())
    if unsigned or os.environ.get("AWS_ACCESS_KEY_ID") or not any(map(os.path.isfile, paths)):
        return None
    return _session(os.environ.get("AWS_PROFILE"), paths)


@lru_cache
def _session(profile: str | None, files: tuple[str, ...]) -> Any:
    try:
        import boto3

        session = boto3.Session(profile_name=profile)
        return session if session.get_credentials() else None
    except ImportError as error:
        hint = "run pip install boto3, or set AWS_ACCESS_KEY_ID, or AWS_NO_SIGN_REQUEST=YES for public buckets"
        raise errors.DependencyError(f"{' and '.join(files)}: profiles require boto3; {hint}") from error
    except Exception as error:  # raised by botocore, for example for an unknown profile
        raise errors.OptionError(f"AWS profile {profile or 'default'}: cannot log in ({error})") from error
