"""A runner's pulse, and what else its daemon sees of it."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edged.lifecycle.process import lazy_map_library
from edged.lifecycle.signs import Signs, signs_of
from edged.runner import pulse
from edged.runner.pulse import Pulse


@pytest.fixture
def fd() -> Iterator[int]:
    fd = pulse.create()
    yield fd
    os.close(fd)


def test_beats_are_seen_by_who_reads(fd: int) -> None:
    assert pulse.read(fd) == (0, False)
    heart = Pulse(fd)
    heart.beat()
    heart.beat()
    assert pulse.read(fd) == (2, False)


def test_a_file_that_a_runner_cut_short_is_no_life(fd: int) -> None:
    os.ftruncate(fd, 3)
    assert pulse.read(fd) == (0, False)


def test_every_node_of_a_graph_beats_where_lazymap_was_preloaded(fd: int) -> None:
    """lazymap's callback is called as llama.cpp calls it, in a process that preloads it as runners do."""
    library = lazy_map_library()
    assert library is not None
    code = (
        "import ctypes, sys; from edged.runner.pulse import Pulse\n"
        "pulse = Pulse(int(sys.argv[1])); flag = ctypes.c_int(0); libc = ctypes.CDLL(None)\n"
        "libc.edged_abort_requested(ctypes.byref(flag)); pulse.count_nodes()\n"
        "for _ in range(3): libc.edged_abort_requested(ctypes.byref(flag))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(fd)], check=True, pass_fds=[fd],
        env={**os.environ, "LD_PRELOAD": str(library)},
    )  # fmt: skip
    assert pulse.read(fd) == (3, True)


def test_without_lazymap_time_on_the_cores_stands_in(fd: int) -> None:
    heart = Pulse(fd)
    heart.count_nodes()
    assert not hasattr(ctypes.CDLL(None), "edged_count_nodes_at")
    assert signs_of(os.getpid(), fd, loading=False).cpu_ticks > 0


def test_an_endless_loop_is_no_life_where_nodes_are_counted(fd: int) -> None:
    os.pwrite(fd, (7).to_bytes(8, sys.byteorder) + (1).to_bytes(8, sys.byteorder), 0)
    assert signs_of(os.getpid(), fd, loading=False).cpu_ticks == 0
    assert signs_of(os.getpid(), fd, loading=True).cpu_ticks > 0, "loading computes without nodes"
    assert signs_of(os.getpid(), fd, loading=False).n_beats == 7


def test_a_process_that_has_gone_shows_nothing(fd: int) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert signs_of(gone.pid, fd, loading=True) == Signs()
