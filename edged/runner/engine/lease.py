"""The compute lease: one runner computes at a time.

ggml's threads spin at barriers, so two runners that compute at once on the same cores do not share them but
collapse. A `flock` taken around one step is freed by the kernel when its holder dies; a holder that hangs or
is stopped keeps it, so nobody waits longer than PATIENCE_S, and others then compute without it.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 20.0  # longer than a step takes on the slowest board


class Lease:
    """An exclusive lock that all runners of a daemon share, for one thread; without a descriptor, none."""

    def __init__(self, inherited_fd: int | None, patience_s: float = PATIENCE_S) -> None:
        # flock belongs to the open file description, which an inherited descriptor shares: open it anew
        self._fd = None if inherited_fd is None else os.open(f"/proc/self/fd/{inherited_fd}", os.O_RDWR)
        self._patience_s = patience_s
        self._change = threading.Condition()
        self._waiting = False  # a thread is inside flock
        self._wanted = False  # and what it gets is still wanted

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Wait for the lease and hold it; says whether it was granted in time."""
        granted = self._fd is not None and self._take(self._fd)
        try:
            yield granted
        finally:
            if granted and self._fd is not None:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _take(self, fd: int) -> bool:
        if self._waiting:
            return False  # the holder is overdue: it was waited for already
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._wait(fd)
        return True

    def _wait(self, fd: int) -> bool:
        """flock itself cannot be told when to give up, so a thread waits in it."""
        self._waiting = self._wanted = True
        threading.Thread(target=self._block, args=(fd,), name="lease", daemon=True).start()
        with self._change:
            self._change.wait_for(lambda: not self._waiting, self._patience_s)
            self._wanted = False
            return not self._waiting

    def _block(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with self._change:
            self._waiting = False
            if not self._wanted:
                fcntl.flock(fd, fcntl.LOCK_UN)
            self._change.notify_all()
