"""Models that ollama's client pulls and deletes: real HTTP, real reloads, a fetch that is scripted."""

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import ollama
import pytest

from edged.config.schema import Config
from edged.hw.snapshot import CpuFacts, HardwareSnapshot, MemoryFacts
from edged.lifecycle.planner import Planned
from edged.lifecycle.pool import Pool
from edged.lifecycle.pulled import Pulled
from edged.lifecycle.pulls import Pulls
from edged.lifecycle.reload import Origins, Reload
from tests.api.conftest import PATIENCE_S, Running, Serve
from tests.plans import fake_plan

_PUT = "import os, sys; os.makedirs(sys.argv[1]); open(f'{sys.argv[1]}/{sys.argv[2]}.gguf', 'w')"
_STEP = """print('{"type":"step","label":"half","done_bytes":5,"total_bytes":10}', flush=True)"""
_OVER = """print('{"type":"over"}')"""
_NO_DISK = """print('{"type":"over","problem":"it needs more disk"}')"""
_LISTEN = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.makedirs(sys.argv[1])
os.mkfifo(sys.argv[1] + '/../end')
"""
_WAIT = "signal.sigwait([signal.SIGTERM]); os.close(os.open(sys.argv[1] + '/../end', os.O_WRONLY))"


def planned(config: Config, _memory: MemoryFacts | None = None) -> Planned:
    """Plans for fakes in place of all files."""
    snapshot = HardwareSnapshot(memory=MemoryFacts(total_bytes=1 << 30), cpu=CpuFacts(usable_cores=2))
    plans = tuple(
        fake_plan(model, each.file if each.file.startswith("fake:") else "fake:embed", at_start=each.preload)
        for model, each in config.models.items()
    )
    return Planned(snapshot=snapshot, plans=plans, problems={})


def pulling(folder: Path, *script: str) -> Callable[[Pool], Pulls]:
    """What pulls into a folder by a script."""

    def command(folder: Path, model: str) -> Sequence[str]:
        return (sys.executable, "-c", "\n".join(script), str(folder), model)

    def make(pool: Pool) -> Pulls:
        origins = Origins(pool.config, lambda: pool.config, Pulled(folder))
        reload = Reload(pool, origins, planned, lambda _: ())
        return Pulls(origins.pulled, lambda: pool.config, reload.serve_pulled, command)

    return make


def client_of(running: Running) -> ollama.Client:
    """ollama's client; the caller closes it."""
    return ollama.Client(host=running.server.url, timeout=PATIENCE_S)


@pytest.fixture
def start(serve: Serve, tmp_path: Path) -> Callable[..., Running]:
    """Serves a model that is configured, and pulls others by a script."""

    def serve_by(*script: str) -> Running:
        storage = {"model_dir": str(tmp_path / "models"), "state_dir": str(tmp_path)}
        return serve({"chat": "fake:generate"}, storage=storage, pulls=pulling(tmp_path / "pulled", *script))

    return serve_by


@pytest.fixture
def running(start: Callable[..., Running]) -> Running:
    return start(_PUT, _STEP, _OVER)


@pytest.fixture
def client(running: Running) -> Iterator[ollama.Client]:
    with client_of(running) as client:
        yield client


def test_a_pulled_model_is_served_at_once_and_the_others_go_on(
    running: Running, client: ollama.Client
) -> None:
    pid = running.pool.status("chat").pid
    with pytest.raises(ollama.ResponseError, match="minilm"):
        client.embed("minilm", "text")
    lines = list(client.pull("minilm", stream=True))
    assert [line.status for line in lines] == ["pulling manifest", "half", "success"]
    assert (lines[1].completed, lines[1].total) == (5, 10)
    assert lines[1].digest
    assert {model.model for model in client.list().models} == {"chat:latest", "minilm:latest"}
    assert len(client.embed("minilm", "text").embeddings) == 1
    assert running.pool.status("chat").pid == pid


def test_a_deleted_model_is_gone(running: Running, client: ollama.Client, tmp_path: Path) -> None:
    assert client.pull("minilm:latest").status == "success"
    assert client.pull("minilm").status == "success"  # again: it is there
    client.embed("minilm", "text")
    assert client.delete("minilm").status == "success"
    assert list((tmp_path / "pulled").glob("*.gguf")) == []
    assert [model.model for model in client.list().models] == ["chat:latest"]
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed("minilm", "text")
    assert caught.value.status_code == 404


def test_a_configured_model_is_not_deleted_by_clients(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="configuration") as caught:
        client.delete("chat")
    assert caught.value.status_code == 400


def test_an_unknown_model_is_not_pulled(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="catalog") as caught:
        client.pull("llama3.2")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="catalog"):
        list(client.pull("/etc/passwd", stream=True))


def test_why_a_pull_fails_is_told_with_and_without_a_stream(start: Callable[..., Running]) -> None:
    with client_of(start(_NO_DISK)) as client:
        with pytest.raises(ollama.ResponseError, match="it needs more disk") as caught:
            client.pull("minilm")
        assert caught.value.status_code == 502
        with pytest.raises(ollama.ResponseError, match="it needs more disk"):
            list(client.pull("minilm", stream=True))


def test_a_pull_ends_with_its_client(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start(_LISTEN, _STEP, _WAIT)
    connection = running.connect()
    connection.request("POST", "/api/pull", b'{"model": "minilm"}')
    response = connection.getresponse()
    assert response.headers.get_content_type() == "application/x-ndjson"
    lines = [msgspec.json.decode(response.readline()) for _ in range(2)]
    assert lines[1]["status"] == "half"
    with os.fdopen(os.open(tmp_path / "end", os.O_RDONLY | os.O_NONBLOCK)) as end:
        response.close()
        connection.close()
        assert select.select([end], [], [], PATIENCE_S)[0]
