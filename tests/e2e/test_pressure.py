"""A neighbour takes most of a small device's memory: edged gives way, and recovers when it leaves."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bench.device_memory import kills
from tests.device.device import Device, why_not
from tests.device.limits import Limits
from tests.e2e.daemon import Daemon
from tests.e2e.faults import neighbour

RAM_BYTES = 800 << 20


@pytest.fixture
def device() -> Iterator[Device]:
    if reason := why_not(Limits(ram_bytes=RAM_BYTES)):
        pytest.skip(reason)
    with Device(Limits(ram_bytes=RAM_BYTES)) as made:
        yield made


@pytest.fixture
def daemon(device: Device, models: Path, tmp_path: Path) -> Iterator[Daemon]:
    """MiniLM is pinned; the others are loaded at start as well."""
    config = tmp_path / "edged.yaml"
    served = {
        "minilm": {"file": "minilm.gguf", "pinned": True},
        "smollm2": {"file": "smollm2.gguf", "repack": False},
        "other": {"file": "smollm2.gguf", "repack": False},
    }
    places = {"model_dir": str(models), "state_dir": str(tmp_path / "state")}
    settings = {"storage": places, "memory": {"reserve": "64MiB"}, "models": served}
    config.write_text(yaml.safe_dump(settings))
    with Daemon(config, device=device) as running:
        running.wait_ready()
        yield running


@contextmanager
def _asked_all_the_time(daemon: Daemon) -> Iterator[list[int]]:
    """The statuses of requests to the pinned model, one after the other."""
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            statuses.append(daemon.embed("the pinned model serves")[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield statuses
    finally:
        stop.set()
        asking.join()


def _metric(text: Any, name: str) -> float:
    match = re.search(rf"^{name} (\S+)$", str(text), re.MULTILINE)
    assert match is not None, text
    return float(match[1])


def _is(name: str, holds: Callable[[float], bool]) -> Callable[[int, Any], bool]:
    return lambda _status, text: holds(_metric(text, name))


def test_edged_gives_way_keeps_its_pinned_model_and_recovers(daemon: Daemon, device: Device) -> None:
    pid = daemon.model("minilm")["pid"]
    with _asked_all_the_time(daemon) as statuses:
        with neighbour(device, int(0.6 * RAM_BYTES), within_s=4.0):
            daemon.wait_until("/metrics", _is("edged_pressure_level", lambda level: level >= 2))
            daemon.wait_until("/metrics", _is("edged_memory_short_bytes", lambda short: short <= 0))
            gave = [
                daemon.model(name)["cooled"] or daemon.model(name)["unloaded_by"]
                for name in ("smollm2", "other")
            ]
            assert any(gave), gave
            assert daemon.model("minilm")["state"] == "ready"
        daemon.wait_until("/metrics", _is("edged_pressure_level", lambda level: level == 0))
        for name in ("smollm2", "other"):
            assert daemon.chat("hello", model=name)[0] == 200
    assert set(statuses) == {200}
    assert len(statuses) > 10
    assert daemon.model("minilm")["pid"] == pid
    assert kills(device.folders) == 0
    output = "".join(daemon.output)
    assert "memory is short (models hold" in output
    assert "it does not hold any more that files are not read ahead" in output


def test_who_is_killed_for_memory_comes_back_smaller(daemon: Daemon, device: Device) -> None:
    before = {name: daemon.model(name)["restarts"] for name in ("smollm2", "other")}
    with neighbour(device, int(0.85 * RAM_BYTES), within_s=0.0):
        daemon.wait_for_line("after the kernel ended its runner for memory")
    killed = [name for name, restarts in before.items() if daemon.model(name)["restarts"] > restarts]
    assert killed
    for name in killed:
        daemon.wait_until("/edged/v1/models", lambda _s, body, name=name: _state(body, name) == "ready")  # type: ignore[misc]
        assert daemon.chat("hello", model=name)[0] == 200
    plans = daemon.call("GET", "/edged/v1/plan")[1]["plans"]
    said = [plan["reasons"][0] for plan in plans if plan["model"] in killed]
    assert all("less than before, when there was not enough" in reason for reason in said), said


def _state(body: Any, name: str) -> str:
    return next(str(model["state"]) for model in body["models"] if model["model"] == name)
