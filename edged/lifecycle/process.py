"""One runner process: spawned with a socketpair, its frames and log lines read in one loop, always reaped."""

import importlib.util
import logging
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edged.errors import RunnerFailed
from edged.lifecycle.signs import Signs, is_asleep, signs_of
from edged.runner import protocol, pulse

log = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 10.0
_KEPT_LOG_LINES = 20
_MAX_LINE_BYTES = 4096
_STOP_S = 5.0
# How often OpenMP threads look at a barrier before they sleep: for longer than lies between the end of a step
# and the next one (a third of a millisecond), since waking them takes a twentieth of a step; over soon where
# one waits for a core, or another runner computes. libgomp's own 300,000 take milliseconds here, one on ARM.
_BARRIER_SPINS = {"x86_64": "50000"}
# what systemd tells a service about itself; LISTEN_* the daemon has removed from its own environment
_SYSTEMDS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_PING = protocol.pack(protocol.Ping())

LogLine = str
Event = protocol.FromRunner | LogLine


def lazy_map_library() -> Path | None:
    """The compiled lazymap, or None where the package was installed without a compiler."""
    return next((Path(__file__).parent.parent / "runner").glob("lazymap*.so"), None)


def llama_libraries() -> Path | None:
    """The folder of llama.cpp's libraries, found without importing anything; None where there is none."""
    spec = importlib.util.find_spec("llama_cpp")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(places[0], "lib") if places else None


class RunnerProcess:
    """A running child. Frames may be sent from any thread; `events` is for one thread."""

    def __init__(self, module: str, inherited: Sequence[int], *, spare: bool = False) -> None:
        """`inherited` are the descriptors that all runners share.

        A `spare` waits for a model that nobody has asked for yet, and disturbs no others by its imports.
        """
        ours, theirs = socket.socketpair()
        ours.settimeout(_SEND_TIMEOUT_S)
        library = None
        self._pulse = os.fdopen(pulse.create(), "rb", buffering=0)
        try:
            library = _opened(lazy_map_library())
            descriptors = (theirs.fileno(), self._pulse.fileno(), library, *inherited)
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-m", module, str(theirs.fileno()), str(self._pulse.fileno())),
                    *(["spare"] if spare else []),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[descriptor for descriptor in descriptors if descriptor is not None],
                env=_environment(os.environ, library),
                start_new_session=True,  # a Ctrl-C on the terminal is the daemon's to handle
            )
        except OSError:
            ours.close()
            self._pulse.close()
            raise
        finally:
            theirs.close()
            if library is not None:
                os.close(library)
        self._connection = ours
        self._send_lock = threading.Lock()
        self._log_lines: deque[str] = deque(maxlen=_KEPT_LOG_LINES)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the child has not ended yet."""
        return self._child.poll() is None

    @property
    def is_idle(self) -> bool:
        """Whether it has imported all that models need, and waits to be told of one."""
        n_beats, _ = pulse.read(self._pulse.fileno())
        return n_beats > 0 and is_asleep(self.pid) and self.alive

    @property
    def last_log_lines(self) -> tuple[str, ...]:
        """The end of what it wrote to its log."""
        return tuple(self._log_lines)

    def send(self, frame: protocol.ToRunner) -> None:
        """Send a frame. Raises RunnerFailed when the runner does not take it any more, and ends it then.

        Half a frame may have been sent, so nothing can follow it.
        """
        raw = protocol.pack(frame)
        try:
            with self._send_lock:
                self._connection.sendall(raw)
        except OSError as error:
            self.kill()
            raise RunnerFailed(f"the runner (pid {self.pid}) does not take requests: {error}") from error

    def ping(self) -> None:
        """Ask for a sign of life; nothing is sent to a runner that takes no frames: it shows none anyway."""
        if not self._send_lock.acquire(blocking=False):
            return
        try:
            room = select.poll()
            room.register(self._connection, select.POLLOUT)
            if room.poll(0):
                self._connection.sendall(_PING)
        except (OSError, ValueError) as error:
            log.debug("pid %d: no ping: %s", self.pid, error)
        finally:
            self._send_lock.release()

    def computing(self) -> frozenset[int] | None:
        """The requests of its last batch; None where it cannot say."""
        return pulse.computing(self._pulse.fileno())

    def signs(self, *, loading: bool) -> Signs:
        """Its signs of life."""
        return signs_of(self.pid, self._pulse.fileno(), loading=loading)

    def events(self, patience: Callable[[], float | None]) -> Iterator[Event]:
        """Frames and log lines until the runner closes or dies.

        `patience` is asked before each wait how long it may be (None: for ever; 0 ends `events`).
        A runner that has closed the connection has a few seconds to die. Raises what `patience` raises, and
        protocol.ProtocolError on a frame that breaks the contract.
        """
        frames = protocol.frames_from_runner()
        lines = _Lines()
        assert self._child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while selector.get_map() and ((left_s := patience()) is None or left_s > 0):
                for key, _ in selector.select(left_s):
                    if key.fileobj is self._connection:
                        piece = _receive(self._connection)
                        yield from frames.feed(piece)
                    else:
                        piece = os.read(self._child.stdout.fileno(), 1 << 16)
                        for line in lines.feed(piece):
                            self._log_lines.append(line)
                            yield line
                    if not piece:
                        selector.unregister(key.fileobj)
                    if not piece and key.fileobj is self._connection:
                        patience = _seconds_from_now(_STOP_S)

    def read_log(self) -> None:
        """Read what a runner has said that has ended and had no `events`, for `last_log_lines`."""
        assert self._child.stdout is not None
        self._log_lines.extend(_Lines().feed(os.read(self._child.stdout.fileno(), 1 << 16) + b"\n"))

    def interrupt(self) -> None:
        """Make `events` end soon: ask the child to stop, whatever it is doing."""
        self._child.terminate()

    def close(self) -> int:
        """Reap the child: it has closed or is told to; killed if it does not end. Returns its exit code."""
        self._connection.close()
        try:
            code = self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._pulse.close()
        return code

    def kill(self) -> None:
        """SIGKILL: for a runner that is hung or has broken its contract."""
        self._child.kill()


def _seconds_from_now(duration_s: float) -> Callable[[], float]:
    end_s = time.monotonic() + duration_s
    return lambda: end_s - time.monotonic()


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""


def _opened(library: Path | None) -> int | None:
    return None if library is None else os.open(library, os.O_RDONLY)


def plain_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that computes: what systemd says is ours, and an abort forks no debugger."""
    environment = {key: value for key, value in own.items() if key not in _SYSTEMDS}
    return environment | {"GGML_NO_BACKTRACE": "1"}


def _environment(own: Mapping[str, str], library: int | None) -> dict[str, str]:
    """A runner's environment: lazymap first in front of libc, and short spinning.

    The library is named by its descriptor: LD_PRELOAD is split at the spaces and colons of a path.
    """
    environment = plain_environment(own)
    if spins := _BARRIER_SPINS.get(os.uname().machine):
        environment.setdefault("GOMP_SPINCOUNT", spins)
    if library is not None:
        preloaded = [f"/proc/self/fd/{library}", own.get("LD_PRELOAD")]
        environment["LD_PRELOAD"] = " ".join(filter(None, preloaded))
    return environment


class _Lines:
    """Text lines out of a byte stream."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, piece: bytes) -> list[str]:
        *lines, self._pending = (self._pending + piece).split(b"\n")
        if self._pending and (not piece or len(self._pending) > _MAX_LINE_BYTES):
            lines.append(self._pending)
            self._pending = b""
        return [line.decode("utf-8", "replace") for line in lines if line]
