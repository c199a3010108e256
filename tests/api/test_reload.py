"""Reloads under load: real HTTP, real runner processes without models, a configuration that changes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edged.config.schema import Access, Bytes, Config, Memory, Model, Seconds
from edged.errors import ConfigError, EdgedError
from edged.hw.snapshot import CpuFacts, HardwareSnapshot, MemoryFacts
from edged.lifecycle.planner import Planned
from edged.lifecycle.pulled import Pulled
from edged.lifecycle.reload import Origins, Reload
from tests.api.conftest import PATIENCE_S, Running, Serve, chat_body
from tests.plans import fake_plan

SLOW = "fake:generate?step_s=0.02"
KEY = "correct-horse-battery"


def planned(config: Config, _memory: MemoryFacts | None = None) -> Planned:
    """Plans for fake files; any other file is missing. With a budget there is less for generation."""
    n_ctx = 64 if config.memory.budget == "auto" else 32
    there = {model: each for model, each in config.models.items() if each.file.startswith("fake:")}
    plans = tuple(
        msgspec.structs.replace(
            fake_plan(model, each.file, at_start=each.preload),
            n_ctx=each.n_ctx if each.n_ctx != "auto" else n_ctx if "generate" in each.file else 64,
        )
        for model, each in there.items()
    )
    snapshot = HardwareSnapshot(memory=MemoryFacts(total_bytes=1 << 30), cpu=CpuFacts(usable_cores=2))
    problems = {
        model: f"{config.models[model].file}: no such file" for model in config.models if model not in there
    }
    return Planned(snapshot=snapshot, plans=plans, problems=problems)


def reload(
    running: Running, after: Config, settle: Callable[[Config], tuple[str, ...]] = lambda _: ()
) -> str:
    """Apply a configuration."""
    origins = Origins(running.pool.config, lambda: after, Pulled(Path("/nowhere")))
    return Reload(running.pool, origins, planned, settle).run()


def with_models(running: Running, **models: Model) -> Config:
    """The configuration in force with other models."""
    return msgspec.structs.replace(running.pool.config, models=models)


def changed(model: Model, **changes: Any) -> Model:
    return msgspec.structs.replace(model, **changes)


@contextmanager
def asked_all_the_time(running: Running, bodies: dict[str, Any], wanted: int = 3) -> Iterator[list[int]]:
    """Requests one after the other for each body, from before the block until after it; their statuses."""
    statuses: list[int] = []
    over = threading.Event()
    begun = [threading.Event() for _ in bodies]
    ended = [threading.Event() for _ in bodies]

    def ask(path: str, body: Any, begun: threading.Event, ended: threading.Event) -> None:
        n_after = 0
        while n_after < wanted:
            n_after += over.is_set()
            statuses.append(running.post(path, body).status)
            begun.set()
        ended.set()

    threads = [
        threading.Thread(target=ask, args=(path, body, *events))
        for (path, body), *events in zip(bodies.items(), begun, ended, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        assert all(event.wait(PATIENCE_S) for event in begun)
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert all(event.is_set() for event in ended)


def test_no_request_fails_while_models_come_go_and_change(serve: Serve) -> None:
    running = serve({"chat": SLOW, "embed": "fake:embed?n_embd=4", "old": "fake:embed"})
    pid = running.pool.status("embed").pid
    models = running.pool.config.models
    bodies = {
        "/v1/embeddings": {"model": "embed", "input": "abc"},
        "/v1/chat/completions": chat_body("one two three four five"),
        "/v1/completions": {"model": "chat", "prompt": "one two three"},
    }
    with asked_all_the_time(running, bodies) as statuses:
        for n_ctx in (128, 256):
            chat = changed(models["chat"], n_ctx=n_ctx)
            said = reload(
                running, with_models(running, chat=chat, embed=models["embed"], new=Model(file="fake:embed"))
            )
            assert f"n_ctx: {'auto' if n_ctx == 128 else 128} → {n_ctx}" in said
            assert running.pool.status("chat").n_ctx == n_ctx
    assert set(statuses) == {200}
    assert len(statuses) > 10
    assert running.pool.status("embed").pid == pid
    assert running.post("/v1/embeddings", {"model": "new", "input": "abc"}).status == 200
    assert running.post("/v1/embeddings", {"model": "old", "input": "abc"}).status == 404
    assert [model["id"] for model in running.get("/v1/models").json()["data"]] == ["chat", "embed", "new"]


def test_an_answer_under_way_is_finished_before_its_runner_ends(serve: Serve) -> None:
    running = serve({"chat": SLOW})
    words = " ".join(f"word{n}" for n in range(40))
    with running.client() as client:
        stream = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": words}], stream=True
        )
        first = next(iter(stream))
        assert first.choices
        after = with_models(running, chat=changed(running.pool.config.models["chat"], n_ctx=128))
        reloading = threading.Thread(target=reload, args=(running, after))
        reloading.start()
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        reloading.join(PATIENCE_S)
    assert text.split() == words.split()
    assert running.pool.status("chat").n_ctx == 128


def test_what_takes_longer_than_the_drain_timeout_is_cut_off_and_said(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    running = serve({"chat": "fake:generate?step_s=0.2"}, server={"drain_timeout": Seconds(0)})
    with running.client() as client:
        stream = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "one two " * 30}], stream=True
        )
        next(iter(stream))
        reload(running, with_models(running))
        with pytest.raises(Exception, match="unloaded"):
            list(stream)
    assert "drain_timeout" in caplog.text
    assert running.chat("hi").status == 404


def test_limits_change_under_a_running_model(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?slots=1&step_s=0.05"})
    pid = running.pool.status("chat").pid
    limited = changed(running.pool.config.models["chat"], max_queue_requests=1)
    assert reload(running, with_models(running, chat=limited)) == "models.chat.max_queue_requests: 64 → 1"
    assert running.chat("one two", n=3).status == 400  # slots and queue hold two answers
    assert running.chat("one two", n=2).status == 200
    assert running.pool.status("chat").pid == pid


def test_access_and_requests_at_once_follow_the_file(serve: Serve) -> None:
    running = serve({"chat": SLOW})
    before = running.pool.config
    assert running.chat("hi").status == 200
    reload(running, msgspec.structs.replace(before, access=Access(api_keys=(KEY,))))
    assert running.chat("hi").status == 401
    assert running.get("/v1/models", Authorization=f"Bearer {KEY}").status == 200
    few = msgspec.structs.replace(before.server, max_requests=1)
    reload(running, msgspec.structs.replace(before, server=few))
    with (
        running.client() as client,
        client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "one two " * 30}], stream=True
        ) as stream,
    ):
        next(iter(stream))
        assert running.chat("hi").status == 429


def test_preload_that_is_set_later_loads_the_model(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, preload=False)
    assert running.pool.status("chat").state == "unloaded"
    reload(running, with_models(running, chat=changed(running.pool.config.models["chat"], preload=True)))
    status = running.pool.status("chat")
    assert (status.state, status.load_at_start) == ("ready", True)
    pid = status.pid
    reload(running, with_models(running, chat=changed(running.pool.config.models["chat"], preload=False)))
    status = running.pool.status("chat")
    assert (status.state, status.load_at_start, status.pid) == ("ready", False, pid)


def test_less_memory_is_a_new_runner_only_for_models_that_have_to_shrink(serve: Serve) -> None:
    running = serve({"chat": "fake:generate", "embed": "fake:embed"})
    pids = {model: running.pool.status(model).pid for model in ("chat", "embed")}
    after = msgspec.structs.replace(running.pool.config, memory=Memory(budget=Bytes(1 << 28)))
    assert reload(running, after) == "memory.budget: auto → 256MiB"
    chat, embed = running.pool.status("chat"), running.pool.status("embed")
    assert (chat.state, chat.n_ctx, chat.pid != pids["chat"]) == ("ready", 32, True)
    assert embed.pid == pids["embed"]


def wrong(config: Config) -> None:
    raise ConfigError(["logging.format: there is no journal"])


@pytest.mark.parametrize(
    ("after", "settle", "why"),
    [
        (
            lambda c: replaced_section(c, "server", port=1),
            None,
            "server.port: cannot change while edged runs",
        ),
        (
            lambda c: with_model(c, "new", Model(file="gone.gguf")),
            None,
            "models.new: gone.gguf: no such file",
        ),
        (lambda c: with_model(c, "chat", Model(file="gone.gguf")), None, "models.chat: gone.gguf"),
        (lambda c: with_model(c, "new", Model(file="fake:embed")), wrong, "there is no journal"),
    ],
)
def test_what_cannot_be_applied_changes_nothing(
    serve: Serve,
    after: Callable[[Config], Config],
    settle: Callable[[Config], tuple[str, ...]] | None,
    why: str,
) -> None:
    running = serve({"chat": "fake:generate"})
    before, pid = running.pool.config, running.pool.status("chat").pid
    with pytest.raises(ConfigError, match=why):
        reload(running, after(before), settle or (lambda _: ()))
    assert running.pool.config is before
    assert running.pool.status("chat").pid == pid
    assert running.chat("hi").status == 200


def replaced_section(config: Config, name: str, **changes: Any) -> Config:
    section = msgspec.structs.replace(getattr(config, name), **changes)
    return msgspec.structs.replace(config, **{name: section})


def with_model(config: Config, model: str, settings: Model) -> Config:
    return msgspec.structs.replace(config, models={**config.models, model: settings})


def test_a_model_that_was_missing_before_does_not_spoil_reloads(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, problems={"gone": "gone.gguf: no such file"})
    config = running.pool.config
    assert "gone" in running.pool.problems
    reload(running, with_model(config, "embed", Model(file="fake:embed")))
    assert running.post("/v1/embeddings", {"model": "embed", "input": "abc"}).status == 200
    assert "gone" in running.pool.problems


def test_a_model_that_does_not_load_is_told_when_the_rest_is_in_force(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, loading={"restart_backoff_max": Seconds(30)})
    after = with_model(running.pool.config, "bad", Model(file="fake:embed?load_fails=broken"))
    with pytest.raises(EdgedError, match="is in force, but model bad cannot be loaded: broken"):
        reload(running, after)
    assert running.pool.config == after
    assert running.chat("hi").status == 200


def test_what_clients_have_pulled_is_served_beside_what_the_file_says(serve: Serve, tmp_path: Path) -> None:
    """By the file as it was put in force, not as it is being edited; also a model without a plan."""
    running = serve({"chat": "fake:generate"})
    pid = running.pool.status("chat").pid
    edited = with_models(running, **running.pool.config.models, more=Model(file="fake:embed"))
    reload = Reload(
        running.pool, Origins(running.pool.config, lambda: edited, Pulled(tmp_path)), planned, lambda _: ()
    )
    (tmp_path / "tiny.gguf").touch()
    reload.serve_pulled()
    assert [status.model for status in running.pool.statuses()] == ["chat", "tiny"]
    assert running.pool.status("tiny").reason == f"{tmp_path}/tiny.gguf: no such file"
    reload.run()
    assert [status.model for status in running.pool.statuses()] == ["chat", "more", "tiny"]
    (tmp_path / "tiny.gguf").unlink()
    reload.serve_pulled()
    assert [status.model for status in running.pool.statuses()] == ["chat", "more"]
    assert running.pool.status("chat").pid == pid


def test_closing_during_a_reload_leaves_no_runner_behind(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?step_s=0.2"})
    outcome: list[EdgedError] = []
    with running.client() as client:
        stream = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "one two " * 20}], stream=True
        )
        next(iter(stream))
        after = with_models(running, chat=changed(running.pool.config.models["chat"], n_ctx=128))

        def run() -> None:
            try:
                reload(running, after)
            except EdgedError as error:
                outcome.append(error)

        reloading = threading.Thread(target=run)
        reloading.start()
        while running.pool.config != after:
            threading.Event().wait(0.005)
        running.pool.close()
        reloading.join(PATIENCE_S)
        stream.close()
    assert not reloading.is_alive()
    assert "shutting down" in str(outcome[0])
    assert running.pool.status("chat").pid is None
