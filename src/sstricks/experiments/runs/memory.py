import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # the names and values of glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more
_LARGEST_TRIM_THRESHOLD = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed for the next allocation instead of handing it back to the kernel.

    Activations are allocated and freed at every step; handed back, their pages must be cleared and mapped anew each
    time, which can take longer than the arithmetic. For training commands only: a library has no business with it.

    Returns:
        Whether there was a glibc and it agreed.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_TRIM_THRESHOLD)
    )
