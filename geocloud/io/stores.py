"""Files on ``gs://`` (Google Cloud Storage) and ``az://`` (Azure Blob Storage), by obstore.

obstore is one wheel of 6 MB for both. Google's and Microsoft's own clients, or gcsfs and adlfs, are some fifteen
packages each. It repeats failed requests and goes on where a response was cut off.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

from geocloud.errors import DependencyError, OptionError
from geocloud.io.patience import FIRST_PAUSE, LONGEST_PAUSE, RETRIES, TIMEOUT, check_length, patiently

CONNECTION = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "BlobEndpoint": "endpoint",
    "SharedAccessSignature": "sas_key",
}
"""Parts of AZURE_STORAGE_CONNECTION_STRING → obstore's names for them."""


def read(url: str, start: int = 0, stop: int | None = None) -> bytes:
    """A file's bytes from ``start`` to ``stop``, or all of them."""
    store, key = _place(url)
    import obstore

    if stop is not None:
        return bytes(obstore.get_range(store, key, start=start, end=stop))
    found = obstore.get(store, key)
    check_length(url, found.meta["size"])
    return bytes(found.bytes())


def about(url: str) -> tuple[int, str]:
    """Size in bytes, and the ETag, or else the time of the last change."""
    store, key = _place(url)
    import obstore

    found = obstore.head(store, key)
    return found["size"], str(found["e_tag"] or found["last_modified"])


def list_files(url: str) -> list[str]:
    """The URLs of all files in a folder, however deep."""
    store, key = _place(url)
    import obstore
    from obstore.exceptions import GenericError

    root = url[: len(url) - len(key)]

    def once() -> list[str]:
        try:
            pages = obstore.list(store, key.rstrip("/") or None)
            return [f"{root}{entry['path']}" for page in pages for entry in page]
        except GenericError as error:
            if "response body" in str(error):  # which obstore does not repeat in lists
                raise IncompleteRead(b"") from error
            raise

    return patiently(once)


def upload(path: Path, url: str) -> None:
    """Uploads a file, whole or not at all."""
    store, key = _place(url)
    import obstore

    obstore.put(store, key, path)


def _place(url: str) -> tuple[Any, str]:
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    config = _google() if scheme == "gs" else _azure()
    return _store(scheme, bucket, tuple(sorted(config.items()))), key


@lru_cache(maxsize=8)
def _store(scheme: str, bucket: str, config: tuple[tuple[str, str], ...]) -> Any:
    try:
        from obstore.store import AzureStore, GCSStore
    except ImportError as error:
        raise DependencyError(f"{scheme}:// needs obstore; run pip install 'geocloud[batch]'") from error
    make: Any = GCSStore if scheme == "gs" else AzureStore
    pauses = {
        "init_backoff": timedelta(seconds=FIRST_PAUSE),
        "max_backoff": timedelta(seconds=LONGEST_PAUSE),
        "base": 2,
    }
    return make(
        bucket,
        config=dict(config),
        client_options={"timeout": timedelta(seconds=TIMEOUT), "allow_http": True},
        retry_config={"max_retries": RETRIES, "backoff": pauses},
    )


def _google() -> dict[str, str]:
    """obstore's settings by GDAL's variables, where the two have different names for a thing."""
    found = {"skip_signature": "true"} if _said("GS_NO_SIGN_REQUEST") else {}
    if endpoint := os.environ.get("CPL_GS_ENDPOINT"):
        found["base_url"] = endpoint.rstrip("/")
    return found


def _azure() -> dict[str, str]:
    """The same for Azure. Raises OptionError where no account is named."""
    found = {"skip_signature": "true"} if _said("AZURE_NO_SIGN_REQUEST") else {}
    if account := os.environ.get("AZURE_STORAGE_ACCOUNT"):
        found["account_name"] = account
    for part in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"):
        name, _, value = part.partition("=")
        if name in CONNECTION:
            found[CONNECTION[name]] = value
    if not found.get("account_name") and "AZURE_STORAGE_ACCOUNT_NAME" not in os.environ:
        raise OptionError("az:// needs the name of an account: set AZURE_STORAGE_ACCOUNT, and a key or a login")
    return found


def _said(variable: str) -> bool:
    return os.environ.get(variable, "NO").upper() in ("YES", "TRUE", "1")
