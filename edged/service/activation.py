"""The listening socket that systemd holds for us (edged.socket), or one of our own. See sd_listen_fds(3).

systemd keeps its socket open while edged restarts: connections wait in its queue instead of being refused.
"""

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import NamedTuple

from edged.errors import ConfigError
from edged.service.bind import bind

log = logging.getLogger(__name__)

_FIRST_FD = 3
_EVERYWHERE = {"0.0.0.0", "::"}
_FIX = "edged.socket must pass one listening TCP socket: one ListenStream=PORT (or ADDRESS:PORT), Accept=no"


class Listening(NamedTuple):
    """A listening socket, and whether systemd goes on holding it when we close ours."""

    sock: socket.socket
    activated: bool


def listen(host: str, port: int, environ: MutableMapping[str, str] = os.environ) -> Listening:
    """systemd's socket if it passed one, else our own at `host` and `port`.

    Raises ConfigError for what edged cannot serve, and PortTaken.
    """
    passed = _passed(environ)
    if passed is None:
        return Listening(bind(host, port), False)
    own_host, own_port = passed.getsockname()[:2]
    same_host = own_host == host or {own_host, host} <= _EVERYWHERE
    if own_port != port or not same_host:
        log.warning(
            "listening on systemd's socket (edged.socket): %s port %d;"
            " server.host and server.port (%s, %d) are not used",
            *(own_host, own_port, host, port),
        )
    return Listening(passed, True)


def _passed(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The socket that was passed to this process; what says so is removed, for our children's sake."""
    count, of = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if of != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return None
    passed = range(_FIRST_FD, _FIRST_FD + int(count))
    for descriptor in passed:
        os.set_inheritable(descriptor, False)
    if len(passed) > 1:
        raise ConfigError([f"systemd passed {len(passed)} sockets; {_FIX}"])
    try:
        sock = socket.socket(fileno=_FIRST_FD)
    except OSError as error:
        raise ConfigError(
            [f"systemd passed something that is no socket ({error.strerror}); {_FIX}"]
        ) from error
    if not _serves(sock):
        sock.close()
        raise ConfigError([f"systemd passed a socket that edged cannot serve; {_FIX}"])
    return sock


def _serves(sock: socket.socket) -> bool:
    return (
        sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.type == socket.SOCK_STREAM
        and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    )
