"""What a terminal, a pipe and a person who waits are shown of an answer."""

from collections.abc import Generator
from typing import Any, cast

import pytest

from edged.cli.answering import Answered, answer
from edged.cli.client import Client
from edged.errors import EdgedError

Events = list[dict[str, Any] | str | BaseException]


def delta(**fields: str) -> dict[str, Any]:
    """A chunk of a chat completion."""
    return {"choices": [{"delta": fields, "finish_reason": None}]}


class Server:
    """Streams these events; an exception is raised in its place."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.closed = False

    def stream(self, path: str, _body: Any) -> Generator[dict[str, Any] | str, None, None]:
        assert path == "/v1/chat/completions"
        try:
            for event in self._events:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self.closed = True


def told(events: Events) -> Answered:
    return answer(cast(Client, Server(events)), {})


def become_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stdout and stderr one; pytest has others for fixtures than for tests."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)


ANSWER: Events = [
    "m is loading, 50 % read",
    delta(role="assistant", content=""),
    delta(reasoning_content="Let me "),
    delta(reasoning_content="think."),
    delta(content="Red\x1b[2J "),
    delta(content="fox.\n"),
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"completion_tokens": 7}},
]


def test_a_pipe_gets_the_answer_as_it_is_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    answered = told(ANSWER)
    shown = capsys.readouterr()
    assert shown.out == "Red\x1b[2J fox.\n\n"
    assert shown.err == ""
    assert (answered.text, answered.finish_reason, answered.n_tokens) == ("Red\x1b[2J fox.\n", "stop", 7)


def test_a_terminal_shows_more_but_obeys_no_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    become_terminal(monkeypatch)
    told(ANSWER)
    shown = capsys.readouterr()
    assert shown.out == "\x1b[2mLet me think.\x1b[0m\n\nRed[2J fox.\n\n"
    assert shown.err == "\r\x1b[Km is loading, 50 % read\r\x1b[K"


def test_what_a_model_thought_when_it_was_stopped_does_not_colour_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    become_terminal(monkeypatch)
    server = Server([delta(reasoning_content="Hm"), KeyboardInterrupt()])
    answered = answer(cast(Client, server), {})
    assert answered.stopped
    assert server.closed
    assert capsys.readouterr().out == "\x1b[2mHm\x1b[0m\n"


def test_an_error_leaves_no_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EdgedError, match="no room"):
        told([EdgedError("no room")])
    assert capsys.readouterr().out == ""


def test_the_pace_is_of_what_is_known() -> None:
    assert Answered().pace == "an unknown number of tokens"
    assert Answered(n_tokens=1, first_s=0.5, elapsed_s=0.5).pace == "1 tokens, the first after 0.50 s"
    assert Answered(n_tokens=11, first_s=0.5, elapsed_s=1.5).pace.endswith("10.0 tokens/s")
