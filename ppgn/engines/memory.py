"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
LARGEST = 2**25  # bytes: glibc's highest MMAP_THRESHOLD


def keep() -> bool:
    """Let this process keep freed memory, up to 2 GB -> whether the C library does.

    By itself glibc returns a tensor's memory to the system as soon as it is freed, and each step of a chain gets its
    own anew, page by page, which the system first fills with zeros. Without an effect where the C library is another
    one, or where `MALLOC_TRIM_THRESHOLD_` is set.
    """
    if "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    with suppress(AttributeError, OSError, TypeError):  # no such function, or no such library
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
    return False
