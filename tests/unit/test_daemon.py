"""What the daemon tells systemd while it starts."""

from typing import Any

import pytest

from edged import daemon
from edged.config.schema import Config
from edged.errors import NoModelLoaded
from edged.lifecycle.status import ModelStatus
from edged.service.reloading import Reloading
from edged.service.watch import News


class Calm:
    """Memory is not short."""

    text: str | None = None


CALM: Any = Calm()


class Pool:
    """Models in the states that a test sets."""

    is_starting = True
    config = Config()

    def __init__(self) -> None:
        self.model = ModelStatus(
            model="smollm2", state="loading", kind="generate", strategy="stream", load_at_start=True
        )

    def statuses(self) -> tuple[ModelStatus, ...]:
        return (self.model,)

    def becomes(self, **changed: Any) -> None:
        fields = {name: getattr(self.model, name) for name in self.model.__struct_fields__}
        self.model = ModelStatus(**{**fields, **changed})


def test_more_time_is_asked_for_while_a_load_gets_on_and_not_while_it_does_not() -> None:
    pool: Any = Pool()
    news = daemon._news(pool, Reloading(lambda: "", lambda: True), CALM)
    first = news()
    assert first.starting
    # a hung runner is replaced within this time, and its successor begins
    assert first.extend_timeout_s is not None
    assert first.extend_timeout_s > Config().loading.hang_timeout + Config().loading.restart_backoff_max
    pool.becomes(silent_s=20.0)
    assert news() == News("loading smollm2 (nothing has moved for 20 s)", starting=True)
    pool.becomes(state="ready", silent_s=0.0)
    pool.is_starting = False
    assert news() == News("serving smollm2")


def test_a_start_that_has_failed_ends_the_daemon_but_a_later_failure_does_not() -> None:
    pool: Any = Pool()
    news = daemon._news(pool, Reloading(lambda: "", lambda: True), CALM)
    pool.becomes(state="failed", given_up="file", reason="smollm2.gguf is missing")
    with pytest.raises(NoModelLoaded, match=r"smollm2\.gguf is missing"):
        news()
    pool.is_starting = False
    assert news() == News("smollm2 failed: smollm2.gguf is missing")


def test_a_reload_is_given_time_and_its_outcome_is_shown() -> None:
    pool: Any = Pool()
    pool.is_starting = False
    pool.becomes(state="ready")
    reloading = Reloading(lambda: "", lambda: False)
    news = daemon._news(pool, reloading, CALM)
    reloading.running = True
    assert news().extend_timeout_s is not None
    reloading.running, reloading.outcome = False, "reload failed at 12:03:04: edged.yaml: no such file"
    assert news() == News("serving smollm2; reload failed at 12:03:04: edged.yaml: no such file")


@pytest.mark.parametrize(("n_requests", "said"), [(1, "draining 1 request"), (3, "draining 3 requests")])
def test_a_drain_is_told_with_its_requests(
    n_requests: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(daemon, "notify", lambda **message: told.append(message))
    daemon._tell_draining(n_requests)
    assert told == [{"status": said, "watchdog": True}]
