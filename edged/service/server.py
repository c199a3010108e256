"""Waitress around a socket that is already bound, with limits on everything a client can hold.

It serves before the application exists (see `liveness`), in its own thread, and never trusts proxy headers.
"""

import logging
import resource
import socket
import threading
import time
from collections.abc import Callable

import msgspec
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher

from edged.service.bind import BACKLOG
from edged.service.channel import Channel, Phase, Secured
from edged.service.listener import Listener
from edged.service.liveness import Frontdoor, Wsgi

log = logging.getLogger(__name__)

# For /livez, /readyz and /metrics while every working request holds a thread, and for all who follow events.
RESERVE_THREADS = 4 + 8
_RESERVE_FILES = 256  # model files, runners' sockets, /proc, logs
_MAX_HEADER_BYTES = 32 << 10
_LINGER_S = 5.0
_FAREWELL_S = 1.0  # for what a client may be sending on an open connection while the server retires
_RETIRING_SWEEP_S = 0.05
_UPLOADS_HELD = 4  # unfinished bodies of the largest size that fit into memory together
_WORKING: tuple[Phase, ...] = ("work", "output")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may hold: the `server` section of the configuration."""

    max_requests: int
    max_connections: int
    max_body_bytes: int
    header_timeout_s: float
    idle_timeout_s: float
    answer_timeout_s: float  # also for a reader that takes a byte now and then

    def patience_s(self, phase: Phase) -> float | None:
        """How long a connection may stay in a phase; None: as long as the application works on it."""
        if phase == "header":
            return self.header_timeout_s
        if phase == "linger":
            return _LINGER_S
        return None if phase == "work" else self.idle_timeout_s


class Server:
    """Serves one bound socket, which it owns from here on. `start` at once, `set_app` when there is one."""

    def __init__(self, sock: socket.socket, limits: Limits, app_wait_s: float = 30.0) -> None:
        self._limits = limits
        self._frontdoor = Frontdoor(app_wait_s, limits.max_requests)
        self._dispatcher = ThreadedTaskDispatcher()
        self._map: dict[int, wasyncore.dispatcher] = {}
        self._stopped = threading.Event()
        self._left_at_s: float | None = None  # the listening socket, for whoever else holds it
        self._hanging_up = False
        self._n_working = 0  # requests, when somebody last counted
        self._thread = threading.Thread(target=self._loop, name="http", daemon=True)
        self._sweep_s = _sweep_s(limits)
        self._listener = Listener(
            self._frontdoor,
            self._map,
            _sock=sock,
            dispatcher=self._dispatcher,
            adj=_adjustments(sock, limits),
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
            bind_socket=False,
        )

    @property
    def url(self) -> str:
        """Where it listens; a wildcard address stays as it is."""
        host, port = self._listener.effective_host, self._listener.effective_port
        scheme = "http" if self._listener.secure is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.effective_port)

    def start(self) -> None:
        """Answer /livez from now on, in threads of its own."""
        self._dispatcher.set_thread_count(self._limits.max_requests + RESERVE_THREADS)
        self._thread.start()

    def set_limits(self, limits: Limits) -> None:
        """Go on by other limits; what clients hold already, they keep."""
        adjusted = self._listener.adj
        adjusted.connection_limit = _connections_within_file_limit(limits.max_connections)
        adjusted.max_request_body_size = adjusted.inbuf_overflow = limits.max_body_bytes + 1
        self._limits = limits
        self._sweep_s = _sweep_s(limits)
        self._dispatcher.set_thread_count(limits.max_requests + RESERVE_THREADS)

    def set_tls(self, secure: Callable[[socket.socket], Secured] | None) -> None:
        """Put TLS before connections from now on, None: no more. Those that are open go on as they are."""
        self._listener.secure = secure

    def set_app(self, app: Wsgi) -> None:
        """Serve `app` from now on, and what has waited for it."""
        self._frontdoor.set_app(app)

    def answers(self, timeout_s: float) -> bool:
        """Whether a request gets through the loop, a thread and back; nobody outside can hinder it."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(timeout_s)
            self._listener.trigger.pull_trigger(lambda: self._listener.adopt(theirs))
            try:
                ours.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return ours.recv(64).startswith(b"HTTP/1.1 200 ")
            except OSError:
                return False

    def retire(self, *, keep_accepting: bool) -> None:
        """Say with every answer that it is the last one on its connection; `drain` then waits for that.

        Without `keep_accepting` new connections are left in the socket's queue, for whoever else holds it.
        """
        self._listener.retiring = True
        if not keep_accepting:
            self._listener.trigger.pull_trigger(self._leave)

    def drain(self, timeout_s: float, tell: Callable[[int], None] = lambda _n: None) -> bool:
        """Wait until no request is at work, answering meanwhile; False if one still is after `timeout_s`.

        After `retire` without accepting, until no connection is open: none that was accepted is dropped while
        its client may be sending. `tell` hears about once a second how many requests are at work.
        """
        deadline = time.monotonic() + timeout_s
        while not self._wait(self._is_drained, min(deadline, time.monotonic() + 1.0)):
            if time.monotonic() >= deadline:
                return False
            tell(self._n_working)
        return True

    def _is_drained(self) -> bool:
        self._n_working = sum(channel.phase() in _WORKING for channel in self._channels())
        return not (self._n_working if self._left_at_s is None else self._channels())

    def stop_accepting(self) -> None:
        """Refuse new connections and drop those without a request; requests at work go on."""
        self._listener.trigger.pull_trigger(self._hang_up)

    def close(self, timeout_s: float = 5.0) -> None:
        """Let the running requests end for up to `timeout_s`, then close every connection. Idempotent."""
        if self._stopped.is_set():
            return
        deadline = time.monotonic() + timeout_s
        if self._thread.is_alive():
            self.stop_accepting()
            self._dispatcher.shutdown(timeout=timeout_s)
            self._wait(lambda: not any(c.total_outbufs_len for c in self._channels()), deadline)
        self._stopped.set()
        if self._thread.is_alive():
            self._listener.pull_trigger()
            self._thread.join()
        wasyncore.close_all(self._map, ignore_all=True)
        self._listener.trigger.close()

    def _wait(self, holds: Callable[[], bool], deadline: float) -> bool:
        """Wait until something holds for the connections, which only the loop's thread may look at."""
        held = threading.Event()

        def look() -> None:
            if holds():
                held.set()

        while not held.is_set() and time.monotonic() < deadline:
            self._listener.trigger.pull_trigger(look)
            held.wait(0.02)
        return held.is_set()

    def _channels(self) -> list[Channel]:
        return list(self._listener.active_channels.values())

    def _leave(self) -> None:
        """In the loop's thread: the listening socket is the loop's."""
        self._left_at_s = time.monotonic()
        self._sweep_s = min(self._sweep_s, _RETIRING_SWEEP_S)
        self._listener.accepting = False
        self._listener.del_channel()
        if self._listener.socket is not None:
            self._listener.socket.close()

    def _hang_up(self) -> None:
        self._leave()
        self._hanging_up = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        for channel in self._channels():
            if channel.phase() not in _WORKING:
                channel.handle_close()

    def _loop(self) -> None:
        next_sweep_s = 0.0
        while not self._stopped.is_set():
            # poll, not select: select fails beyond file descriptor 1023.
            wasyncore.loop(timeout=self._sweep_s, use_poll=True, map=self._map, count=1)
            now_s = time.monotonic()
            if now_s >= next_sweep_s:
                next_sweep_s = now_s + self._sweep_s
                self._sweep(now_s)
            if len(self._map) >= self._listener.adj.connection_limit:
                self._make_room(now_s)

    def _sweep(self, now_s: float) -> None:
        """Close connections that are overdue, and the largest uploads when they hold too much memory."""
        if self._hanging_up:  # also those that were still at work when it began
            self._drop_idle()
        uploads = []
        for channel in self._channels():
            is_overdue = channel.age_s(now_s) > self._patience_s(channel, now_s)
            if is_overdue or channel.backlog_s(now_s) > self._limits.answer_timeout_s:
                channel.handle_close()
            elif held_bytes := channel.unfinished_body_bytes():
                uploads.append((held_bytes, channel))
        held = sum(held_bytes for held_bytes, _ in uploads)
        for held_bytes, channel in sorted(uploads, key=lambda upload: upload[0], reverse=True):
            if held <= self._limits.max_body_bytes * _UPLOADS_HELD:
                break
            held -= held_bytes
            channel.handle_close()

    def _patience_s(self, channel: Channel, now_s: float) -> float:
        if self._left_at_s is not None and channel.is_silent and now_s - self._left_at_s > _FAREWELL_S:
            return _FAREWELL_S
        patience_s = self._limits.patience_s(channel.phase())
        return float("inf") if patience_s is None else patience_s

    def _make_room(self, now_s: float) -> None:
        """Close what has waited longest without a request: a flood must not shut others out."""
        waiting = [channel for channel in self._channels() if channel.phase() not in _WORKING]
        waiting.sort(key=lambda channel: channel.age_s(now_s), reverse=True)
        for channel in waiting[: max(1, len(self._map) // 16)]:
            channel.handle_close()


def _sweep_s(limits: Limits) -> float:
    return min(1.0, limits.header_timeout_s / 4)


def _adjustments(sock: socket.socket, limits: Limits) -> Adjustments:
    return Adjustments(
        sockets=[sock],
        backlog=BACKLOG,  # waitress sets it anew, also on a socket that systemd passed
        connection_limit=_connections_within_file_limit(limits.max_connections),
        max_request_header_size=_MAX_HEADER_BYTES,
        max_request_body_size=limits.max_body_bytes + 1,  # waitress refuses from this size on
        # Prompts and answers stay off the disk (a tired SD card, often); `_sweep` bounds the memory.
        inbuf_overflow=limits.max_body_bytes + 1,
        outbuf_overflow=1 << 30,
        outbuf_high_watermark=1 << 20,
        recv_bytes=1 << 16,
        channel_request_lookahead=1,  # keeps reading, which is how a client that left is noticed
        clear_untrusted_proxy_headers=True,
        expose_tracebacks=False,
        log_socket_errors=False,
        asyncore_use_poll=True,
        ident="edged",
        server_name="localhost",
    )


def _connections_within_file_limit(wanted: int) -> int:
    """Raise the limit on open files for `wanted` connections; if that fails, warn and accept fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _RESERVE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    if hard == resource.RLIM_INFINITY or hard >= needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    possible = max(8, hard - _RESERVE_FILES)
    log.warning(
        "server.max_connections is %d, but only %d files may be open: %d connections are accepted; "
        "LimitNOFILE=%d in the unit (or ulimit -n) allows all",
        *(wanted, hard, possible, needed),
    )
    return possible
