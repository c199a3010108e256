"""What people see of real models that come and go: comments in streams, events, `edged ps` and the like."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from edged.cli.client import Client
from tests.e2e.daemon import PATIENCE_S, Daemon

ON_DEMAND = "models.smollm2.preload=false"
Events = queue.SimpleQueue[dict[str, Any]]


def verb(daemon: Daemon, *arguments: str) -> str:
    """What a verb prints."""
    env = {**os.environ, "EDGED_URL": f"http://127.0.0.1:{daemon.port}"}
    command = [sys.executable, "-m", "edged", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def followed(daemon: Daemon) -> Events:
    """What happens from now on."""
    events: Events = queue.SimpleQueue()

    def follow() -> None:
        for event in Client(f"http://127.0.0.1:{daemon.port}").events():
            events.put(event)

    threading.Thread(target=follow, daemon=True).start()
    return events


def until(events: Events, state: str) -> list[dict[str, Any]]:
    """What is told of SmolLM2 until it is in a state."""
    told = []
    while True:
        event = events.get(timeout=PATIENCE_S)
        if event.get("model") == "smollm2":
            told.append(event)
        if event == {**event, "event": "state", "model": "smollm2", "state": state}:
            return told


def test_a_streaming_client_hears_how_far_a_cold_model_is_and_then_gets_its_answer(
    start: Callable[..., Daemon],
) -> None:
    daemon = start(ON_DEMAND)
    daemon.wait_ready()
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        create = daemon.client().chat.completions.with_streaming_response.create
        with create(
            model="smollm2",
            messages=[{"role": "user", "content": "What is the capital of Germany?"}],
            temperature=0,
            stream=True,
        ) as response:
            for line in response.iter_lines():
                lines.put(line)
        lines.put(None)

    asking = threading.Thread(target=ask)
    asking.start()
    loading = daemon.wait_until("/edged/v1/models/smollm2", lambda _, body: body["pid"] is not None)
    os.kill(loading["pid"], signal.SIGSTOP)  # a slow card
    try:
        assert lines.get(timeout=PATIENCE_S).startswith(": smollm2 is loading")  # type: ignore[union-attr]
    finally:
        os.kill(loading["pid"], signal.SIGCONT)
    asking.join(PATIENCE_S)
    said = []
    while (line := lines.get(timeout=PATIENCE_S)) is not None:
        said.append(line)
    chunks = [json.loads(line[6:]) for line in said if line.startswith("data: {")]
    assert "Berlin" in "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert "data: [DONE]" in said


def test_a_follower_sees_a_load_and_an_unload(start: Callable[..., Daemon]) -> None:
    daemon = start(ON_DEMAND)
    daemon.wait_ready()
    events = followed(daemon)
    assert until(events, "unloaded")[0]["before"] is None
    assert verb(daemon, "load", "smollm2").startswith("smollm2: ready, loaded in ")
    told = until(events, "ready")
    assert [each["state"] for each in told if each["event"] == "state"] == ["loading", "ready"]
    assert any(each["event"] == "progress" and each["bytes_total"] > 50_000_000 for each in told)
    assert verb(daemon, "unload", "smollm2") == "smollm2: unloaded\n"
    assert [each["state"] for each in until(events, "unloaded") if each["event"] == "state"] == [
        "unloading",
        "unloaded",
    ]
    assert daemon.stop() == 0
    while events.get(timeout=PATIENCE_S) != {"event": "end"}:
        continue


def test_ps_tells_what_models_hold_and_how_fast_they_answer(start: Callable[..., Daemon]) -> None:
    daemon = start(ON_DEMAND)
    daemon.wait_ready()
    assert daemon.chat("Count to ten.", max_tokens=32)[0] == 200
    daemon.embed(["a cat", "a dog"])
    table = verb(daemon, "ps")
    _, minilm, smollm2, _, account = table.splitlines()
    assert " anonymous, " in account
    assert minilm.split()[:2] == ["minilm", "ready"]
    assert minilm.endswith("loaded at start")
    assert smollm2.endswith("asked for")
    models = {model["model"]: model for model in json.loads(verb(daemon, "ps", "--json"))["models"]}
    held = models["smollm2"]["memory"]
    assert held["anon_bytes"] > 20_000_000
    assert held["hot_bytes"] > 0.5 * held["file_bytes"]
    assert held["hot_bytes"] + held["cold_bytes"] <= 1.01 * held["file_bytes"]
    assert held["cached_share"] > 0.5
    assert models["smollm2"]["tokens_per_s"] > 1
    assert models["minilm"]["tokens_per_s"] > 1
    assert verb(daemon, "warmup", "minilm").startswith("minilm: warm, a batch took ")
