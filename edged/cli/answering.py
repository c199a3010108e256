"""One streamed answer, shown as it comes."""

import sys
import time
from contextlib import closing
from typing import Any

import msgspec

from edged.cli.client import Client
from edged.cli.conversation import PATH

_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_DIM, _PLAIN, _LINE_AGAIN = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


class Answered(msgspec.Struct, kw_only=True):
    """An answer, whole or as far as it came."""

    text: str = ""
    stopped: bool = False  # by Ctrl-C
    finish_reason: str | None = None
    n_tokens: int | None = None
    first_s: float | None = None
    elapsed_s: float = 0.0

    @property
    def pace(self) -> str:
        """`42 tokens, the first after 0.31 s, 87.2 tokens/s`."""
        said = ["an unknown number of tokens" if self.n_tokens is None else f"{self.n_tokens} tokens"]
        if self.first_s is not None:
            said.append(f"the first after {self.first_s:.2f} s")
            if self.n_tokens is not None and self.n_tokens > 1 and self.elapsed_s > self.first_s:
                said.append(f"{(self.n_tokens - 1) / (self.elapsed_s - self.first_s):.1f} tokens/s")
        return ", ".join(said)


class Screen:
    """Answers go to stdout, all else to stderr. What a terminal would obey is taken out of what it shows."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._tells = sys.stderr.isatty()
        self._waits = False
        self._reasons = False
        self._has_shown = False

    def text(self, piece: str) -> None:
        """A piece of the answer."""
        self._clear()
        if self._reasons:
            self._write(_PLAIN + "\n\n")
            self._reasons = False
        self._show(piece)

    def reasoning(self, piece: str) -> None:
        """A piece of what the model thinks: for people, not for the next program."""
        if not self._is_terminal:
            return
        self._clear()
        if not self._reasons:
            self._write(_DIM)
            self._reasons = True
        self._show(piece)

    def waiting(self, how_far: str) -> None:
        """Why there is nothing yet."""
        if self._tells:
            self._waits = True
            self._tell(_LINE_AGAIN + _harmless(how_far))

    def end(self) -> None:
        """The answer ends here."""
        self._clear()
        if self._reasons:
            self._write(_PLAIN)
            self._reasons = False
        if self._has_shown:
            self._write("\n")

    def _show(self, piece: str) -> None:
        self._has_shown = True
        self._write(_harmless(piece) if self._is_terminal else piece)

    def _clear(self) -> None:
        if self._waits:
            self._waits = False
            self._tell(_LINE_AGAIN)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)  # `click.echo` would take out of a pipe what only terminals obey
        sys.stdout.flush()

    def _tell(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def answer(client: Client, request: dict[str, Any]) -> Answered:
    """Show the answer to a chat completion; Ctrl-C stops it. Raises EdgedError."""
    answered, screen, began_s = Answered(), Screen(), time.monotonic()
    try:
        with closing(client.stream(PATH, request)) as events:  # edged stops as soon as nobody listens
            for told in events:
                if isinstance(told, str):
                    screen.waiting(told)
                elif _take(told, answered, screen) and answered.first_s is None:
                    answered.first_s = time.monotonic() - began_s
    except KeyboardInterrupt:
        answered.stopped = True
    finally:
        screen.end()
    answered.elapsed_s = time.monotonic() - began_s
    return answered


def _take(told: dict[str, Any], answered: Answered, screen: Screen) -> bool:
    """One event of the stream; whether it shows something."""
    if usage := told.get("usage"):
        answered.n_tokens = usage.get("completion_tokens")
    shows = False
    for choice in told.get("choices", ()):
        delta = choice.get("delta", {})
        if reasoning := delta.get("reasoning_content"):
            screen.reasoning(reasoning)
            shows = True
        if text := delta.get("content"):
            answered.text += text
            screen.text(text)
            shows = True
        answered.finish_reason = choice.get("finish_reason") or answered.finish_reason
    return shows


def _harmless(text: str) -> str:
    """Without control characters: nobody's terminal is to be steered by a model."""
    return text.translate(_CONTROL)
