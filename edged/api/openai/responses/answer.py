"""What POST /v1/responses gives."""

from typing import Any, Literal

from msgspec import Struct

from edged.api.openai.logprobs import Chosen
from edged.api.openai.responses.request import Reasoning, TextConfig
from edged.api.openai.responses.tools import Choice, Tool

Status = Literal["in_progress", "completed", "incomplete", "failed"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """Text of a message."""

    text: str
    annotations: tuple[Any, ...] = ()
    logprobs: tuple[Chosen, ...] = ()


class ReasoningText(Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning_text"):
    """What the model thought."""

    text: str


class MessageItem(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What the model says."""

    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: tuple[OutputText, ...]


class ReasoningItem(Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """What the model thought before; nobody summarises it."""

    id: str
    status: ItemStatus
    summary: tuple[Any, ...] = ()
    content: tuple[ReasoningText, ...]


class CallItem(Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A function that the model wants called; `arguments` is the text of a JSON object."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


OutputItem = MessageItem | ReasoningItem | CallItem


class InputDetails(Struct, frozen=True, kw_only=True):
    """Of the prompt's tokens."""

    cached_tokens: int  # found in the KV cache
    cache_write_tokens: int = 0


class OutputDetails(Struct, frozen=True, kw_only=True):
    """Of the answer's tokens."""

    reasoning_tokens: int


class ResponseUsage(Struct, frozen=True, kw_only=True):
    """Tokens."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseError(Struct, frozen=True, kw_only=True):
    """What went wrong within a stream."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteDetails(Struct, frozen=True, kw_only=True):
    """Why the answer is not complete."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseObject(Struct, frozen=True, kw_only=True):
    """The answer, with what was asked for."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: tuple[OutputItem, ...] = ()
    parallel_tool_calls: bool
    previous_response_id: None = None
    reasoning: Reasoning
    store: Literal[False] = False
    temperature: float
    text: TextConfig
    tool_choice: Choice
    tools: tuple[Tool, ...]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
