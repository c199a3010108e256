"""A runner's sign of life, and what it is computing: in memory that its daemon can read.

The engine counts its turns and lazymap every node of a graph that llama.cpp computes, so that a step may take
as long as it needs and still shows life; nothing is sent for it, and it costs no throughput. The requests of
its last batch are there for the time after its death: whatever else waited had no part in it.
"""

import ctypes
import mmap
import os
import struct
from collections.abc import Collection

_MOST_REQUESTS = 64
_LAYOUT = struct.Struct("=QQ")
_COMPUTING = struct.Struct(f"={1 + _MOST_REQUESTS}Q")  # how many, and their numbers


class _Shared(ctypes.Structure):
    _fields_ = (
        ("n_beats", ctypes.c_uint64),
        ("counts_nodes", ctypes.c_uint64),
        ("n_computing", ctypes.c_uint64),
        ("computing", ctypes.c_uint64 * _MOST_REQUESTS),
    )


class Pulse:
    """The runner's side. Any thread may beat: one that gets lost between two does not matter."""

    def __init__(self, fd: int) -> None:
        """`fd` is the daemon's file (see `create`)."""
        # kept for the life of the process: lazymap holds its address
        self._shared = _Shared.from_buffer(mmap.mmap(fd, ctypes.sizeof(_Shared)))
        self._shown: Collection[int] = ()

    def beat(self) -> None:
        """Show life."""
        self._shared.n_beats += 1

    def count_nodes(self) -> None:
        """Let every node of a graph beat, where lazymap was preloaded."""
        count_at = getattr(ctypes.CDLL(None), "edged_count_nodes_at", None)
        if count_at is not None:
            count_at(ctypes.byref(self._shared))
            self._shared.counts_nodes = 1

    def compute(self, requests: Collection[int]) -> None:
        """Say for whom the next batch is; for one thread."""
        if requests == self._shown:
            return
        self._shown = requests
        self._shared.n_computing = len(requests)
        for index, request in zip(range(_MOST_REQUESTS), requests, strict=False):
            self._shared.computing[index] = request


def create() -> int:
    """A file for one runner's pulse, for the daemon; returns its descriptor."""
    fd = os.memfd_create("edged-pulse")
    os.ftruncate(fd, ctypes.sizeof(_Shared))
    return fd


def read(fd: int) -> tuple[int, bool]:
    """Beats so far, and whether nodes are counted.

    Read, not mapped: a runner that cuts the file short must not end the daemon.
    """
    content = os.pread(fd, _LAYOUT.size, 0).ljust(_LAYOUT.size, b"\0")
    n_beats, counts_nodes = _LAYOUT.unpack(content)
    return n_beats, bool(counts_nodes)


def computing(fd: int) -> frozenset[int] | None:
    """For whom the last batch was; None where they were too many to say."""
    n_computing, *requests = _COMPUTING.unpack(
        os.pread(fd, _COMPUTING.size, _LAYOUT.size).ljust(_COMPUTING.size, b"\0")
    )
    return frozenset(requests[:n_computing]) if n_computing <= _MOST_REQUESTS else None
