"""A conversation in a terminal, as far as it is no input or output: what was said, and the settings."""

import json
from collections.abc import Sequence
from typing import Any

from edged.errors import EdgedError

PATH = "/v1/chat/completions"
_OURS = frozenset({"model", "messages", "stream", "stream_options", "n"})


class Conversation:
    """Turns so far, and the fields that go with each request."""

    def __init__(self, model: str, system: str | None = None) -> None:
        self.model = model
        self.system = system
        self.settings: dict[str, Any] = {}
        self._turns: list[dict[str, str]] = []

    def ask(self, text: str) -> dict[str, Any]:
        """The body of the request that says this; it is remembered once it is answered."""
        return {
            **self.settings,
            "model": self.model,
            "messages": [*self._before(), {"role": "user", "content": text}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def answered(self, question: str, answer: str) -> None:
        """What was asked and said, from now on part of it."""
        self._turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def take_back(self) -> str:
        """Forget the last answer; returns what was asked. Raises EdgedError where nothing was."""
        if not self._turns:
            raise EdgedError("nothing was asked yet")
        question, _ = self._turns[-2:]
        del self._turns[-2:]
        return question["content"]

    def clear(self) -> None:
        """Forget all turns."""
        self._turns.clear()

    def set(self, name: str, value: str) -> None:
        """Send a field along from now on; an empty value takes it back. Raises EdgedError for one of ours."""
        if name in _OURS:
            raise EdgedError(f"{name} cannot be set here")
        if not value:
            self.settings.pop(name, None)
            return
        try:
            self.settings[name] = json.loads(value)
        except ValueError:
            self.settings[name] = value  # a text needs no quotes

    def shown(self) -> Sequence[str]:
        """The settings, a line each."""
        told = {"model": self.model, "system": self.system or "", **self.settings}
        return [f"{name}: {value}" for name, value in told.items()]

    def _before(self) -> list[dict[str, str]]:
        first = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*first, *self._turns]
