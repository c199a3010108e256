"""From this machine into a container: its process ids, its network, and commands in all of it."""

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = ("HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=dumb", f"PATH={SYSTEM_PATH}")
_libc = ctypes.CDLL(None, use_errno=True)


def entering(leader: int, *argv: str) -> list[str]:
    """The command that runs `argv` as root in the container of this leader, in an environment of its own."""
    every = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
    # one that outlived this process would keep the container's last processes from being gone
    return [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "nsenter",
        "-t",
        str(leader),
        *every,
        "--",
        "env",
        "-i",
        *_ENVIRONMENT,
        *argv,
    ]


def pid_inside(pid: int) -> int | None:
    """A process's id in the container that it is in; None when it is in none, or has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    line = next((line for line in status.splitlines() if line.startswith("NSpid:")), "")
    ids = line.split()[1:]
    return int(ids[-1]) if len(ids) > 1 else None


def connect(leader: int, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection of this process to the loopback address of the container of this leader."""
    with _network_of(leader):  # a socket stays in the network that it was made in
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(("127.0.0.1", port))
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _network_of(pid: int) -> Iterator[None]:
    """The calling thread, and no other, is in a process's network."""
    here = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(here)
    finally:
        os.close(here)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns(2) failed")
