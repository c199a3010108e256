"""A lock in shared memory whose holder may die: a robust pthread mutex (pthread_mutexattr_setrobust(3)).

Unlike `flock` it can be waited for until a deadline without a thread that waits. The kernel frees it when the
process that holds it ends. Only the thread that took it may give it back.
"""

import ctypes
import errno
import math

ROOM_BYTES = 64  # more than pthread_mutex_t takes anywhere (40 on x86-64, 48 on aarch64)

_PROCESS_SHARED = _ROBUST = 1  # as glibc and musl number them
_CLOCK_MONOTONIC = 1
_libc = ctypes.CDLL(None)


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class Mutex:
    """The mutex at one address, aligned to ROOM_BYTES; `create` makes it, once for all processes."""

    def __init__(self, address: int) -> None:
        self._mutex = ctypes.c_void_p(address)

    def create(self) -> None:
        """Make it, free. Nobody may use it yet."""
        attributes = ctypes.create_string_buffer(ROOM_BYTES)
        _libc.pthread_mutexattr_init(attributes)
        _libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
        _libc.pthread_mutexattr_setrobust(attributes, _ROBUST)
        _libc.pthread_mutex_init(self._mutex, attributes)
        _libc.pthread_mutexattr_destroy(attributes)

    def lock(self, deadline_s: float) -> bool:
        """Take it, waiting until time.monotonic() is `deadline_s` at the latest; says whether it was got."""
        fraction, whole = math.modf(deadline_s)
        until = _Timespec(int(whole), int(fraction * 1e9))
        return self._got(_libc.pthread_mutex_clocklock(self._mutex, _CLOCK_MONOTONIC, ctypes.byref(until)))

    def try_lock(self) -> bool:
        """Take it if it is free."""
        return self._got(_libc.pthread_mutex_trylock(self._mutex))

    def unlock(self) -> None:
        """Give it back."""
        _libc.pthread_mutex_unlock(self._mutex)

    def _got(self, code: int) -> bool:
        if code == errno.EOWNERDEAD:
            # its last holder died: what it guards, time on the cores, cannot be broken
            _libc.pthread_mutex_consistent(self._mutex)
            return True
        return code == 0
