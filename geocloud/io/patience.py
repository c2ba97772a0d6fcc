"""Trying again: what all readers of remote files share."""

from __future__ import annotations

import random
import time
import urllib.error
from collections.abc import Callable
from http.client import IncompleteRead
from typing import TypeVar

from geocloud.errors import SceneReadError

T = TypeVar("T")

RETRIES = 4
"""How often a request is repeated."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds before the first repetition, twice as many before each further one, and at most so many."""
TIMEOUT = 60
"""Seconds that a server may take to respond, and between two parts of a response."""
PASSING = (429, 500, 502, 503, 504)
"""Status codes of a server that is overloaded or restarting."""
LONGEST_TEXT = 256 * 2**20
"""Bytes of the longest file that is read whole into memory."""

BROKEN = [ConnectionResetError, BrokenPipeError, TimeoutError, IncompleteRead]
"""Errors of a connection that ended in the middle of a response."""


def patiently(call: Callable[[], T], broken: tuple[type[Exception], ...] = tuple(BROKEN)) -> T:
    """Calls, and calls again after growing pauses while the connection breaks or the server is overloaded.

    Pauses are random within their second half, so that many workers do not all come back at once.
    """
    for attempt in range(RETRIES):
        try:
            return call()
        except Exception as error:
            if not _is_passing(error, broken):
                raise
        pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
    return call()


def _is_passing(error: Exception, broken: tuple[type[Exception], ...]) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in PASSING
    reason = getattr(error, "reason", None) if isinstance(error, urllib.error.URLError) else None
    return isinstance(error, broken) or isinstance(reason, broken)


def check_length(url: str, size: int | None) -> None:
    """Raises SceneReadError for a file that is too long to be read whole."""
    if size is not None and size > LONGEST_TEXT:
        raise SceneReadError(f"{url}: {size} bytes long; wanted at most {LONGEST_TEXT} of a text")
