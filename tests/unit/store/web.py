"""A loopback web server that misbehaves on request."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """One file under every path, and how it is served."""

    content: bytes
    etag: str = '"v1"'
    ranges: bool = True
    length: bool = True
    status: int = 200
    redirect: str = ""
    extra_headers: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # bytes of each answer's body before the connection ends
    seen: list[dict[str, str]] = field(default_factory=list)  # the headers of each request
    address: str = ""


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve until the block ends; `site.address` is the file's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.seen.append(dict(self.headers))
            _answer(self, site)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}/model.gguf"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    if site.redirect:
        handler.send_response(302)
        handler.send_header("Location", site.redirect)
        handler.end_headers()
        return
    start = 0
    asked = handler.headers.get("Range")
    status = site.status
    if asked and site.ranges and handler.headers.get("If-Range") == site.etag:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        status = 206
    body = site.content[start:]
    handler.send_response(status)
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
    if site.etag:
        handler.send_header("ETag", site.etag)
    if site.length:
        handler.send_header("Content-Length", str(len(body)))
    for name, value in site.extra_headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    if site.cuts:
        body = body[: site.cuts.pop(0)]
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(body)
