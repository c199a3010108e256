"""Conversations become prompts one after the other, beside all else."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from edged.errors import InvalidRequest
from edged.runner.drafting import Drafted, Drafting
from edged.runner.protocol import Generate, Rejected, Render, Text

_PATIENCE_S = 20.0


class Engine:
    """Says what it is told, as (what, of which request)."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def submit(self, job: Any) -> None:
        self.told.put(("submit", job))

    def cancel(self, request: int) -> None:
        self.told.put(("cancel", request))

    def next(self) -> tuple[str, int]:
        return self.told.get(timeout=_PATIENCE_S)


def _drafting(draft: Callable[[Drafted], Any]) -> tuple[Drafting, Engine, "queue.SimpleQueue[Any]"]:
    engine, sent = Engine(), queue.SimpleQueue[Any]()
    return Drafting(draft, engine, sent.put), engine, sent


def _ask(request: int) -> Generate:
    return Generate(id=request, messages=())


def test_a_prompt_goes_to_the_engine_and_a_text_to_who_asked() -> None:
    drafting, engine, sent = _drafting(
        lambda asked: Text(asked.id, "x") if isinstance(asked, Render) else asked.id
    )
    drafting.ask(_ask(1))
    drafting.ask(Render(id=2, messages=()))
    assert engine.next() == ("submit", 1)
    assert sent.get(timeout=_PATIENCE_S) == Text(2, "x")
    assert engine.told.empty()


def test_what_a_template_does_not_take_is_refused() -> None:
    def draft(_asked: Drafted) -> Any:
        raise InvalidRequest("messages: no", "messages")

    drafting, engine, sent = _drafting(draft)
    drafting.ask(_ask(1))
    expected = Rejected(id=1, kind="invalid", message="messages: no", param="messages")
    assert sent.get(timeout=_PATIENCE_S) == expected
    assert engine.told.empty()


def test_who_leaves_is_neither_waited_for_nor_worked_for() -> None:
    begun, go_on = threading.Event(), threading.Event()
    drafted: list[int] = []

    def draft(asked: Drafted) -> int:
        drafted.append(asked.id)
        begun.set()
        assert go_on.wait(_PATIENCE_S)
        return asked.id

    drafting, engine, _ = _drafting(draft)
    for request in (1, 2, 3):
        drafting.ask(_ask(request))
    assert begun.wait(_PATIENCE_S)
    drafting.cancel(1)  # while it is drafted
    drafting.cancel(2)  # before that
    go_on.set()
    told = [engine.next() for _ in range(5)]
    # the engine frees what belongs to a job, so it gets even one whose client has gone
    assert told == [("cancel", 1), ("cancel", 2), ("submit", 1), ("cancel", 1), ("submit", 3)]
    assert drafted == [1, 3]
