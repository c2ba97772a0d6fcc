"""Files on web servers, by Python's own client: it needs no further package, and heeds HTTPS_PROXY."""

from __future__ import annotations

import urllib.request
from typing import Any

from geocloud.errors import SceneError, SceneReadError
from geocloud.io.patience import LONGEST_TEXT, TIMEOUT, check_length, patiently

PARTIAL_CONTENT = 206


def read(url: str, start: int = 0, stop: int | None = None) -> bytes:
    """A file's bytes from ``start`` to ``stop``, or all of them."""

    def once() -> bytes:
        wanted = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        with _ask(url, "GET", wanted) as answer:
            if wanted and answer.status != PARTIAL_CONTENT:
                raise SceneError(f"{url}: this server sends no parts of files; fetch the file and name your copy")
            check_length(url, answer.length)
            # Only a read without a limit notices a body that was cut off; without a length none can be noticed.
            return bytes(answer.read() if answer.length is not None else answer.read(LONGEST_TEXT))

    return patiently(once)


def about(url: str) -> tuple[int, str]:
    """Size in bytes, and what changes with the file: its ETag, or else its date and size."""

    def once() -> tuple[int, str]:
        with _ask(url, "HEAD", {}) as answer:
            found = answer.headers
            tag = found["ETag"] or f"{found['Last-Modified']} {found['Content-Length']}"
            return int(found["Content-Length"] or 0), str(tag)

    return patiently(once)


def _ask(url: str, method: str, headers: dict[str, str]) -> Any:
    if not url.startswith(("https://", "http://")):
        raise SceneReadError(f"{url}: wanted a URL that begins with https:// or http://")
    headers = {"User-Agent": "geocloud", **headers}
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - see above
    return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 - the same
