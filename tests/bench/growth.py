"""Whether the daemon's memory grows with the requests that it answers: of all kinds, to fake models.

`.venv/bin/python -m tests.bench.growth --help`. Every text, unknown model and path is another one, so that
whatever keeps something of them shows.
"""

import contextlib
import http.client
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import psutil
import yaml

from tests.bench import edged_daemon, report
from tests.bench.engine.wire import Connection
from tests.bench.process import BenchFailed, start_here
from tests.bench.web import TIMEOUT_S

_CLIENTS = 4
_COMMAND = (sys.executable, "-m", "tests.bench.fake_daemon")
_MODELS = {"chat": "fake:generate?slots=4", "embed": "fake:embed?n_embd=384"}


def curve(n_requests: int, n_points: int) -> list[tuple[int, int]]:
    """Resident bytes of the daemon after so many requests, at so many points. Raises BenchFailed."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        config = Path(folder, "edged.yaml")
        config.write_text(
            yaml.safe_dump(
                {
                    "storage": {"state_dir": f"{folder}/state"},
                    "models": {model: {"file": path} for model, path in _MODELS.items()},
                }
            )
        )
        with edged_daemon.start(start_here, config, _COMMAND) as daemon:
            client = edged_daemon.Client(daemon)
            client.wait_until_ready()
            return list(_points(client.port, psutil.Process(daemon.pid), n_requests, n_points))


def _points(port: int, daemon: psutil.Process, n_requests: int, n_points: int) -> Iterator[tuple[int, int]]:
    yield 0, daemon.memory_info().rss
    step = n_requests // n_points
    with ThreadPoolExecutor(_CLIENTS) as clients:
        for done in range(0, step * n_points, step):
            parts = [range(done + part, done + step, _CLIENTS) for part in range(_CLIENTS)]
            for answered in clients.map(lambda numbers: _ask_all(port, numbers), parts):
                answered.close()
            yield done + step, daemon.memory_info().rss


def _ask_all(port: int, numbers: Sequence[int]) -> Connection:
    """One client's requests, one after the other on a connection that it keeps where the server does."""
    connection = Connection(port)
    for number in numbers:
        if number % 20 == 19:
            connection = _ask_oddly(port, number, connection)
            continue
        text = f"text number {number} of many"
        if number % 20 < 14:
            connection.post("/v1/embeddings", json.dumps({"model": "embed", "input": text}).encode())
            continue
        body = {"model": "chat", "messages": [{"role": "user", "content": text}], "stream": number % 20 == 18}
        list(connection.events("/v1/chat/completions", json.dumps(body).encode()))
    return connection


def _ask_oddly(port: int, number: int, connection: Connection) -> Connection:
    """A path, model or value that does not exist, or a stream that nobody reads to its end."""
    match number // 20 % 5:
        case 0:
            _expect(404, port, f"/v1/nothing/{number}", {})
        case 1:
            _expect(404, port, "/v1/embeddings", {"model": f"unknown-{number}", "input": "x"})
        case 2:
            _expect(400, port, "/v1/embeddings", {"model": "embed", "input": [[number, -1]]})
        case 3:
            _expect(200, port, "/metrics", None)
        case _:
            text = " ".join(f"word-{number}-{index}" for index in range(40))
            body = {"model": "chat", "messages": [{"role": "user", "content": text}], "stream": True}
            next(connection.events("/v1/chat/completions", json.dumps(body).encode()), None)
            connection.hang_up()
            connection.close()
            return Connection(port)
    return connection


def _expect(status: int, port: int, path: str, body: dict[str, object] | None) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as asking:
        asking.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        answer = asking.getresponse()
        said = answer.read()
        if answer.status != status:
            raise BenchFailed(f"{path}: {answer.status} instead of {status}: {said[:300]!r}")


@click.command()
@click.option("--requests", "n_requests", type=click.IntRange(100), default=100_000, show_default=True)
@click.option("--points", "n_points", type=click.IntRange(2), default=20, show_default=True)
def main(n_requests: int, n_points: int) -> None:
    """Print the daemon's resident memory over many requests."""
    try:
        points = curve(n_requests, n_points)
    except BenchFailed as error:
        raise click.ClickException(str(error)) from error
    half = points[len(points) // 2][1]
    rows = [("daemon", f"{n:,}", f"{rss / 1e6:.1f} MB", f"{(rss - half) / 1e6:+.1f} MB") for n, rss in points]
    report.print_table("Requests and memory", "", ("process", "requests", "resident", "than at half"), rows)


if __name__ == "__main__":
    main()
