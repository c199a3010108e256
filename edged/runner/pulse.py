"""A runner's sign of life: a counter in memory that its daemon can read.

The engine counts its turns and lazymap every node of a graph that llama.cpp computes, so that a step may take
as long as it needs and still shows life; nothing is sent for it, and it costs no throughput.
"""

import ctypes
import mmap
import os
import struct

_LAYOUT = struct.Struct("=QQ")


class _Shared(ctypes.Structure):
    _fields_ = (("n_beats", ctypes.c_uint64), ("counts_nodes", ctypes.c_uint64))


class Pulse:
    """The runner's side. Any thread may beat: one that gets lost between two does not matter."""

    def __init__(self, fd: int) -> None:
        """`fd` is the daemon's file (see `create`)."""
        # kept for the life of the process: lazymap holds its address
        self._shared = _Shared.from_buffer(mmap.mmap(fd, _LAYOUT.size))

    def beat(self) -> None:
        """Show life."""
        self._shared.n_beats += 1

    def count_nodes(self) -> None:
        """Let every node of a graph beat, where lazymap was preloaded."""
        count_at = getattr(ctypes.CDLL(None), "edged_count_nodes_at", None)
        if count_at is not None:
            count_at(ctypes.byref(self._shared))
            self._shared.counts_nodes = 1


def create() -> int:
    """A file for one runner's pulse, for the daemon; returns its descriptor."""
    fd = os.memfd_create("edged-pulse")
    os.ftruncate(fd, _LAYOUT.size)
    return fd


def read(fd: int) -> tuple[int, bool]:
    """Beats so far, and whether nodes are counted.

    Read, not mapped: a runner that cuts the file short must not end the daemon.
    """
    content = os.pread(fd, _LAYOUT.size, 0).ljust(_LAYOUT.size, b"\0")
    n_beats, counts_nodes = _LAYOUT.unpack(content)
    return n_beats, bool(counts_nodes)
