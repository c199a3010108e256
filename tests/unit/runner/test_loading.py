"""The reader of a model file, and what the loading side of a runner tells about itself."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edged.runner import protocol
from edged.runner.loading import Prefetch, ranges_to_warm, reads_so_far, telling_reads, without
from edged.runner.protocol import FileRange, Progress
from edged.runner.turns import Turns
from tests.device.page_cache import StillCached, cold

STEP = protocol.Step(())
MIB = 1 << 20


class Others(Turns):
    """It is the turn of others until `granted` is set."""

    def __init__(self) -> None:
        super().__init__(None, 0)
        self.waiting = threading.Event()
        self.granted = threading.Event()
        self.told: list[int] = []

    def mine(self, left_bytes: int) -> bool:
        self.told.append(left_bytes)
        return self.granted.is_set()

    def wait(self, left_bytes: int, stopped: Callable[[], bool]) -> None:
        self.told.append(left_bytes)
        self.waiting.set()
        while not self.granted.wait(0.01) and not stopped():
            continue


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(3 * MIB))
    return path


def make_cold(path: Path) -> bool:
    """Whether it could be put out of the page cache; to ask by reading would have the kernel read ahead."""
    try:
        cold(path)
    except StillCached:
        return False
    return True


def test_everything_is_read_and_told(file: Path) -> None:
    told: list[Progress] = []
    turns = Others()
    turns.granted.set()
    reader = Prefetch(str(file), [FileRange(0, 2 * MIB), FileRange(2 * MIB, MIB)], told.append, turns)
    reader.start()
    reader.wait()
    assert reader.done
    assert reader.reading_s > 0
    assert told[-1] == Progress("prefetch", 3 * MIB, 3 * MIB)
    assert turns.told == [3 * MIB, 2 * MIB, MIB]


def test_what_is_cached_needs_no_turn(file: Path) -> None:
    tells = make_cold(file)
    file.read_bytes()
    turns = Others()
    if not tells:  # a file system that cannot tell what is cached
        turns.granted.set()
    reader = Prefetch(str(file), [FileRange(0, 3 * MIB)], lambda _: None, turns)
    reader.start()
    reader.wait_until_begun()
    reader.wait()
    assert not turns.waiting.is_set()


def test_what_is_not_cached_waits_for_its_turn(file: Path) -> None:
    known = make_cold(file)
    turns = Others()
    reader = Prefetch(str(file), [FileRange(0, 3 * MIB)], lambda _: None, turns)
    reader.start()
    if known:
        assert turns.waiting.wait(20)
        assert not reader.done
    turns.granted.set()
    reader.wait_for_turn()
    reader.wait()
    assert reader.done


def test_a_reader_shows_life_with_each_chunk_and_while_others_read(file: Path) -> None:
    beats = threading.Semaphore(0)
    known = make_cold(file)
    turns = Others()
    reader = Prefetch(str(file), [FileRange(0, 3 * MIB)], lambda _: None, turns, beats.release)
    reader.start()
    if known:
        for _ in range(5):  # it waits for as long as others read
            assert beats.acquire(timeout=20)
        assert not reader.done
    turns.granted.set()
    reader.wait()
    for _ in range(3):
        assert beats.acquire(timeout=20)


def test_a_reader_that_waits_for_its_turn_can_be_stopped(file: Path) -> None:
    make_cold(file)
    reader = Prefetch(str(file), [FileRange(0, 3 * MIB)], lambda _: None, Others())
    reader.start()
    reader.stop()
    reader.wait()
    assert reader.stopped


def test_a_file_that_is_too_short_ends_the_reader(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reader = Prefetch(str(file), [FileRange(0, 4 * MIB)], lambda _: None, Turns(None, 0))
    reader.start()
    reader.wait()
    assert "ended at byte 3145728" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        ([], [(100, 50), (0, 50)]),
        ([(0, 200)], []),
        ([(110, 10)], [(100, 10), (120, 30), (0, 50)]),
        ([(140, 100), (0, 10)], [(100, 40), (10, 40)]),
        ([(50, 50)], [(100, 50), (0, 50)]),
        ([(110, 10), (115, 20)], [(100, 10), (135, 15), (0, 50)]),
    ],
)
def test_parts_are_left_out(removed: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
    ranges = [FileRange(100, 50), FileRange(0, 50)]
    found = without(ranges, [FileRange(*piece) for piece in removed])
    assert [(piece.offset, piece.length) for piece in found] == left


def test_a_warm_up_reads_neither_what_is_pinned_nor_what_copies_have_replaced() -> None:
    start = protocol.Start(
        path="m.gguf", kind="generate", wait_for_prefetch=True, warmup=True, repack=True, n_ctx=1,
        n_seq_max=1, n_batch=1, n_ubatch=1, type_k="f16", type_v="f16", n_threads=1,
        prefetch=(FileRange(0, 100),), random_access=(), replaced=(FileRange(20, 80),), mlock_bytes=0,
        max_queue_tokens=1, max_queue_requests=1,
    )  # fmt: skip
    assert ranges_to_warm(start) == (FileRange(0, 20),)
    assert ranges_to_warm(msgspec.structs.replace(start, mlock_bytes=100)) == ()


def test_reads_of_this_process() -> None:
    reads = reads_so_far()
    assert reads.read_bytes is None or reads.read_bytes >= 0
    assert reads.major_faults >= 0
    later = reads_so_far()
    assert later.major_faults >= reads.major_faults


def test_the_first_answer_is_followed_by_what_it_has_read_and_no_other() -> None:
    sent: list[protocol.FromRunner] = []
    send = telling_reads(sent.append)
    gauges = protocol.Gauges(busy_slots=1, queued_requests=0, queued_tokens=0)
    for frame in (gauges, STEP, STEP):
        send(frame)
    assert [type(frame) for frame in sent] == [
        protocol.Gauges,
        protocol.Step,
        protocol.Reads,
        protocol.Step,
    ]
