"""A small service: `python -m tests.unit.service.activated`.

It takes the socket that is passed to it and answers every request with its process id, after a moment;
SIGTERM ends it as it ends edged.
"""

import os
import time
from collections.abc import Iterable
from typing import Any

from edged.service.activation import listen
from edged.service.server import Limits, Server
from edged.service.signals import Signals

_LIMITS = Limits(
    max_requests=8,
    max_connections=100,
    max_body_bytes=1000,
    header_timeout_s=30.0,
    idle_timeout_s=30.0,
    answer_timeout_s=600.0,
)


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers with this process's id."""
    time.sleep(float(environ["QUERY_STRING"] or 0))  # it works on something
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def main() -> None:
    """Serve until SIGTERM."""
    with Signals() as signals:
        listening = listen("127.0.0.1", 0)
        assert not any(name.startswith("LISTEN_") for name in os.environ)
        server = Server(listening.sock, _LIMITS)
        server.set_app(app)
        server.start()
        print(server.url, listening.activated, flush=True)
        signals.wait()
        server.retire(keep_accepting=not listening.activated)
        drained = server.drain(30.0)
        server.close()
        print("drained" if drained else "cut", flush=True)


if __name__ == "__main__":
    main()
