"""What systemd and the journal hear of a reload."""

import logging
import threading
from collections.abc import Callable

import pytest

from edged.errors import ConfigError
from edged.service import reloading
from edged.service.reloading import Reloading


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What systemd was told."""
    messages: list[dict[str, object]] = []
    monkeypatch.setattr(reloading, "notify", lambda **message: messages.append(message))
    return messages


def fails() -> str:
    raise ConfigError(["edged.yaml: server.prt: unknown key", "edged.yaml: models: wrong"])


def test_a_reload_is_announced_and_over_when_it_is_done(
    told: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert Reloading(lambda: "models.a: added", lambda: True).run() == "models.a: added"
    assert told[0] == {"reloading": True, "status": "reloading"}
    assert told[1]["ready"] is True
    assert str(told[1]["status"]).startswith("serving; reloaded at ")
    record = caplog.records[-1]
    assert (record.getMessage(), vars(record)["EVENT"]) == ("reloaded: models.a: added", "reload_done")


def test_a_failure_is_in_the_journal_in_the_status_and_raised(
    told: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    why = "edged.yaml: server.prt: unknown key; edged.yaml: models: wrong"
    with pytest.raises(ConfigError):
        Reloading(fails, lambda: True).run()
    assert str(told[-1]["status"]).endswith(f": {why}")
    assert told[-1]["ready"] is True
    record = caplog.records[-1]
    assert (record.getMessage(), vars(record)["EVENT"]) == (f"reload failed: {why}", "reload_failed")


@pytest.mark.parametrize("apply", [lambda: "done", fails])
def test_a_daemon_that_is_not_ready_yet_is_not_said_to_be(
    told: list[dict[str, object]], apply: Callable[[], str]
) -> None:
    try:
        Reloading(apply, lambda: False).run()
    except ConfigError:
        assert apply is fails
    assert told == []


def test_reloads_come_one_after_the_other_and_a_signal_does_not_wait(
    told: list[dict[str, object]],
) -> None:
    begun, go_on, second = threading.Event(), threading.Event(), threading.Event()
    running: list[int] = []

    def apply() -> str:
        running.append(1)
        assert len(running) == 1
        if begun.is_set():
            second.set()
        begun.set()
        assert go_on.wait(20)
        running.pop()
        return "done"

    both = Reloading(apply, lambda: True)
    both.begin()
    assert begun.wait(20)
    both.begin()
    go_on.set()
    assert second.wait(20)
