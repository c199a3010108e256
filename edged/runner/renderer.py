"""Renders conversations in processes of their own: a chat template is a program, from whoever made the model.

A thread that loops cannot be ended, and its process would go with the memory that it takes. So a process that
is forked while the runner has nothing yet, and one thread, compiles the template, and forks one more, which
renders. The kernel ends that one where a conversation takes too much time, and gives it no more memory than
it may have; then the next one is forked. To fork for each conversation would delay first tokens by 1 to 5 ms.
"""

import contextlib
import gc
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from edged.errors import InvalidRequest, ModelFileError
from edged.runner.confine import end_with_parent
from edged.runner.engine.conversation import Traits, does_not_take

COMPUTE_S = 2.0  # for one conversation; honest ones take milliseconds
_PREPARE_COMPUTE_S = 10.0  # to import the template engine and compile, which takes a small board a second
_MEMORY_BYTES = 96 << 20  # beside what the process begins with
_WAIT_S = 30.0  # for an answer, where other processes have the cores
_LENGTH = struct.Struct("<I")
_MAX_ANSWER_BYTES = 128 << 20
_WORN_BYTES = _MEMORY_BYTES // 4  # a process that has grown by so much leaves too little to what comes next
_TEXT, _PROBLEM = b"t", b"p"
_STAYS, _ENDS = b"s", b"e"


class RendererEnded(Exception):
    """The process that has the template has ended, and nothing can be rendered any more."""


class Renderer:
    """The runner's end. For one thread at a time."""

    def __init__(self, control: socket.socket, pid: int) -> None:
        self._control = control
        self._pid = pid
        self._line: socket.socket | None = None  # to the process that rendered last, if it renders more

    @classmethod
    def fork(cls) -> "Renderer":
        """Only while this process has one thread."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            _run(lambda: _prepare_and_serve(_left_alone(theirs, parent)))
        theirs.close()
        return cls(ours, child)

    def prepare(self, source: str) -> None:
        """Have a template compiled; returns at once."""
        with contextlib.suppress(OSError):  # `traits` says so
            _send(self._control, source.encode("utf-8", "replace"))

    def traits(self) -> Traits:
        """What was found out about the template. Raises ModelFileError where it cannot be used."""
        try:
            raw = _receive(self._control)
        except OSError:  # it has ended before it had read everything
            raw = None
        if raw is None:
            raise ModelFileError("the model's chat template takes too long to compile, or too much memory")
        if raw.startswith(_PROBLEM):
            raise ModelFileError(raw[1:].decode("utf-8", "replace"))
        return msgspec.json.decode(raw[1:], type=Traits)

    def render(self, variables: Mapping[str, Any]) -> str:
        """What the template makes of `variables`. Raises InvalidRequest, RendererEnded."""
        line, self._line = self._line or self._next(), None
        line.settimeout(_WAIT_S)
        try:
            _send(line, msgspec.json.encode(variables))
            raw = _receive(line)
        except OSError:  # it has ended before it had read everything, or hangs
            raw = None
        if raw is not None and raw.startswith(_STAYS):
            self._line = line
        else:
            line.close()
        if raw is None:
            raise does_not_take(f"it took more than {COMPUTE_S:g} s of computing, or too much memory")
        kind, text = raw[1:2], raw[2:].decode()
        if kind == _PROBLEM:
            raise InvalidRequest(text, "messages")
        return text

    def _next(self) -> socket.socket:
        """The line to the next process that waits for conversations. Raises RendererEnded."""
        try:
            _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except OSError as error:
            raise RendererEnded(str(error)) from error
        if not descriptors:
            raise RendererEnded("it closed the connection")
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        """Let the other processes end, and return when they have."""
        if self._line is not None:
            self._line.close()
        self._control.close()
        os.waitpid(self._pid, 0)


# ---- the processes ----


def _run(work: Callable[[], None]) -> NoReturn:
    """All that a forked process does: nothing of what its parent was about to do may be done twice."""
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def _left_alone(control: socket.socket, parent: int) -> socket.socket:
    """Give up what belongs to the runner: whoever waits for its end must not wait for this process."""
    end_with_parent(parent)
    kept = {0, 1, 2, control.fileno()}
    for descriptor in {int(each.name) for each in Path("/proc/self/fd").iterdir()} - kept:
        with contextlib.suppress(OSError):  # that of the folder itself
            os.close(descriptor)
    return control


def _prepare_and_serve(control: socket.socket) -> None:
    source = _receive(control)
    if source is None:
        return
    _limit(_PREPARE_COMPUTE_S)
    from edged.runner.engine.template import Template  # here: a runner that embeds needs none of it
    from edged.runner.engine.traits import traits_of

    text = source.decode()
    try:
        template = Template(text)
        _send(control, _TEXT + msgspec.json.encode(traits_of(text, template.render)))
    except ModelFileError as error:
        _send(control, _PROBLEM + str(error).encode())
        return
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    gc.collect()
    gc.freeze()  # else a collection would copy the pages that its processes share
    while True:
        _hand_out(control, template.render)


def _hand_out(control: socket.socket, render: Callable[[Mapping[str, Any]], str]) -> None:
    """Fork a process for conversations, hand the runner the line to it, and wait for its end."""
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    with ours, theirs:
        child = os.fork()
        if child == 0:
            ours.close()
            _run(lambda: _answer_each(_left_alone(theirs, parent), render))
        socket.send_fds(control, [b"."], [ours.fileno()])
    os.waitpid(child, 0)


def _answer_each(line: socket.socket, render: Callable[[Mapping[str, Any]], str]) -> None:
    begun_bytes = _limit(COMPUTE_S)
    while _answer(line, render, begun_bytes):
        signal.setitimer(signal.ITIMER_PROF, COMPUTE_S)


def _answer(line: socket.socket, render: Callable[[Mapping[str, Any]], str], begun_bytes: int) -> bool:
    """Render one conversation; whether another one may follow."""
    out_of_memory = False
    try:
        raw = _receive(line)
        if raw is None:
            return False
        answer = _TEXT + render(msgspec.json.decode(raw)).encode("utf-8", "replace")
    except InvalidRequest as error:
        answer = _PROBLEM + str(error).encode("utf-8", "replace")
    except MemoryError:
        answer = _PROBLEM + str(does_not_take("it takes too much memory")).encode()
        out_of_memory = True
    stays = not out_of_memory and _address_space_bytes() < begun_bytes + _WORN_BYTES
    _send(line, (_STAYS if stays else _ENDS) + answer)
    return stays


def _limit(compute_s: float) -> int:
    """From here on: what computes longer ends the process, what takes more memory raises MemoryError.

    Returns the bytes that it has now.
    """
    signal.setitimer(signal.ITIMER_PROF, compute_s)
    begun_bytes = _address_space_bytes()
    most_bytes = begun_bytes + _MEMORY_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or most_bytes < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, hard))
    return begun_bytes


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


# ---- one line: a length, and so many bytes ----


def _send(line: socket.socket, raw: bytes) -> None:
    line.sendall(_LENGTH.pack(len(raw)) + raw)


def _receive(line: socket.socket) -> bytes | None:
    """What was sent; None where the other side has ended before."""
    head = _exactly(line, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    return _exactly(line, length) if length <= _MAX_ANSWER_BYTES else None


def _exactly(line: socket.socket, length: int) -> bytes | None:
    raw = bytearray()
    while len(raw) < length:
        piece = line.recv(min(length - len(raw), 1 << 20))
        if not piece:
            return None
        raw += piece
    return bytes(raw)
