"""Memory that large requests have taken goes back when they end.

glibc takes what is freed as a measure for what to keep: after one body of megabytes, it holds blocks of that
size ready in each thread. On a small machine, models need them more.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE_BYTES = 1 << 20  # more than answers have that are made often: a mapping of its own costs some time


def give_back_large_blocks() -> None:
    """For the whole process, from now on; C libraries without such measures need none."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for bound in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(bound, _LARGE_BYTES)
