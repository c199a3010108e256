"""What a conversation is made of, and how a model writes its part of it."""

from typing import Literal

import msgspec

ToolFormat = Literal["hermes", "llama3", "mistral", "generic"]


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the assistant made; `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; the role was checked at the door."""

    role: str
    content: str
    reasoning: str = ""  # what the assistant thought before it said `content`
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None  # of a result: which call it answers
    name: str | None = None  # of a result: which tool it comes from; else who speaks


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is the text of a JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: str = ""  # none are described


class ChatFormat(msgspec.Struct, frozen=True):
    """How a model writes tool calls and what it thinks, as far as its chat template shows.

    `generic`: its template knows no tools; they are described to it in a system message.
    """

    tools: ToolFormat
    reasoning: tuple[str, str] | None = None  # what opens and closes it in the answer's text
