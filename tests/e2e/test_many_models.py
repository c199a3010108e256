"""Three real models where there is memory for two: each answers, whatever comes before it."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.bench.device_memory import kills
from tests.device.device import Device, why_not
from tests.device.limits import Limits
from tests.e2e.daemon import PATIENCE_S, Daemon, settings

SMALL = Limits(ram_bytes=512 << 20)
BUDGET_BYTES = 370 << 20
FILE = """\
storage: {{model_dir: {models}, state_dir: {state}}}
memory: {{budget: {budget}}}
models:
  minilm: {{file: minilm.gguf}}
  smollm2: {{file: smollm2.gguf}}
  second: {{file: smollm2.gguf, preload: false}}
"""
NAMES = ("minilm", "smollm2", "second")


@pytest.fixture
def serve(models: Path, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Serve the three, with settings of the test's own."""
    file = tmp_path / "edged.yaml"
    file.write_text(FILE.format(models=models, state=tmp_path / "state", budget=BUDGET_BYTES))
    started: list[Daemon] = []

    def _serve(*overrides: str) -> Daemon:
        started.append(Daemon(file, *settings(*overrides)))
        started[-1].wait_ready()
        return started[-1]

    yield _serve
    for running in started:
        with running:
            continue


def ask(daemon: Daemon, model: str) -> tuple[int, Any]:
    """One small request of the model's kind."""
    return daemon.embed("Hello") if model == "minilm" else daemon.chat("Hello", model=model, max_tokens=4)


def anonymous_bytes(daemon: Daemon) -> int:
    """What all runners hold now that cannot be dropped."""
    held = 0
    for child in psutil.Process(daemon.process.pid).children():
        try:
            held += sum(each.anonymous for each in child.memory_maps())
        except psutil.NoSuchProcess:
            continue
    return held


def test_requests_in_all_orders_are_answered_by_eviction(serve: Callable[..., Daemon]) -> None:
    daemon = serve()
    assert daemon.call("GET", "/edged/v1/plan")[1]["plans"][2]["makes_room"]
    for order in itertools.permutations(NAMES):
        for model in order:
            status, answer = ask(daemon, model)
            assert status == 200, answer
            assert anonymous_bytes(daemon) < BUDGET_BYTES
    assert daemon.call("GET", "/readyz")[0] == 200
    assert {daemon.model(name)["restarts"] for name in NAMES} == {0}
    metrics = daemon.call("GET", "/metrics")[1]
    assert 'edged_unloads_total{cause="evicted",model="smollm2"}' in metrics
    assert 'edged_cold_start_seconds_count{cause="evicted",model="second",phase="ready"}' in metrics
    assert daemon.stop() == 0


def test_requests_at_the_same_time_are_all_answered(serve: Callable[..., Daemon]) -> None:
    daemon = serve()
    statuses: list[int] = []

    def client(first: int) -> None:
        statuses.extend(ask(daemon, NAMES[(first + number) % 3])[0] for number in range(6))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(PATIENCE_S)
    assert statuses == [200] * 24
    assert {daemon.model(name)["restarts"] for name in NAMES} == {0}
    assert daemon.stop() == 0


def test_what_does_not_fit_beside_a_pinned_model_is_refused_with_numbers_and_what_to_set(
    serve: Callable[..., Daemon],
) -> None:
    fixed = ("n_ctx=4096", "n_seq_max=1", "type_k=f16", "type_v=f16", "strategy=warm", "n_ubatch=512")
    daemon = serve("models.smollm2.pinned=true", *(f"models.second.{key}" for key in fixed))
    status, answer = ask(daemon, "second")
    assert status == 503
    assert "taken by smollm2, which is pinned" in answer["error"]["message"]
    assert "set models.second." in answer["error"]["message"]
    assert ask(daemon, "smollm2")[0] == 200
    assert daemon.stop() == 0


def test_idle_models_are_unloaded_and_come_back(serve: Callable[..., Daemon]) -> None:
    daemon = serve("loading.keep_alive=0s", "models.minilm.pinned=true", "models.smollm2.preload=false")
    for _ in range(2):
        assert ask(daemon, "smollm2")[0] == 200
        daemon.wait_for_line("smollm2: unloaded (idle)")
    assert daemon.model("minilm")["state"] == "ready"
    assert daemon.call("GET", "/readyz")[0] == 200
    assert daemon.stop() == 0


def test_on_a_small_device_two_models_that_do_not_fit_together_take_turns(
    models: Path, tmp_path: Path
) -> None:
    if reason := why_not(SMALL):
        pytest.skip(reason)
    file = tmp_path / "edged.yaml"
    large = {"file": "smollm2.gguf", "preload": False, "n_ctx": 4096, "n_seq_max": 2, "type_k": "f16"}
    places = {"model_dir": str(models), "state_dir": str(tmp_path / "state")}
    served = {"minilm": {"file": "minilm.gguf"}, "smollm2": large}
    file.write_text(yaml.safe_dump({"storage": places, "models": served}))
    with Device(SMALL) as device, Daemon(file, device=device) as daemon:
        daemon.wait_ready()
        before = kills(device.folders)
        for _ in range(3):
            for model in ("minilm", "smollm2"):
                status, answer = ask(daemon, model)
                assert status == 200, answer
        assert daemon.model("minilm")["unloaded_by"] == "evicted"
        assert {daemon.model(name)["restarts"] for name in served} == {0}
        assert kills(device.folders) == before
        assert daemon.stop() == 0
