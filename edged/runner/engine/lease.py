"""The compute lease: one runner computes at a time.

ggml's threads spin at barriers, so two runners that compute at once on the same cores do not share them but
collapse. The lease is taken around one step and freed by the kernel when its holder dies; a holder that hangs
or is stopped keeps it, so nobody waits longer than PATIENCE_S, and others then compute without it.

A lock that is given back goes to whoever asks next, which is mostly the runner that had it. So whoever waits
for `work` holds another lock meanwhile, behind which everybody else queues: short embedding batches at
`first`, generators at `later`. A generator that finds `first` taken lets that batch pass and is next itself:
an embedding waits for one step, a generator for one batch. A step that waits for storage computes next to
nothing but lasts for seconds: it goes without.
"""

import ctypes
import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edged.runner.engine.mutex import ROOM_BYTES, Mutex

PATIENCE_S = 20.0  # longer than a step takes on the slowest board
_BEAT_EVERY_S = 0.5
_SIZE_BYTES = mmap.PAGESIZE
_MADE = b"made"

_Wait = Callable[[Mutex], bool]  # for a lock, until it is held or the time is up


class Lease:
    """An exclusive right that all runners of a daemon share, for one thread; without a descriptor, none.

    `short` steps, embedding batches, go before others.
    """

    def __init__(
        self,
        inherited_fd: int | None,
        *,
        short: bool = False,
        patience_s: float = PATIENCE_S,
        storage_bound: Callable[[], bool] = lambda: False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`storage_bound` says whether the next step mostly waits for storage.

        `beat` is called now and then while it waits: it is the holder that may hang.
        """
        self._locks = None if inherited_fd is None else _Locks(inherited_fd)
        self._short = short
        self._patience_s = patience_s
        self._storage_bound = storage_bound
        self._beat = beat
        self._overdue = False  # the holder was waited for already

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Wait for the lease and hold it; says whether it was granted in time."""
        locks = self._locks
        granted = locks is not None and not self._storage_bound() and self._take(locks)
        try:
            yield granted
        finally:
            if granted and locks is not None:
                locks.work.unlock()

    def _take(self, locks: "_Locks") -> bool:
        deadline_s = time.monotonic() + (0.0 if self._overdue else self._patience_s)
        take = _take_next if self._short else _take_after_short
        granted = take(locks, lambda lock: self._wait(lock, deadline_s))
        self._overdue = not granted
        return granted

    def _wait(self, lock: Mutex, deadline_s: float) -> bool:
        while not lock.lock(min(deadline_s, time.monotonic() + _BEAT_EVERY_S)):
            self._beat()
            if time.monotonic() >= deadline_s:
                return False
        return True


class _Locks:
    """Three mutexes in the file that all runners share, made by the first of them."""

    def __init__(self, inherited_fd: int) -> None:
        # flock belongs to the open file description, which an inherited descriptor shares: open it anew
        fd = os.open(f"/proc/self/fd/{inherited_fd}", os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # while they are made
            os.ftruncate(fd, _SIZE_BYTES)
            self._memory = mmap.mmap(fd, _SIZE_BYTES)
            begin = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
            locks = [Mutex(begin + ROOM_BYTES * place) for place in (1, 2, 3)]
            if self._memory[: len(_MADE)] != _MADE:
                for lock in locks:
                    lock.create()
                self._memory[: len(_MADE)] = _MADE
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # the map keeps a copy of the descriptor, and with it the lock
            os.close(fd)
        self.work, self.first, self.later = locks


def _take_next(locks: _Locks, wait: _Wait) -> bool:
    if not wait(locks.first):
        return False
    try:
        return wait(locks.work)
    finally:
        locks.first.unlock()


def _take_after_short(locks: _Locks, wait: _Wait) -> bool:
    if not wait(locks.later):
        return False
    try:
        if _is_free(locks.first):
            if not wait(locks.work):
                return False
            if _is_free(locks.first):
                return True
            locks.work.unlock()
        return _take_next(locks, wait)
    finally:
        locks.later.unlock()


def _is_free(lock: Mutex) -> bool:
    free = lock.try_lock()
    if free:
        lock.unlock()
    return free
