"""Frames to the daemon, from any thread of the runner."""

import os
import socket
import threading

from edged.runner import protocol


class Outbox:
    """Sends whole frames one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, frame: protocol.FromRunner) -> None:
        """Send a frame. Ends the process when the daemon has gone: nobody is left to answer to."""
        raw = protocol.pack(frame)
        try:
            with self._lock:
                self._connection.sendall(raw)
        except OSError:
            os._exit(1)  # another thread may be inside llama.cpp, which an orderly exit would wait for
