"""The fake runner as a process, spoken to over a socketpair as the daemon does."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from edged.runner import protocol, pulse
from edged.runner.fake import knobs_of
from edged.runner.fake_answers import unit_vector
from tests.plans import kind_of

Frame = TypeVar("Frame")


class Daemon:
    """The daemon's end of the line."""

    def __init__(self, path: str) -> None:
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(20)
        pulse_fd = pulse.create()
        inherited = (theirs.fileno(), pulse_fd)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edged.runner.fake", *map(str, inherited)],
            pass_fds=inherited,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        os.close(pulse_fd)
        self._buffer = protocol.frames_from_runner()
        self._frames = self._read()
        self.send(_start(path))

    def send(self, frame: protocol.ToRunner) -> None:
        self._sock.sendall(protocol.pack(frame))

    def _read(self) -> Iterator[protocol.FromRunner]:
        while piece := self._sock.recv(1 << 16):
            yield from self._buffer.feed(piece)

    def next(self, kind: type[Frame]) -> Frame:
        """The next frame of a kind, skipping others."""
        return next(frame for frame in self._frames if isinstance(frame, kind))

    def rest(self) -> list[protocol.FromRunner]:
        return list(self._frames)

    def answer(self, request: int) -> tuple[str, int, str | None]:
        """Text, token count and finish reason of one generation."""
        text = ""
        while True:
            for event in self.next(protocol.Step).events:
                if event.id == request:
                    text += event.text
                    if event.finish_reason:
                        return text, event.n_generated, event.finish_reason

    def close(self) -> int:
        self._sock.close()
        code = self.process.wait(20)
        assert self.process.stderr
        self.process.stderr.close()
        return code


def _start(path: str) -> protocol.Start:
    return protocol.Start(
        path=path,
        kind=kind_of(path),
        wait_for_prefetch=False,
        warmup=False,
        repack=False,
        n_ctx=64,
        n_seq_max=2,
        n_batch=64,
        n_ubatch=64,
        type_k="f16",
        type_v="f16",
        n_threads=1,
        prefetch=(),
        random_access=(),
        mlock_bytes=0,
        max_queue_tokens=1000,
        max_queue_requests=4,
    )


@pytest.fixture
def spawn() -> Iterator[Callable[[str], Daemon]]:
    """Starts fake runners, and waits for them to end when the daemon goes away."""
    daemons = []

    def start(path: str) -> Daemon:
        daemons.append(Daemon(path))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


Spawn = Callable[[str], Daemon]


def _chat(request: int, text: str, **more: object) -> protocol.Generate:
    return protocol.Generate(id=request, messages=(protocol.Message("user", text),), **more)  # type: ignore[arg-type]


def test_it_echoes_the_last_user_message_word_by_word(spawn: Spawn) -> None:
    daemon = spawn("fake:generate")
    assert daemon.next(protocol.Ready).n_ctx == 64
    daemon.send(_chat(7, "one two three"))
    assert daemon.next(protocol.Admitted) == protocol.Admitted(7, 3, 0)
    assert daemon.answer(7) == ("one two three", 3, "stop")


def test_max_tokens_stop_and_ignore_eos(spawn: Spawn) -> None:
    daemon = spawn("fake:generate")
    daemon.send(_chat(1, "a b c d", max_tokens=2))
    assert daemon.answer(1) == ("a b", 2, "length")
    daemon.send(_chat(2, "a b c d", stop=("b c",)))
    assert daemon.answer(2) == ("a ", 3, "stop")
    daemon.send(_chat(3, "a b", max_tokens=5, sampling=protocol.Sampling(ignore_eos=True)))
    assert daemon.answer(3) == ("a b a b a", 5, "length")
    daemon.send(protocol.Generate(id=4, tokens=(5, 6)))
    assert daemon.answer(4) == ("t5 t6", 2, "stop")


def test_a_context_ends_every_answer_at_last(spawn: Spawn) -> None:
    daemon = spawn("fake:generate?longest=3")
    daemon.send(_chat(1, "a b", sampling=protocol.Sampling(ignore_eos=True)))
    assert daemon.answer(1) == ("a b a", 3, "length")
    daemon.send(_chat(2, "a b c d", max_tokens=2))
    assert daemon.answer(2) == ("a b", 2, "length")


def test_a_cancelled_request_frees_its_slot_and_says_no_more(spawn: Spawn) -> None:
    daemon = spawn("fake:generate?slots=1")
    endless = protocol.Sampling(ignore_eos=True)
    daemon.send(_chat(1, "for ever", sampling=endless))
    daemon.next(protocol.Step)
    daemon.send(_chat(2, "next"))
    daemon.send(protocol.Cancel(1))
    assert daemon.answer(2) == ("next", 1, "stop")
    daemon.send(protocol.Shutdown())
    assert not [frame for frame in daemon.rest() if isinstance(frame, protocol.Step)]


def test_embeddings_are_unit_vectors_of_the_length(spawn: Spawn) -> None:
    daemon = spawn("fake:embed?n_embd=4")
    daemon.send(protocol.Embed(id=1, texts=("abc", "de")))
    frame = daemon.next(protocol.Embeddings)
    assert frame.n_tokens == (3, 2)
    expected = unit_vector(3, 4) + unit_vector(2, 4)
    assert struct.unpack("<8f", frame.vectors) == pytest.approx(expected)
    assert sum(value**2 for value in unit_vector(3, 4)) == pytest.approx(1)


