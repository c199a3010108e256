"""What a runner gives back while nobody uses it, and has again for the next request."""

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edged.runner import protocol
from edged.runner.loading import Prefetch
from edged.runner.mapping import Rows
from edged.runner.turns import Turns
from edged.runner.warmth import Warmth

MIB = 1 << 20


class Engine:
    """Idle or busy, as a test says; what it is to wake with it keeps."""

    def __init__(self) -> None:
        self.idle = True
        self.wake: Callable[[], None] | None = None

    def rest(self, give_back: Callable[[], None], wake: Callable[[], None], busy: Callable[[], None]) -> None:
        if self.idle:
            self.wake = wake
            give_back()
        else:
            busy()

    def warm(self, request: int) -> None: ...


class Context:
    """Remembers whether it rests."""

    resting = False

    def rest(self) -> None:
        self.resting = True

    def wake(self) -> None:
        self.resting = False


class Serving:
    """A loaded model whose file is mapped and cached."""

    def __init__(self, path: Path, told: list[protocol.FromRunner]) -> None:
        self.engine, self.context = Engine(), Context()
        self.rows = Rows(str(path), (), 1)
        self.prefetch = Prefetch(
            str(path), [protocol.FileRange(0, path.stat().st_size)], told.append, Turns(None, 0)
        )
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


class Scene:
    """A runner's parts around one file."""

    def __init__(self, path: Path, **start: Any) -> None:
        self.path = path
        self.told: list[protocol.FromRunner] = []
        self.sent: list[protocol.FromRunner] = []
        self.serving = Serving(path, self.told)
        self.serving.prefetch.start()
        self.serving.prefetch.wait()
        self.warmth = Warmth(_start(path, **start), self.serving, self.sent.append)

    @property
    def read_bytes(self) -> int:
        """What the reader said last that it has read."""
        (last,) = [each for each in self.told if isinstance(each, protocol.Progress)][-1:]
        return last.bytes_done


def _start(path: Path, **changes: Any) -> protocol.Start:
    return msgspec.convert(
        {
            "type": "start",
            **dict.fromkeys(("wait_for_prefetch", "warmup", "repack"), False),
            **dict.fromkeys(("n_ctx", "n_seq_max", "n_batch", "n_ubatch", "n_threads"), 1),
            **dict.fromkeys(("max_queue_tokens", "max_queue_requests"), 1),
            **dict.fromkeys(("type_k", "type_v"), "f16"),
            "mlock_bytes": 0,
            "kind": "generate",
            "path": str(path),
            "prefetch": [[0, path.stat().st_size]],
            "random_access": [],
            **changes,
        },
        protocol.Start,
    )


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Path, mmap.mmap]]:
    path = tmp_path / "m.gguf"
    path.write_bytes(os.urandom(8 * MIB))
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert view[:]
        yield path, view


def test_pages_are_given_back_and_read_again_for_the_next_work(file: tuple[Path, mmap.mmap]) -> None:
    scene = Scene(file[0])
    scene.warmth.cool(protocol.Cool())
    (cooled,) = scene.sent
    assert isinstance(cooled, protocol.Cooled)
    assert cooled.done
    assert cooled.freed_bytes >= 7 * MIB
    assert not scene.serving.context.resting
    assert scene.serving.forgotten == 0
    scene.told.clear()
    assert scene.serving.engine.wake is not None
    scene.serving.engine.wake()
    scene.serving.prefetch.wait()
    assert scene.read_bytes == 8 * MIB


def test_shrinking_gives_the_context_back_too(file: tuple[Path, mmap.mmap]) -> None:
    scene = Scene(file[0])
    scene.warmth.cool(protocol.Cool(shrink=True))
    assert scene.sent[0] == msgspec.structs.replace(scene.sent[0], done=True, shrunk=True)
    assert scene.serving.context.resting
    assert scene.serving.forgotten == 1
    assert scene.serving.engine.wake is not None
    scene.serving.engine.wake()
    assert not scene.serving.context.resting


def test_a_busy_runner_says_so_and_keeps_everything(file: tuple[Path, mmap.mmap]) -> None:
    scene = Scene(file[0])
    scene.serving.engine.idle = False
    scene.warmth.cool(protocol.Cool(shrink=True))
    assert scene.sent == [protocol.Cooled(done=False)]
    assert not scene.serving.context.resting


def test_what_is_pinned_is_read_before_anything_is_given_back(file: tuple[Path, mmap.mmap]) -> None:
    scene = Scene(file[0], mlock_bytes=MIB)
    scene.serving.prefetch = Prefetch(
        str(file[0]), [protocol.FileRange(0, MIB)], scene.told.append, Turns(None, 0)
    )
    scene.warmth.cool(protocol.Cool())
    assert scene.sent == [protocol.Cooled(done=False)]


def test_while_reading_ahead_is_not_allowed_pages_come_as_they_are_touched(
    file: tuple[Path, mmap.mmap],
) -> None:
    scene = Scene(file[0])
    scene.warmth.read_ahead(allowed=False)
    scene.warmth.cool(protocol.Cool())
    scene.told.clear()
    assert scene.serving.engine.wake is not None
    scene.serving.engine.wake()
    assert scene.serving.prefetch.done
    assert scene.told == []


def test_when_reading_ahead_is_allowed_again_what_was_given_back_is_read(
    file: tuple[Path, mmap.mmap],
) -> None:
    scene = Scene(file[0])
    scene.warmth.read_ahead(allowed=False)
    scene.warmth.cool(protocol.Cool())
    scene.told.clear()
    scene.warmth.read_ahead(allowed=True)
    scene.serving.prefetch.wait()
    assert scene.read_bytes == 8 * MIB


def test_a_file_that_has_been_removed_does_no_harm(
    file: tuple[Path, mmap.mmap], capfd: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(file[0])
    file[0].unlink()
    scene.warmth.cool(protocol.Cool())
    assert isinstance(scene.sent[0], protocol.Cooled)
    assert "cannot be given back" in capfd.readouterr().err
