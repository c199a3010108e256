"""Something breaks under a model with requests at work and in its queue: what is lost, and for how long."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.device.device import Device
from tests.e2e.daemon import PATIENCE_S, Daemon

N_QUEUED = 3
_STORY: dict[str, Any] = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Tell a long story."}],
    "temperature": 0,
    "max_tokens": 1500,
    "ignore_eos": True,
}
# In parts: of what the kernel may end, the largest goes first, and runners count as half the device more.
_NEIGHBOUR = """
import mmap, os, sys, time
n_parts = 6
part_bytes, within_s = int(sys.argv[1]) // n_parts, float(sys.argv[2])
until_the_end, end = os.pipe()
taken, tell = os.pipe()
begin_s = time.monotonic()
for _ in range(n_parts):
    if os.fork() == 0:
        os.close(end)
        part = mmap.mmap(-1, part_bytes)
        for at in range(0, part_bytes, 4096):
            part[at] = 1
            if at % (1 << 20) == 0:
                time.sleep(max(0.0, begin_s + within_s * at / part_bytes - time.monotonic()))
        os.write(tell, b".")
        os.close(tell)
        os.read(until_the_end, 1)
        os._exit(0)
os.close(tell)
n_taken = 0
while piece := os.read(taken, n_parts):
    n_taken += len(piece)
if n_taken == n_parts:
    print("taken", flush=True)
    time.sleep(1000)
"""


class Outcome(NamedTuple):
    """What a fault cost. The stream was in flight, and may be lost; what was queued may not."""

    stream_end: str  # the last event of the stream that was at work
    queued: tuple[int, ...]  # statuses of the requests that waited
    others: frozenset[int]  # statuses of the other model, and of liveness, meanwhile
    again_s: float  # from the fault to the first answer


def strike(daemon: Daemon, hit: Callable[[], None]) -> Outcome:
    """Let a fault hit SmolLM2 (with one slot) while it works on a stream and others wait for their turn."""
    with _beside(daemon) as others, _stream(daemon) as last_event:
        queued: list[int] = []
        asking = [
            threading.Thread(target=lambda: queued.append(daemon.chat("hello")[0])) for _ in range(N_QUEUED)
        ]
        for each in asking:
            each.start()
        daemon.wait_until("/edged/v1/models", lambda _s, body: _smollm2(body)["queued_requests"] == N_QUEUED)
        hit()
        begin_s = time.monotonic()
        daemon.wait_until("/edged/v1/models", lambda _s, body: _smollm2(body)["state"] != "ready")
        deadline_s = begin_s + PATIENCE_S
        while daemon.chat("hello")[0] != 200:
            assert time.monotonic() < deadline_s, "".join(daemon.output)
        again_s = time.monotonic() - begin_s
        for each in asking:
            each.join()
    return Outcome(last_event(), tuple(queued), frozenset(others), again_s)


def _smollm2(body: Any) -> dict[str, Any]:
    return next(dict(model) for model in body["models"] if model["model"] == "smollm2")


@contextmanager
def _beside(daemon: Daemon) -> Iterator[set[int]]:
    """The statuses that the other model and liveness give meanwhile."""
    seen: set[int] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            seen.add(daemon.embed("the other model goes on")[0])
            seen.add(daemon.call("GET", "/livez")[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        stop.set()
        asking.join()


@contextmanager
def _stream(daemon: Daemon) -> Iterator[Callable[[], str]]:
    """A stream that a slot works on; what is called gives its last event."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    body = json.dumps({**_STORY, "stream": True})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    for _ in range(6):
        response.readline()  # it has begun
    rest: list[str] = []
    reader = threading.Thread(target=lambda: rest.extend(response.read().decode().split("\n\n")))
    reader.start()

    def last_event() -> str:
        reader.join(PATIENCE_S)
        return [event for event in rest if event.strip()][-1]

    yield last_event
    reader.join(PATIENCE_S)
    connection.close()


@contextmanager
def failing_disk(folder: Path, model: Path) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """A disk that holds a model: its folder, what makes every read of it fail with EIO, and what mends it.

    A file system on a loop device, whose file is cut short: beyond the cut the kernel has nothing to give.
    Needs root.
    """
    image, mount = folder / "disk", folder / "mounted"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(model.stat().st_size + (32 << 20))
    _run("mkfs.ext4", "-q", "-O", "^has_journal", str(image))
    _run("mount", "-o", "loop", str(image), str(mount))
    try:
        _run("cp", str(model), str(mount / model.name))
        _run("sync", "-f", str(mount))
        whole = image.read_bytes()

        def fail() -> None:
            with (mount / model.name).open("rb") as file:  # what is cached would still be read
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with image.open("r+b") as file:
                file.truncate(1 << 20)

        def mend() -> None:
            with image.open("r+b") as file:
                file.write(whole)

        yield mount, fail, mend
    finally:
        _run("umount", "--lazy", str(mount))


@contextmanager
def neighbour(device: Device, taken_bytes: int, within_s: float) -> Iterator[None]:
    """Somebody else on a device takes so much of its memory `within_s`; the kernel ends others first."""
    command = [sys.executable, "-c", _NEIGHBOUR, str(taken_bytes), str(within_s)]
    with device.run(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield
        finally:
            process.kill()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
