"""Token bytes to text that may be sent: whole UTF-8 characters, and nothing of a stop string. Pure."""

import codecs
from collections import deque
from collections.abc import Sequence

from edged.runner.protocol import TokenLogprob


class TextStream:
    """Holds back an unfinished character and whatever could still become a stop string."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(stop)
        self._held = ""
        self.n_released = 0  # characters handed out
        self.stopped_by = ""  # the stop string that was found

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete: nothing more is handed out."""
        return bool(self.stopped_by)

    @property
    def n_characters(self) -> int:
        """Whole characters so far, also those held back."""
        return self.n_released + len(self._held)

    def push(self, piece: bytes) -> str:
        """The text that is certain after `piece`; sets `stopped` when a stop string is complete."""
        self._held += self._decoder.decode(piece)
        return self._release()

    def finish(self) -> str:
        """What was held back, at the end of generation; an unfinished character becomes U+FFFD."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(b"", final=True)
        text = self._release()
        if self.stopped:
            return text
        rest, self._held = self._held, ""
        self.n_released += len(rest)
        return text + rest

    def _release(self) -> str:
        found = [(at, stop) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            at, self.stopped_by = min(found, key=lambda each: each[0])
            text, self._held = self._held[:at], ""
            self.n_released += len(text)
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        self.n_released += cut
        return text


class HeldLogprobs:
    """Log probabilities that wait until the text of their tokens is handed out."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()

    def add(self, begins_at: int, entry: TokenLogprob) -> None:
        """A token whose text begins after `begins_at` characters of its answer."""
        self._waiting.append((begins_at, entry))

    def release(self, stream: TextStream, *, ended: bool) -> tuple[TokenLogprob, ...]:
        """Those of tokens whose text has begun to be handed out; at an end that cuts nothing off, all."""
        everything = ended and not stream.stopped
        released = []
        while self._waiting and (everything or self._waiting[0][0] < stream.n_released):
            released.append(self._waiting.popleft()[1])
        return tuple(released)


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
