"""From when on a grammar holds an answer. Pure.

A grammar may wait for the end of what the model thinks, and for a trigger: what begins a tool call, say, so
that the model is free to answer without one.
"""

from collections.abc import Sequence
from typing import Literal

AT_START = "^"  # before a trigger: only where the answer begins
_MAX_BLANKS = 8  # that may come before an answer which the grammar holds from its beginning


class Gate:
    """One answer's. Texts are bytes, as tokens have them; blanks before tags and answers do not count."""

    def __init__(
        self, triggers: Sequence[str] = (), reasoning: tuple[str, str] | None = None, *, opened: bool = False
    ) -> None:
        """`reasoning`: the tags around what the model may think first; `opened` by the prompt."""
        self.held = not triggers and reasoning is None
        self._anywhere = [each.encode() for each in triggers if not each.startswith(AT_START)]
        self._at_start = [each[1:].encode() for each in triggers if each.startswith(AT_START)]
        self._waits = bool(triggers)
        self._opening, self._closing = (tag.encode() for tag in reasoning or ("", ""))
        self._opened = opened
        self._where: Literal["before", "thinking", "answer"] = "before" if reasoning else "answer"
        self._text = b""

    def lets(self, piece: bytes, *, ends: bool) -> bool:
        """Whether a token may be taken without the grammar; `ends`: with it the model has finished.

        Without triggers only reasoning is free, and blanks around it. Its opening tag must be one token then.
        """
        if self.held or self._waits:
            return not self.held
        if self._where == "thinking" or (self._where == "before" and self._opened):
            return True
        stripped = (self._text + piece).lstrip()
        if ends or not piece:
            return False
        if self._where == "before" and stripped.startswith(self._opening):
            return True
        return not stripped and len(self._text + piece) <= _MAX_BLANKS

    def push(self, piece: bytes) -> bytes:
        """A token was taken so. If `held` is set from now on: what the grammar has to follow first."""
        self._text += piece
        if self._where == "before":
            self._begin()
        if self._where == "thinking":
            self._think()
        return self._look() if self._where == "answer" else b""

    def hold(self) -> None:
        """The next token is the grammar's first, whatever has been taken."""
        self.held = True

    def wait_on(self) -> None:
        """What a trigger began is nothing that the grammar knows: wait for the next one, if any."""
        self.held = not self._waits

    def _begin(self) -> None:
        text = self._text.lstrip()
        if text.startswith(self._opening):
            self._where, self._text = "thinking", text[len(self._opening) :]
        elif not self._opening.startswith(text):
            self._where = "thinking" if self._opened else "answer"

    def _think(self) -> None:
        at = self._text.find(self._closing)
        if at < 0:
            self._text = self._text[1 - len(self._closing) :]
            return
        self._where, self._text = "answer", self._text[at + len(self._closing) :]

    def _look(self) -> bytes:
        text = self._text.lstrip()
        if not self._waits:
            self.held = bool(text)
            return text
        found = [at for trigger in self._anywhere if (at := self._text.find(trigger)) >= 0]
        if any(text.startswith(trigger) for trigger in self._at_start):
            found = [len(self._text) - len(text)]
        if found:
            self.held = True
            begun, self._text = self._text[min(found) :], b""
            self._at_start = []
            return begun
        self._at_start = [trigger for trigger in self._at_start if trigger.startswith(text)]
        if not self._at_start:
            longest = max(map(len, self._anywhere), default=1)
            self._text = self._text[max(0, len(self._text) - longest + 1) :]
        return b""
