"""How the C library treats freed memory: planes come and go by the hundred, and fresh pages are dear."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>
_LARGEST = 2**30  # bytes; what mallopt takes is an int
_PAD = 2**26


def keep_freed_memory() -> bool:
    """Keep freed planes for the next ones instead of giving their pages back to the system each time.

    The kernel clears every page before it hands it out, 2,300 of them for a plane of 2048 x 1152 px, and the default of
    glibc returns large blocks at once. Kept, a pair takes some 15 % less time; the peak stays. A process setting, so
    programs call it, importing the library does not. Setting ``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_``
    does the same.

    Returns
    -------
    bool
        False where the C library has no such setting; nothing is changed then.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, 2 * _LARGEST - 1), (_M_TOP_PAD, _PAD))
    return all([mallopt(name, value) == 1 for name, value in settings])
