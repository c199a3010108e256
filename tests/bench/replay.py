"""A trace replayed against edged, edged by count, or llama-server's router, on an emulated device."""

import contextlib
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.bench import edged_daemon, web
from tests.bench.device_memory import kills
from tests.bench.device_reads import read_bytes
from tests.bench.fleet import N_CTX
from tests.bench.models import BenchModel
from tests.bench.peers import llama_router
from tests.bench.process import BenchFailed
from tests.bench.quiet import Neighbours
from tests.bench.traces import Asked
from tests.device.device import Device
from tests.device.limits import PROFILES

_CLIENTS = 64
_ANSWER_TOKENS = 8
_READ_AND_UNLOADED = re.compile(r"^edged_(cold_start_seconds_count|unloads_total)\{(.*)\} ([0-9.e+]+)$", re.M)
_QUESTION = "Name three birds that stay here over the winter, and say how to tell them apart."


class Waited(msgspec.Struct, frozen=True):
    """One request of the trace, and how long its whole answer took; a status that is not 200 is a failure."""

    model: str
    kind: str
    wait_s: float
    status: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One replay."""

    contender: str
    waited: tuple[Waited, ...]
    read_bytes: int
    loads: int
    evictions: int
    kills: int
    others_cores: float


class Contender(NamedTuple):
    """A running program that serves the fleet, and what it can say of itself."""

    port: int
    loads: Callable[[], int]
    evictions: Callable[[], int]


def outcome(name: str, trace: Sequence[Asked], fleet: Mapping[str, BenchModel], profile: str) -> Outcome:
    """Replay a trace with cold files. `name` is `edged`, `edged, N by count` or `router, N by count`."""
    with Device(PROFILES[profile]) as device:
        for model in fleet.values():
            device.cold(model.file)
        with _started(name, device, list(fleet.values())) as contender:
            neighbours = Neighbours()
            before_bytes = read_bytes(device.folders)
            waited = replayed(contender.port, trace, fleet)
            return Outcome(
                contender=name,
                waited=tuple(waited),
                read_bytes=read_bytes(device.folders) - before_bytes,
                loads=contender.loads(),
                evictions=contender.evictions(),
                kills=kills(device.folders),
                others_cores=neighbours.cores(),
            )


def replayed(port: int, trace: Sequence[Asked], fleet: Mapping[str, BenchModel]) -> list[Waited]:
    """Send every request at its time, whether those before are answered or not."""
    began_s = time.monotonic()
    pause = threading.Event()
    with ThreadPoolExecutor(_CLIENTS) as clients:
        answers = []
        for asked in trace:
            pause.wait(max(0.0, began_s + asked.at_s - time.monotonic()))
            answers.append(clients.submit(_ask, port, fleet[asked.model]))
        return [answer.result() for answer in answers]


def _ask(port: int, model: BenchModel) -> Waited:
    begin_s = time.monotonic()
    try:
        status, _ = web.request(port, model.endpoint, _body(model))
    except OSError:
        status = 0
    return Waited(model.id, model.kind, time.monotonic() - begin_s, status)


def _body(model: BenchModel) -> dict[str, Any]:
    if model.kind == "embed":
        return {"model": model.id, "input": _QUESTION}
    return {"model": model.id, "prompt": _QUESTION, "max_tokens": _ANSWER_TOKENS, "temperature": 0}


@contextlib.contextmanager
def _started(name: str, device: Device, models: Sequence[BenchModel]) -> Iterator[Contender]:
    program, _, count = name.partition(", ")
    n_most = count.removesuffix(" by count")
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        config = fleet_config(Path(folder), models)
        by_count = (sys.executable, "-m", "tests.bench.by_count", n_most)
        command = by_count if count and program == "edged" else edged_daemon.EDGED
        with edged_daemon.start(device.run, config, command) as daemon:
            client = edged_daemon.Client(daemon)
            client.wait_until_ready()
            if program == "edged":
                yield _edged(client)
                return
            plans = client.of_models("/edged/v1/plan", "plans")
        server = llama_router.start(device.run, Path(folder), models, plans, int(n_most))
        with server.process:
            server.answers_s()
            yield Contender(
                server.port, lambda: llama_router.loads(server), lambda: llama_router.evictions(server)
            )


def fleet_config(folder: Path, models: Sequence[BenchModel]) -> Path:
    """edged serves them all on demand, each with one slot: peers get the same."""
    one_slot = {"n_ctx": N_CTX, "n_seq_max": 1}
    settings = {
        model.id: {"preload": False, **({} if model.kind == "embed" else one_slot)} for model in models
    }
    return edged_daemon.write_config(folder / "edged.yaml", models, "auto", settings)


def _edged(client: edged_daemon.Client) -> Contender:
    def count(metric: str, labels: str) -> int:
        status, body = client.request("/metrics")
        if status != 200:
            raise BenchFailed(f"/metrics: {status}")
        found = _READ_AND_UNLOADED.findall(body.decode())
        return round(sum(float(value) for name, its, value in found if name == metric and labels in its))

    return Contender(
        client.port,
        lambda: count("cold_start_seconds_count", 'phase="ready"'),
        lambda: count("unloads_total", 'cause="evicted"'),
    )
