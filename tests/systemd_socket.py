"""Sockets passed to a process as systemd passes them: from descriptor 3 on, with LISTEN_FDS."""

import socket
import sys
from collections.abc import Sequence

_WRAPPER = """
import os, sys
passed = [int(fd) for fd in sys.argv[1].split(",")]
for place, fd in enumerate(passed):
    os.dup2(fd, 3 + place)
os.environ.update(LISTEN_FDS=str(len(passed)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="edged")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def command_with_sockets(sockets: Sequence[socket.socket], *arguments: str) -> list[str]:
    """A command that runs Python with `arguments`; start it with the sockets in `pass_fds`."""
    numbers = ",".join(str(sock.fileno()) for sock in sockets)
    return [sys.executable, "-c", _WRAPPER, numbers, *arguments]
