"""Asks the C library to keep the memory that a batch frees: the next one wants the same again.

Else it goes back to the kernel and is mapped and cleared anew, page by page, several times a layer.
"""

import ctypes

# Source: glibc's malloc.h and its largest accepted threshold.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
_KEPT_BYTES = 512 << 20


def keep_freed() -> None:
    """For the whole process. Does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
