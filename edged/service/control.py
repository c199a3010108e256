"""A Unix socket for what the machine's administrator asks of a running daemon, such as a reload.

Not HTTP on the port: that may need an API key which the new file no longer has, and which address it has may
be systemd's to say. Who may connect is decided by the socket's mode: the daemon's own user, and root. Runners
have the service's user too, and a hostile model may have taken one over: some commands are root's alone.

One line is asked, with the length of the text that follows if one does: `keys 70`. One JSON object is
answered when it is done: {"failed": false, "said": "..."}.
"""

import contextlib
import errno
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from edged.errors import EdgedError

log = logging.getLogger(__name__)

_NAME = "control.sock"
SYSTEM_FOLDER = Path("/run/edged")  # of the service: RuntimeDirectory=edged
_QUESTION_S = 5.0
_LONGEST_LINE_BYTES = 64
_LONGEST_TEXT_BYTES = 1 << 20
_CREDENTIALS = struct.Struct("3i")  # process, user and group


class _Question(NamedTuple):
    """What is asked, and who asks."""

    command: str
    text: str
    is_roots: bool


class Answer(msgspec.Struct, frozen=True):
    """What came of a command."""

    failed: bool
    said: str


def folders(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where the socket may lie, the nearest first: of the service, of this user, of the system."""
    service = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    user = environ.get("XDG_RUNTIME_DIR", "")
    named = [Path(service)] if service else []
    if os.path.isabs(user):
        named.append(Path(user, "edged"))
    return (*(folder for folder in named if folder != SYSTEM_FOLDER), SYSTEM_FOLDER)


class Control:
    """Listens until it is closed; each command runs in a thread of its own."""

    def __init__(
        self, commands: Mapping[str, Callable[[], str]], roots: Mapping[str, Callable[[str], str]]
    ) -> None:
        """A command returns what to say, or raises EdgedError. `roots` are given the text that came along."""
        self._commands = commands
        self._roots = roots
        self._is_service = False
        self._listening: socket.socket | None = None
        self._path: Path | None = None

    def open(self, environ: Mapping[str, str] = os.environ) -> None:
        """Listen from now on; where no place for the socket can be had, say so in the log."""
        self._is_service = "RUNTIME_DIRECTORY" in environ
        own = folders(environ)[0]
        path = own / _NAME
        try:
            own.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._listening = _listen(path)
        except OSError as error:
            log.warning("no control socket at %s (%s): reload with SIGHUP instead", path, error)
            return
        self._path = path
        threading.Thread(target=self._accept, args=(self._listening,), name="control", daemon=True).start()

    def close(self) -> None:
        """Take no more commands; those under way go on."""
        if self._listening is None or self._path is None:
            return
        with contextlib.suppress(OSError):  # it may have been removed with its folder
            self._path.unlink()
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._listening.close()
        self._listening = None

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), name="command", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(_QUESTION_S)
                answer = self._answer(self._question(connection))
                connection.sendall(msgspec.json.encode(answer) + b"\n")
            except OSError as error:
                log.debug("control: %s", error)

    def _question(self, connection: socket.socket) -> _Question:
        user = _user_of(connection)
        with connection.makefile("rb") as asked:
            line = asked.readline(_LONGEST_LINE_BYTES).decode("utf-8", "replace")
            command, _, length = line.strip().partition(" ")
            n_bytes = min(int(length), _LONGEST_TEXT_BYTES) if length.isdecimal() else 0
            text = asked.read(n_bytes).decode("utf-8", "replace")
        is_roots = user == 0 or (user == os.geteuid() and not self._is_service)
        return _Question(command, text, is_roots)

    def _answer(self, question: _Question) -> Answer:
        name = question.command
        try:
            if name in self._commands:
                return Answer(failed=False, said=self._commands[name]())
            if name not in self._roots:
                return Answer(failed=True, said=f"unknown command {name!r}")
            if not question.is_roots:
                return Answer(failed=True, said=f"only root may ask for `{name}`; try again with sudo")
            return Answer(failed=False, said=self._roots[name](question.text))
        except EdgedError as error:
            return Answer(failed=True, said=str(error))
        except Exception as error:
            log.exception("%s failed", name)
            return Answer(failed=True, said=f"an internal error, see the log: {error!r}")


def ask(command: str, environ: Mapping[str, str] = os.environ, text: str = "") -> Answer:
    """Have a running edged carry out a command, and wait until it has. Raises EdgedError if none can."""
    tried = []
    for folder in folders(environ):
        path = folder / _NAME
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(path))
            except OSError as error:
                tried.append(f"{path}: {error.strerror or error}")
                continue
            return _asked(connection, command, text.encode())
    raise EdgedError(
        f"no running edged can be asked ({'; '.join(tried)}); is it running, and may you ask it?"
    )


def _asked(connection: socket.socket, command: str, text: bytes) -> Answer:
    try:
        connection.sendall(f"{command} {len(text)}\n".encode() + text)
        return msgspec.json.decode(_until_closed(connection), type=Answer)
    except (OSError, msgspec.DecodeError) as error:
        raise EdgedError(f"edged ended before it had answered `{command}`; see its log") from error


def _listen(path: Path) -> socket.socket:
    """Listen at a path that nobody else listens at. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(sock.fileno(), 0o600)  # Linux makes the file with these rights
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _is_served(path):
                raise
            path.unlink()  # of an edged that was killed
            sock.bind(str(path))
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _user_of(connection: socket.socket) -> int:
    """Who has connected, by the kernel's word."""
    asked = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(asked)[1]
    return user


def _until_closed(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)
