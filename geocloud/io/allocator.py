"""Settings of the C library's memory allocator that keep the memory of one tile for the next."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Stops glibc from returning freed memory to the system, which would clear it page by page before the next use.

    All threads share one arena, so that memory freed by one can be used by another. Does nothing without glibc.
    """
    with suppress(OSError, AttributeError, TypeError):
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**30)):
            ctypes.CDLL(None).mallopt(option, value)
