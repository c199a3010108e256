"""The real application on the real server, with real runner processes that hold no model."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from edged.api.app import create_app
from edged.config.schema import Access, Config, Loading, Model, Seconds, Storage
from edged.config.schema import Server as ServerSettings
from edged.hw.snapshot import CpuFacts, HardwareSnapshot, MemoryFacts
from edged.lifecycle.planner import Planned
from edged.lifecycle.pool import Pool
from edged.lifecycle.pulled import Pulled
from edged.lifecycle.pulls import Pulls
from edged.policy.types import LoadPlan
from edged.runner import protocol
from edged.service.bind import bind
from edged.service.server import Limits, Server
from edged.telemetry.metrics import Metrics
from tests.plans import fake_plan

PATIENCE_S = 20.0  # far longer than anything here takes; a test that waits this long has failed
MODELS = {"chat": "fake:generate", "embed": "fake:embed?n_embd=4"}
Json = dict[str, Any]


class Answer(msgspec.Struct):
    """A whole HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers.get_content_type() == "application/json"
        return json.loads(self.body)

    @property
    def error(self) -> Json:
        """The error object, which must have OpenAI's shape."""
        error: Json = self.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class Running:
    """A served pool, and ways to call it."""

    def __init__(self, server: Server, pool: Pool, metrics: Metrics) -> None:
        self.server = server
        self.pool = pool
        self.metrics = metrics

    def connect(self) -> http.client.HTTPConnection:
        """A connection of the caller's."""
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE_S)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        connection = self.connect()
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """POST."""
        return self.call("POST", path, body, headers)

    def chat(self, text: str, **more: Any) -> Answer:
        """A chat completion by the model `chat`."""
        return self.post("/v1/chat/completions", chat_body(text, **more))

    def client(self, api_key: str = "none") -> openai.OpenAI:
        """OpenAI's own client."""
        return openai.OpenAI(
            base_url=f"{self.server.url}/v1", api_key=api_key, max_retries=0, timeout=PATIENCE_S
        )

    def sample(self, line: str) -> float:
        """One sample of /metrics, by its name and labels as written there; 0 when it is not there."""
        for text in self.get("/metrics").body.decode().splitlines():
            if text.startswith(line + " "):
                return float(text.rpartition(" ")[2])
        return 0.0


Serve = Callable[..., Running]


class _Silent:
    """An observer that keeps nothing."""

    def ready(self, plan: LoadPlan, cause: str, ready: protocol.Ready, ready_s: float) -> None: ...
    def first_answer(self, plan: LoadPlan, first_answer_s: float) -> None: ...
    def reads(self, plan: LoadPlan, reads: protocol.Reads) -> None: ...
    def failed(self, plan: LoadPlan, reason: str, how: str) -> None: ...
    def unloaded(self, plan: LoadPlan, cause: str) -> None: ...


def eventually(check: Callable[[], bool]) -> bool:
    """Wait until something that another process does has happened."""
    patience = threading.Event()
    return any(check() or patience.wait(0.01) for _ in range(int(PATIENCE_S / 0.01)))


def chat_body(text: str, **more: Any) -> Json:
    """The body of a chat completion."""
    return {"model": "chat", "messages": [{"role": "user", "content": text}], **more}


def _config(models: dict[str, str], preload: bool, settings: Json) -> Config:
    server = {"port": 0, "max_requests": 4, "max_body": 100_000, "header_timeout": Seconds(PATIENCE_S)}
    loading = {"request_wait": Seconds(PATIENCE_S), "restart_backoff": Seconds(0.01)}
    return Config(
        server=ServerSettings(**{**server, **settings.get("server", {})}),
        access=Access(**settings.get("access", {})),
        storage=Storage(**{"model_dir": "/nowhere", **settings.get("storage", {})}),
        loading=Loading(**{**loading, **settings.get("loading", {})}),
        models={
            model: Model(file=path, preload=preload, **settings.get("model", {}))
            for model, path in models.items()
        },
    )


def no_pulls(pool: Pool) -> Pulls:
    """What only says that it has pulled."""
    return Pulls(
        Pulled(Path("/nowhere")), lambda: pool.config, lambda: None, lambda *_: ("echo", '{"type":"over"}')
    )


def start(
    models: dict[str, str],
    *,
    preload: bool = True,
    wait: bool = True,
    problems: dict[str, str] | None = None,
    pulls: Callable[[Pool], Pulls] = no_pulls,
    **settings: Json,
) -> Running:
    """Serve fake models; `settings` are sections of the configuration, and `plan` what is planned of each."""
    config = _config(models | dict.fromkeys(problems or {}, "missing.gguf"), preload, settings)
    snapshot = HardwareSnapshot(memory=MemoryFacts(total_bytes=1 << 30), cpu=CpuFacts(usable_cores=2))
    plans = tuple(
        msgspec.structs.replace(
            fake_plan(model, path, at_start=config.models[model].preload), **settings.get("plan", {})
        )
        for model, path in models.items()
    )
    planned = Planned(snapshot=snapshot, plans=plans, problems=problems or {})
    pool = Pool(config, lambda _ahead: planned, _Silent())
    metrics = Metrics()
    metrics.watch(pool.statuses)
    server = Server(
        bind("127.0.0.1", 0),
        Limits(
            max_requests=config.server.max_requests,
            max_connections=config.server.max_connections,
            max_body_bytes=config.server.max_body,
            header_timeout_s=config.server.header_timeout,
            idle_timeout_s=config.server.idle_timeout,
            answer_timeout_s=config.server.request_timeout,
        ),
    )
    server.set_app(create_app(pool, metrics, pulls(pool)))
    server.start()
    pool.start()
    if preload and wait:
        for model in models:
            pool.ensure_ready(model, PATIENCE_S)
    return Running(server, pool, metrics)


def stop(running: Running) -> None:
    """End everything that `start` began."""
    running.pool.close()
    running.server.close(timeout_s=PATIENCE_S)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves models of the test's own, as `start` does."""
    began: list[Running] = []

    def serve_models(models: dict[str, str], **settings: Any) -> Running:
        began.append(start(models, **settings))
        return began[-1]

    yield serve_models
    for running in began:
        stop(running)


@pytest.fixture(scope="session")
def edged() -> Iterator[Running]:
    """The two usual models, for tests that change nothing."""
    running = start(MODELS)
    yield running
    stop(running)
