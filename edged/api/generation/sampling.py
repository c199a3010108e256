"""The fields of `edged.api.fields` as runners take them, for requests of every API."""

from msgspec import Struct

from edged.errors import InvalidRequest
from edged.runner import protocol

_MAX_STOPS = 16
_MAX_STOP_CHARACTERS = 256


def sampling_of(request: Struct) -> protocol.Sampling:
    """How a request wants tokens chosen: its fields that have the names of `protocol.Sampling`'s."""
    given = {
        name: value
        for name in protocol.Sampling.__struct_fields__
        if (value := getattr(request, name, None)) is not None
    }
    return protocol.Sampling(**given)


def stops_of(wanted: str | list[str] | None) -> tuple[str, ...]:
    """The texts of the field `stop`. Raises InvalidRequest."""
    stops = [wanted] if isinstance(wanted, str) else wanted or []
    if len(stops) > _MAX_STOPS:
        raise InvalidRequest(f"stop: {len(stops)} strings, at most {_MAX_STOPS} are accepted", "stop")
    for index, stop in enumerate(stops):
        if not 1 <= len(stop) <= _MAX_STOP_CHARACTERS:
            raise InvalidRequest(
                f"stop[{index}]: {len(stop)} characters, 1 to {_MAX_STOP_CHARACTERS} are accepted", "stop"
            )
    return tuple(stops)


def top_logprobs_of(wanted: bool | None, most: int | None) -> int | None:
    """How many of the likeliest tokens to name; None: no log probabilities. Raises InvalidRequest."""
    if most and not wanted:
        raise InvalidRequest("top_logprobs: needs logprobs: true", "top_logprobs")
    return (most or 0) if wanted else None
