"""The compute lease: one runner computes at a time.

ggml's threads spin at barriers, so two runners that compute at once on the same cores do not share them but
collapse. A `flock` taken around one step is freed by the kernel when its holder dies.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


class Lease:
    """An exclusive lock that all runners of a daemon share; without a descriptor it is always granted."""

    def __init__(self, inherited_fd: int | None) -> None:
        # flock belongs to the open file description, which an inherited descriptor shares: open it anew
        self._fd = None if inherited_fd is None else os.open(f"/proc/self/fd/{inherited_fd}", os.O_RDWR)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lease and hold it."""
        if self._fd is None:
            yield
            return
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
