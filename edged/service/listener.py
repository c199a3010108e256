"""Waitress's server, whose connections are `Channel`s that a loop of ours sweeps."""

import socket
from collections.abc import Callable
from typing import Any

from waitress.server import TcpWSGIServer

from edged.service.channel import Channel, Secured


class Listener(TcpWSGIServer):
    """Accepts connections; whoever sets `secure` decides whether they speak TLS."""

    channel_class = Channel
    retiring = False  # every answer is the last one on its connection
    secure: Callable[[socket.socket], Secured] | None = None  # puts TLS before what is accepted

    def adopt(self, sock: socket.socket) -> None:
        """Serve a connection that nobody made from outside."""
        self.channel_class(self, sock, ("127.0.0.1", 0), self.adj, map=self._map)

    def accept(self) -> tuple[socket.socket | Secured, Any] | None:
        """A connection, if there is one."""
        accepted: tuple[socket.socket, Any] | None = super().accept()
        if accepted is None or self.secure is None:
            return accepted
        sock, address = accepted
        return self.secure(sock), address

    def maintenance(self, now: float) -> None:
        """Nothing: it goes by the wall clock, and only closes idle connections. `Server` sweeps instead."""

    def set_socket_options(self, conn: socket.socket) -> None:
        """No delays between tokens; and notice a peer that vanished without saying so within a minute."""
        super().set_socket_options(conn)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
