"""One process computes at a time; neither dead holders nor hung ones keep others, and all get a turn."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edged.runner.engine.lease import Lease

_HOLDER = """
import sys
from edged.runner.engine.lease import Lease
with Lease(int(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def fd() -> Iterator[int]:
    """The file that runners share."""
    fd = os.memfd_create("lease")
    yield fd
    os.close(fd)


def test_a_killed_holder_frees_the_lease_and_until_then_others_wait(fd: int) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(fd)],
        pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        entered = threading.Event()

        def take() -> None:
            with Lease(fd).held() as granted:
                if granted:
                    entered.set()

        waiter = threading.Thread(target=take)
        waiter.start()
        assert not entered.wait(0.2)
        holder.kill()
        assert entered.wait(30)
        waiter.join()
    with Lease(fd).held() as granted:
        assert granted, "whoever takes it after a dead holder gives it back as usual"


@pytest.mark.parametrize("short", [False, True])
def test_a_dead_waiter_keeps_nobody(fd: int, short: bool) -> None:
    waiting = _HOLDER.replace("(int(sys.argv[1]))", f"(int(sys.argv[1]), short={short})")
    waiting = waiting.replace("with ", "print('waits', flush=True)\nwith ", 1)
    with Lease(fd).held():
        waiter = subprocess.Popen(
            [sys.executable, "-c", waiting, str(fd)],
            pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with waiter:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == b"waits\n"
            time.sleep(0.05)  # most often it is inside by then; either way nothing may be left of it
            waiter.kill()
    for kind in (False, True):
        with Lease(fd, short=kind).held() as granted:
            assert granted


def test_a_hung_holder_is_waited_for_once_and_its_end_is_noticed(fd: int) -> None:
    waiter = Lease(fd, patience_s=0.05)
    with Lease(fd).held() as holder:
        assert holder
        with waiter.held() as granted:
            assert not granted
        patient = Lease(fd, patience_s=30)
        patient._overdue = True
        begin_s = time.monotonic()
        with patient.held() as granted:
            assert not granted, "and it did not wait again"
        assert time.monotonic() - begin_s < 15
    with waiter.held() as granted:
        assert granted, "and it may wait again"
    with Lease(fd).held() as granted:
        assert granted, "nothing is left of those who gave up"


def test_without_a_daemon_there_is_nothing_to_wait_for() -> None:
    with Lease(None).held() as granted:
        assert not granted


def test_who_computes_all_the_time_starves_nobody(fd: int) -> None:
    """Holders that release and take again at once: everybody's turns stay within a small factor."""
    stop = threading.Event()
    turns: dict[str, int] = {}

    def busy(name: str, lease: Lease) -> None:
        turns[name] = 0
        while not stop.is_set():
            with lease.held():
                turns[name] += 1
                time.sleep(0.001)  # a step; sleeping lets other threads run as computing in C does
            if all(turns.get(other, 0) >= 20 for other in ("chat", "other chat", "embeddings")):
                stop.set()

    run_all(
        lambda: busy("chat", Lease(fd)),
        lambda: busy("other chat", Lease(fd)),
        lambda: busy("embeddings", Lease(fd, short=True)),
    )
    assert max(turns.values()) < 20 * 10, turns


def test_an_embedding_waits_for_one_step_even_when_generators_queue(fd: int) -> None:
    order: list[str] = []
    with Lease(fd).held():

        def take(name: str, short: bool) -> None:
            with Lease(fd, short=short).held():
                order.append(name)

        generator = threading.Thread(target=take, args=("generator", False))
        embedder = threading.Thread(target=take, args=("embedder", True))
        generator.start()
        time.sleep(0.1)  # it waits by then, or comes later: the embedder is first in any case
        embedder.start()
        time.sleep(0.1)
    generator.join(30)
    embedder.join(30)
    assert order == ["embedder", "generator"]


def run_all(*tasks: Callable[[], None]) -> None:
    """Run in threads until all have ended."""
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_who_waits_shows_life_meanwhile(fd: int) -> None:
    beats: list[float] = []
    waiter = Lease(fd, patience_s=1.2, beat=lambda: beats.append(time.monotonic()))
    with Lease(fd).held(), waiter.held() as granted:
        assert not granted
    assert len(beats) >= 2, "the holder hangs, not the waiter"
