"""What an endpoint takes and gives, said once: what validates requests also makes OpenAPI and docs/api.md."""

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Literal

from msgspec import Struct

# What any endpoint may answer instead. 401, 404 and 413 follow from who may ask it, and from what it takes.
ERRORS = (400, 403, 429, 500, 503)

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
    stream: Any = None  # type of an event, or a union of types, where the client may ask for a stream
    stream_type: str = "text/event-stream"
    stream_end: str | None = None  # the last event's text, where that is no JSON
    errors: tuple[int, ...] = ERRORS
    otherwise: Mapping[int, Any] = {}  # types of answers with another status that are no errors
    example: Any = None  # a body that is answered where there are models named smollm2 and minilm


def declared(modules: Iterable[ModuleType]) -> tuple[Endpoint, ...]:
    """Every endpoint that these modules declare, in order, once."""
    found = (each for module in modules for each in vars(module).values() if isinstance(each, Endpoint))
    return tuple({(each.method, each.path): each for each in found}.values())
