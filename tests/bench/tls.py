"""What TLS costs edged's HTTP: in a connection, a request, an event of a stream, and memory.

Run it as any user: `.venv/bin/python -m tests.bench.tls --help`; README.md beside this file says more.
"""

import http.client
import multiprocessing
import ssl
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import click
import psutil

from edged.service.bind import bind
from edged.service.certificate import load
from edged.service.server import Limits, Server
from tests import certificates
from tests.bench import report
from tests.certificates import Files

_KINDS = ("plain", "ec", "rsa")
_LIMITS = Limits(
    max_requests=8,
    max_connections=1000,
    max_body_bytes=8 << 20,
    header_timeout_s=600.0,
    idle_timeout_s=600.0,
    answer_timeout_s=600.0,
)
_N_EVENTS = 2000
_EVENT = b'data: {"choices":[{"delta":{"content":" word"},"index":0}]}\n\n'
_PATIENCE_S = 60.0


def _app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return [_EVENT] * _N_EVENTS
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _serve(files: Files | None, ready: Connection) -> None:
    server = Server(bind("127.0.0.1", 0), _LIMITS)
    server.set_tls(load(*files).secure if files else None)
    server.set_app(_app)
    server.start()
    ready.send(server.port)
    ready.recv()


class Served(NamedTuple):
    """A server in a process of its own."""

    process: psutil.Process
    connect: Callable[[], http.client.HTTPConnection]

    def computed_s(self) -> float:
        """The CPU time that it has taken so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def cost_ms(self, n: int, work: Callable[[], object]) -> float:
        """What it computes for `work` done so often, each."""
        before_s = self.computed_s()
        for _ in range(n):
            work()
        return 1000 * (self.computed_s() - before_s) / n


@contextmanager
def _served(files: Files | None) -> Iterator[Served]:
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_serve, args=(files, theirs))
    child.start()
    port = ours.recv()
    context = ssl.create_default_context(cafile=str(files.certificate)) if files else None

    def connect() -> http.client.HTTPConnection:
        if context is None:
            return http.client.HTTPConnection("localhost", port, timeout=_PATIENCE_S)
        return http.client.HTTPSConnection("localhost", port, timeout=_PATIENCE_S, context=context)

    yield Served(psutil.Process(child.pid), connect)
    ours.send(None)
    child.join()


def _ask(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> None:
    connection.request("GET" if body is None else "POST", path, body)
    connection.getresponse().read()


def _ask_anew(served: Served, path: str) -> None:
    connection = served.connect()
    _ask(connection, path)
    connection.close()


def _row(served: Served, n: int) -> list[str]:
    kept = served.connect()
    _ask(kept, "/")
    request_ms = served.cost_ms(10 * n, lambda: _ask(kept, "/", b"x" * 300))
    large_ms = served.cost_ms(n // 4, lambda: _ask(kept, "/", b"x" * (1 << 20)))
    kept.close()
    anew_ms = served.cost_ms(n, lambda: _ask_anew(served, "/"))
    event_ms = served.cost_ms(max(1, n // 10), lambda: _ask_anew(served, "/stream")) / _N_EVENTS
    before_bytes = served.process.memory_info().rss
    held = [served.connect() for _ in range(400)]
    for connection in held:
        _ask(connection, "/")
    held_kib = (served.process.memory_info().rss - before_bytes) / len(held) / 1024
    for connection in held:
        connection.close()
    costs = (f"{anew_ms:.2f}", f"{request_ms:.3f}", f"{large_ms:.2f}", f"{1000 * event_ms:.1f}")
    return [*costs, f"{held_kib:.0f}"]


@click.command()
@click.option("--n", default=200, show_default=True, help="Connections; more make the numbers steadier.")
def main(n: int) -> None:
    """Print the CPU time that the server takes with each kind of key."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in _KINDS:
            files = None if kind == "plain" else certificates.make(Path(folder), kind, key=kind)
            with _served(files) as served:
                rows.append([kind, *_row(served, n)])
    report.print_table(
        "The server's CPU time, and memory",
        "ec: P-256. rsa: 2048 bits. A request has a body of 300 bytes, and so has its answer.",
        ["key", "connection, ms", "request, ms", "1 MiB both ways, ms", "event, us", "held, KiB"],
        rows,
    )


if __name__ == "__main__":
    main()