def test_too_long_names_both_numbers(spawn: Spawn) -> None:
    daemon = spawn("fake:generate")
    daemon.send(_chat(1, "x " * 70))
    rejected = daemon.next(protocol.Rejected)
    assert rejected.kind == "invalid"
    assert "70 tokens" in rejected.message
    assert "context of 64" in rejected.message


def test_it_reports_progress_while_it_loads(spawn: Spawn) -> None:
    daemon = spawn("fake:generate?load_s=0.05&file_bytes=50")
    assert daemon.next(protocol.Progress) == protocol.Progress("prefetch", 0, 50)
    daemon.next(protocol.Ready)


@pytest.mark.parametrize("knob", ["crash_at_load=1", "load_fails=damaged", "bogus=1", "slots=0"])
def test_failures_to_load(spawn: Spawn, knob: str) -> None:
    daemon = spawn("fake:generate?" + knob)
    frames = daemon.rest()
    assert not [frame for frame in frames if isinstance(frame, protocol.Ready)]
    reported = [frame for frame in frames if isinstance(frame, protocol.LoadFailed)]
    assert len(reported) == (0 if knob.startswith("crash") else 1)
    assert daemon.process.wait(20) != 0


def test_it_crashes_after_so_many_steps(spawn: Spawn) -> None:
    daemon = spawn("fake:generate?crash_after=2")
    daemon.send(_chat(1, "a b c d"))
    assert sum(isinstance(frame, protocol.Step) for frame in daemon.rest()) == 2
    assert daemon.process.wait(20) == -9


def test_with_a_marker_file_it_crashes_once(spawn: Spawn, tmp_path: Path) -> None:
    path = f"fake:generate?crash_after=0&once={tmp_path / 'crashed'}"
    first = spawn(path)
    first.send(_chat(1, "a"))
    assert first.process.wait(20) == -9
    second = spawn(path)
    second.send(_chat(1, "a"))
    assert second.answer(1) == ("a", 1, "stop")


def test_garbage_is_no_frame(spawn: Spawn) -> None:
    daemon = spawn("fake:generate?garbage_after=0")
    daemon.send(_chat(1, "a"))
    with pytest.raises(protocol.ProtocolError):
        daemon.rest()


@pytest.mark.parametrize(("knob", "kind"), [("full=1", "full"), ("fails=1", "failed")])
def test_it_rejects(spawn: Spawn, knob: str, kind: str) -> None:
    daemon = spawn("fake:embed?" + knob)
    daemon.send(protocol.Embed(id=3, texts=("a",)))
    rejected = daemon.next(protocol.Rejected)
    assert (rejected.id, rejected.kind) == (3, kind)


def test_tokens_are_bytes_there_and_back(spawn: Spawn) -> None:
    daemon = spawn("fake:generate")
    daemon.send(protocol.Tokenize(id=1, text="aé", pieces=True))
    told = daemon.next(protocol.Tokens)
    assert (told.tokens, told.pieces) == ((97, 0xC3, 0xA9), (b"a", b"\xc3", b"\xa9"))
    daemon.send(protocol.Detokenize(id=2, tokens=told.tokens))
    assert daemon.next(protocol.Text) == protocol.Text(2, "aé")
    daemon.send(protocol.Detokenize(id=3, tokens=(256,)))
    assert daemon.next(protocol.Rejected).param == "tokens"


def test_it_renders_and_ranks_by_words(spawn: Spawn) -> None:
    daemon = spawn("fake:rank")
    tools = (protocol.Tool("add"),)
    daemon.send(protocol.Render(id=1, messages=(protocol.Message("user", "hi"),), tools=tools))
    assert daemon.next(protocol.Text).text == "tool: add\nuser: hi\nassistant:"
    daemon.send(protocol.Rank(id=2, query="red fox", documents=("a red fox", "a fox", "")))
    assert daemon.next(protocol.Scores).scores == (2.0, 1.0, 0.0)


def test_it_says_how_it_writes(spawn: Spawn) -> None:
    daemon = spawn("fake:generate?tools=mistral&reasons=1&opens_reasoning=1")
    assert daemon.next(protocol.Ready).chat == protocol.ChatFormat("mistral", ("<think>", "</think>"))
    daemon.send(_chat(1, "a"))
    assert daemon.next(protocol.Admitted).opens_reasoning
    assert spawn("fake:generate?chat=0").next(protocol.Ready).chat is None


def test_it_warms_up(spawn: Spawn) -> None:
    daemon = spawn("fake:generate")
    daemon.send(protocol.Warmup(9))
    assert daemon.next(protocol.Warmed).id == 9


def test_a_hanging_one_ends_with_the_daemon(spawn: Spawn) -> None:
    daemon = spawn("fake:generate?hang_after=0")
    daemon.send(_chat(1, "a"))
    daemon.next(protocol.Admitted)
    assert daemon.close() == 0
    assert not os.path.exists(f"/proc/{daemon.process.pid}/fd/0")


def test_knobs_without_a_query() -> None:
    assert knobs_of("fake:generate") == knobs_of("fake:embed")
