"""The verbs that talk to a running edged, against one that serves fake models."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edged.cli.main import cli
from edged.cli.ps import why
from edged.errors import EdgedError
from edged.lifecycle.status import ModelStatus
from tests.api.conftest import PATIENCE_S, Running, Serve, chat_body
from tests.api.test_work import busy, send

KEY = "a-key-of-more-than-16-characters"


def verb(running: Running, *arguments: str, key: str | None = None) -> Result:
    """A verb's result; its EdgedError is raised."""
    env = {"EDGED_URL": running.server.url, "EDGED_API_KEY": key, "COLUMNS": "200"}
    result = CliRunner(env=env).invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_ps_is_a_table_that_grep_can_read(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?step_s=0.001", "embed": "fake:embed"})
    running.chat("one two three four")
    running.pool.unload("embed")
    headings, chat, embed, _, account = verb(running, "ps").output.splitlines()
    assert headings.split()[:3] == ["MODEL", "STATE", "STRATEGY"]
    assert chat.split()[:3] == ["chat", "ready", "stream"]
    assert chat.endswith("  loaded at start")
    assert chat[headings.index("ANON") :].split()[1] == "MiB"
    assert float(chat[headings.index("TOKENS/S") :].split()[0]) > 1
    assert embed.split()[:3] == ["embed", "unloaded", "stream"]
    assert "never" in embed
    assert account.startswith("models may take ")


def test_ps_says_why_a_model_is_not_there(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, problems={"big": "needs 3.1 GB, this machine has 0.9 GB"})
    assert verb(running, "ps").output.splitlines()[2].endswith("needs 3.1 GB, this machine has 0.9 GB")


def test_ps_as_json(edged: Running) -> None:
    models = json.loads(verb(edged, "ps", "--json").output)["models"]
    assert [model["model"] for model in models] == ["chat", "embed"]
    assert models[0]["memory"]["anon_bytes"] > 0


def test_ps_watches_until_edged_ends(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, preload=False)
    results: list[Result] = []
    watching = threading.Thread(target=lambda: results.append(verb(running, "ps", "--watch")))
    watching.start()
    follower = running.pool.feed.follow()
    running.pool.ensure_ready("chat", PATIENCE_S)
    while (told := follower.next(PATIENCE_S)) is not None and getattr(told.notice, "state", "") != "ready":
        continue
    running.pool.feed.close()
    watching.join(PATIENCE_S)
    tables = results[0].output.split("\n\n")
    assert tables[0].splitlines()[1].split()[0] == "chat"
    assert results[0].exit_code == 0


def test_ps_watched_as_json_is_a_line_for_each_event(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"})
    threading.Timer(0.2, running.pool.feed.close).start()
    events = [json.loads(line) for line in verb(running, "ps", "--watch", "--json").output.splitlines()]
    assert events[0]["model"] == "chat"
    assert events[-1] == {"event": "end"}


def test_load_waits_until_the_models_answer(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=0.2", "embed": "fake:embed"}, preload=False)
    said = verb(running, "load", "chat", "embed").output.splitlines()
    assert sorted(line.split()[0] for line in said) == ["chat:", "embed:"]
    assert all("ready, loaded in" in line for line in said)
    assert running.pool.status("chat").state == "ready"


def test_load_need_not_wait(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=600"}, preload=False)
    assert verb(running, "load", "--no-wait", "chat").output == ""
    assert running.pool.status("chat").state == "loading"


def test_a_load_that_fails_is_an_error_with_its_reason(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_fails=the+file+is+damaged"}, preload=False)
    with pytest.raises(EdgedError, match="chat cannot be loaded: the file is damaged"):
        verb(running, "load", "chat")


def test_warmup_and_unload(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, preload=False)
    assert verb(running, "warmup", "chat").output.startswith("chat: warm, a batch took ")
    assert verb(running, "unload", "chat").output == "chat: unloaded\n"
    assert running.pool.status("chat").state == "unloaded"


def test_cool_says_what_was_given_back(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?file_bytes=2048&step_s=60&slots=1"})
    assert verb(running, "cool", "chat").output == "chat: gave back 2 KiB\n"
    assert "gave back its pages until the next request" in verb(running, "ps").output
    assert verb(running, "cool", "--shrink", "chat").output == "chat: gave back 2 KiB\n"
    with send(running, chat_body("for ever", ignore_eos=True)):
        assert busy(running, 1)
        assert verb(running, "cool", "chat").output == "chat: has nothing to give back now\n"
    running.pool.unload("chat")
    with pytest.raises(EdgedError, match="chat is unloaded"):
        verb(running, "cool", "chat")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cause": "boot"}, "loaded at start"),
        ({"cause": "evicted", "pinned": True}, "asked for again after it was evicted, pinned"),
        ({"cause": "demand", "keep_alive_s": 300.0}, "asked for, stays 5 min without requests"),
        ({"cause": "crash", "cooled": "pages"},
         "restarted after a crash, gave back its pages until the next request"),
        ({"cause": "demand", "keep_alive_s": 9.0, "leaving": "evicted"},
         "asked for, leaves: made room for another model"),
        ({"cause": "demand", "bytes_total": 100, "bytes_done": 42}, "asked for, 42 % read"),
        ({"state": "loading", "cause": "demand", "remaining_s": 2.2}, "asked for, about 3 s left"),
        ({"state": "loading", "phase": "room", "reason": "gemma\nleaves"},
         "asked for, waits for room: gemma leaves"),
        ({"state": "unloaded"}, "nobody has asked for it"),
        ({"state": "unloaded", "unloaded_by": "idle"}, "nobody asked for it any more"),
        ({"state": "failed", "reason": "the file\nis damaged"}, "the file is damaged"),
    ],
)  # fmt: skip
def test_why_a_model_is_where_it_is(changed: dict[str, Any], said: str) -> None:
    fields = {"model": "m", "state": "ready", "kind": "embed", "strategy": "warm", "load_at_start": True}
    assert why(ModelStatus(**{**fields, **changed})) == said


def test_an_unknown_model_is_what_edged_says_of_it(edged: Running) -> None:
    for name in ("load", "unload", "warmup", "cool"):
        with pytest.raises(EdgedError, match="model 'nope' is not configured"):
            verb(edged, name, "nope")


def test_a_key_comes_from_the_configuration_or_the_environment(serve: Serve, tmp_path: Path) -> None:
    running = serve({"chat": "fake:generate"}, access={"api_keys": (KEY,)})
    with pytest.raises(EdgedError, match=r"an API key is needed.*\$EDGED_API_KEY"):
        verb(running, "ps")
    assert verb(running, "ps", key=KEY).exit_code == 0
    config = tmp_path / "edged.yaml"
    config.write_text(f"server: {{port: {running.server.port}}}\naccess: {{api_keys: [{KEY}]}}\n")
    result = CliRunner(env={"EDGED_URL": None}).invoke(cli, ["ps", "--config", str(config)])
    assert result.output.splitlines()[1].split()[0] == "chat"
