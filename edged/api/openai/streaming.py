"""What OpenAI's two kinds of completion say of a stream."""

from typing import Annotated

from msgspec import Meta, Struct

from edged.api.errors import body_of
from edged.errors import EdgedError

LAST = "[DONE]"  # what OpenAI's streams end with, which is no JSON
DONE = f"data: {LAST}\n\n".encode()


class StreamOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """`stream_options`."""

    include_usage: Annotated[bool | None, Meta(description="End with a chunk that has the usage.")] = None
    include_obfuscation: Annotated[
        bool | None, Meta(description="Changes nothing: nothing is padded here.")
    ] = None


def wants_usage(options: StreamOptions | None) -> bool:
    """Whether a stream is to end with the usage."""
    return options is not None and bool(options.include_usage)


def error_event(error: EdgedError) -> bytes:
    """An error in the place of a chunk; nothing follows it."""
    return b"data: " + body_of(error) + b"\n\n"
