"""Many who ask at once, models that take turns, and the spare runner between them: with real models."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from tests.bench.growth import curve
from tests.device.page_cache import cold
from tests.e2e.daemon import Daemon

Start = Callable[..., Daemon]

N_CLIENTS = 200
NONE_AT_START = ("models.minilm.preload=false", "models.smollm2.preload=false")


def _loads(daemon: Daemon, model: str) -> int:
    """How often a model has become ready, by any cause."""
    lines = daemon.call("GET", "/metrics")[1].splitlines()
    counts = [
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("edged_cold_start_seconds_count") and f'model="{model}"' in line
        if 'phase="ready"' in line
    ]
    return round(sum(counts))


def _spares(daemon: Daemon) -> list[psutil.Process]:
    """The runners that serve no model."""
    models = daemon.call("GET", "/edged/v1/models")[1]["models"]
    serving = {model["pid"] for model in models}
    children = psutil.Process(daemon.process.pid).children()
    return [child for child in children if child.pid not in serving and child.cmdline()[-1:] == ["spare"]]


def _wait_for_spare(daemon: Daemon) -> psutil.Process:
    """The spare, once it waits for a model: llama.cpp is mapped, and the thread that imported has ended."""
    n_threads = os.cpu_count() or 1  # numpy's BLAS has one for each core besides the first

    def waits(_status: int, _body: Any) -> bool:
        return any(
            any("libllama" in each.path for each in spare.memory_maps())
            and spare.num_threads() <= n_threads
            and spare.status() == psutil.STATUS_SLEEPING
            for spare in _spares(daemon)
        )

    daemon.wait_until("/livez", waits)
    (spare,) = _spares(daemon)
    return spare


def test_200_who_ask_for_one_cold_model_cause_one_load(start: Start, models: Any, copied_models: Any) -> None:
    cold(copied_models / "smollm2.gguf")
    daemon = start(
        *NONE_AT_START,
        f"server.max_requests={N_CLIENTS}",
        f"models.smollm2.max_queue_requests={N_CLIENTS}",
        folder=copied_models,
    )

    def ask(number: int) -> tuple[int, Any]:
        return daemon.chat(f"Say the number {number}.", max_tokens=1)

    with ThreadPoolExecutor(N_CLIENTS) as clients:
        answers = list(clients.map(ask, range(N_CLIENTS)))
    assert [status for status, _ in answers] == [200] * N_CLIENTS
    assert all(body["usage"]["completion_tokens"] == 1 for _, body in answers)
    assert _loads(daemon, "smollm2") == 1
    assert daemon.model("smollm2")["restarts"] == 0


def test_the_next_load_takes_the_spare_and_another_one_waits_then(start: Start) -> None:
    daemon = start(*NONE_AT_START)
    first = _wait_for_spare(daemon)
    assert daemon.embed("a text")[0] == 200
    assert daemon.model("minilm")["pid"] == first.pid
    second = _wait_for_spare(daemon)
    assert second.pid != first.pid
    assert daemon.chat("hello")[0] == 200
    assert daemon.model("smollm2")["pid"] == second.pid
    assert daemon.stop() == 0
    assert not psutil.pid_exists(second.pid)


def test_a_crashed_model_comes_back_in_a_spare_that_was_started_meanwhile(start: Start) -> None:
    daemon = start("loading.spare_runner=on")
    daemon.wait_ready()
    spare = _wait_for_spare(daemon)
    pid = daemon.model("smollm2")["pid"]
    os.kill(pid, signal.SIGKILL)
    daemon.wait_until("/livez", lambda _status, _body: daemon.model("smollm2")["pid"] != pid)
    assert daemon.chat("hello")[0] == 200
    assert daemon.model("smollm2")["pid"] == spare.pid


def test_a_spare_goes_with_a_daemon_that_is_killed(start: Start) -> None:
    daemon = start(*NONE_AT_START)
    spare = _wait_for_spare(daemon)
    daemon.process.kill()
    assert psutil.wait_procs([spare], timeout=20)[0]


def test_the_daemons_memory_does_not_grow_with_requests() -> None:
    """`python -m tests.bench.growth` shows the same for 100,000."""
    points = curve(4000, 4)
    grown_bytes = points[-1][1] - points[1][1]
    assert grown_bytes < 8 << 20, points
