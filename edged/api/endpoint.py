"""What an endpoint takes and gives, said once: what validates requests also makes OpenAPI and docs/api.md."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

Family = Literal["openai", "ollama", "llama.cpp", "edged"]


class Refused(Struct, frozen=True):
    """A field of the original API that would change the answer, and that edged cannot honour."""

    reason: str  # a whole sentence, which the client reads: what is not possible, and what to do instead
    off: tuple[Any, ...] = ()  # values that ask for nothing; null always does


class Endpoint(Struct, frozen=True, kw_only=True):
    """One method of one path. Every field that the original API documents is in exactly one place here."""

    method: Literal["GET", "POST", "DELETE", "HEAD"]
    path: str  # as Flask writes it: /v1/models/<model>
    family: Family
    summary: str
    request: type[Struct] | None = None  # of the JSON body: the fields that are honoured
    query: type[Struct] | None = None  # of the URL's parameters
    harmless: Mapping[str, str] = {}  # fields that change nothing, and why
    refused: Mapping[str, Refused] = {}
    status: int = 200
    answer: Any = None  # type of the JSON; None where `media_type` is another
    media_type: str = "application/json"
    stream: Any = None  # type of an event, where the client may ask for a stream
    stream_type: str = "text/event-stream"
