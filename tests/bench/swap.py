"""What it takes to unload one model and load another for the request that asks for it."""

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from tests.bench import edged_daemon
from tests.bench.fleet import copied
from tests.bench.models import BenchModel
from tests.bench.peers import llama_router, llama_server
from tests.bench.process import BenchFailed
from tests.bench.quiet import wait_until_quiet
from tests.bench.web import shown
from tests.device import page_cache
from tests.device.device import Device
from tests.device.limits import PROFILES

Ask = Callable[[BenchModel], float]

EDGED, PEER = "edged", "llama-server"
_PROFILE = "sd40"
_PATIENCE_S = 5.0
_BUDGET = "800MiB"  # either of them and a spare runner, but not both

Swaps = Mapping[tuple[str, str, str], Sequence[float]]


def measured(
    pair: Sequence[BenchModel], rounds: int, caches: Sequence[str], *, spare: str, pause_s: float
) -> Swaps:
    """Seconds by model that was asked for, page cache (warm or cold) and contender.

    Both run all the time, each on a device of its own with files of its own; the pause before each swap is
    one in which neither has anything to do. Raises BenchFailed.
    """
    taken: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    files = {
        who: [BenchModel(one.id, one.kind, copied(one.file, f"{who}-{one.id}")) for one in pair]
        for who in (EDGED, PEER)
    }
    with _both(files, spare) as ask:
        for number in range(-1, rounds):  # the first round is not counted: nothing is loaded then
            for cache in caches:
                for index in range(len(pair)):
                    order = (EDGED, PEER) if number % 2 else (PEER, EDGED)
                    for contender in order:
                        model = files[contender][index]
                        _prepare(model.file, cache)
                        time.sleep(pause_s)
                        wait_until_quiet(_PATIENCE_S)
                        elapsed_s = ask[contender](model)
                        if number >= 0:
                            taken[model.id, cache, contender].append(elapsed_s)
    return taken


def _prepare(file: Path, cache: str) -> None:
    if cache == "cold":
        page_cache.cold(file)
    elif page_cache.cached_bytes(file) < file.stat().st_size:
        file.read_bytes()


@contextlib.contextmanager
def _both(files: Mapping[str, Sequence[BenchModel]], spare: str) -> Iterator[Mapping[str, Ask]]:
    limits = PROFILES[_PROFILE]
    with Device(limits) as ours, Device(limits) as theirs, tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder), files[EDGED], spare)
        with edged_daemon.start(ours.run, config) as daemon:
            client = edged_daemon.Client(daemon)
            client.wait_until_ready()
            plans = client.of_models("/edged/v1/plan", "plans")
            router = llama_router.start(theirs.run, Path(folder), files[PEER], plans, 1)
            with router.process:
                router.answers_s()
                yield {
                    EDGED: lambda model: _edged_s(client, model),
                    PEER: lambda model: _peer_s(router, model),
                }


def _config(folder: Path, pair: Sequence[BenchModel], spare: str) -> Path:
    on_demand = {model.id: {"preload": False} for model in pair}
    path = edged_daemon.write_config(folder / "edged.yaml", pair, "auto", on_demand)
    config = yaml.safe_load(path.read_text())
    config["memory"] = {"budget": _BUDGET}
    config["loading"]["spare_runner"] = spare
    path.write_text(yaml.safe_dump(config))
    return path


def _edged_s(client: edged_daemon.Client, model: BenchModel) -> float:
    begin_s = time.monotonic()
    client.answer(model)
    elapsed_s = time.monotonic() - begin_s
    statuses = client.of_models("/edged/v1/models", "models")
    loaded = [name for name, status in statuses.items() if status["state"] == "ready"]
    if loaded != [model.id]:
        raise BenchFailed(f"loaded are {loaded}, not {model.id} alone")
    return elapsed_s


def _peer_s(router: llama_server.Server, model: BenchModel) -> float:
    begin_s = time.monotonic()
    status, body = router.request(model.endpoint, model.request)
    if status != 200:
        raise BenchFailed(f"llama-server: {status}: {shown(body)}")
    return time.monotonic() - begin_s
