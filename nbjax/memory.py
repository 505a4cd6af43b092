"""The process's memory, where the C library's defaults cost time."""

import ctypes
import sys

# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
M_ARENA_MAX = -8


def keep_freed_memory() -> bool:
    """Makes the process keep the memory it frees, for its next arrays; returns whether the C library could be told.

    By default glibc gives every freed array above a few megabytes back to the system, which hands it out again page by
    page, each page zeroed at its first use. A network's activations are such arrays: a pass over a batch of images then
    takes longer (`benchmarks.forward --keep_freed=false` measures it). Call it before the first array is made; the
    scripts of `experiments` do. Elsewhere than on Linux with glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*setting) for setting in ((M_TRIM_THRESHOLD, -1), (M_MMAP_MAX, 0), (M_ARENA_MAX, 1)))
