"""How one kind of endpoint writes generations down."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from edged.api.generation.events import Answer, Piece, Told
from edged.errors import EdgedError


class Dialect(Protocol):
    """Made for one request, so that it may remember what it has written."""

    stream_type: str  # media type of a stream

    def whole(self, answers: Sequence[Answer], told: Told) -> bytes:
        """The body of an answer that is not streamed."""

    def opening(self) -> Iterable[bytes]:
        """What a stream begins with once a slot works on the request."""

    def piece(self, piece: Piece) -> Iterable[bytes]:
        """What an answer gains; an answer's last piece has its `finish_reason`."""

    def closing(self, told: Told) -> Iterable[bytes]:
        """What a stream ends with after the last pieces of all answers."""

    def waiting(self, how_far: str) -> Iterable[bytes]:
        """What keeps a silent connection open, and is no part of the answer."""

    def failed(self, error: EdgedError) -> Iterable[bytes]:
        """What goes wrong after the first byte can only be told inside the stream."""
