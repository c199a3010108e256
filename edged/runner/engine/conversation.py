"""Conversations as the variables of a chat template, in the form that this template writes out. Pure.

The names are those that Hugging Face's libraries have made common. What a template cannot write is said in a
way that it can: tools that it does not know are described in a system message, calls and results are texts.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from edged.errors import InvalidRequest
from edged.runner.protocol import Message, Tool, ToolCall, ToolFormat

Variables = dict[str, Any]

# What `edged.api.reading` reads as the generic format, and its grammar holds the model to.
_GENERIC = """You can call these functions:

{tools}

Answer with one JSON object and nothing else. To call functions:
{{"tool_calls": [{{"name": "<name>", "arguments": {{<arguments by name>}}}}]}}
To say something to the user:
{{"response": "<text>"}}"""
_NO_PARAMETERS: Variables = {"type": "object", "properties": {}}
_MAX_NESTING = 100
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What a template can write, and in which form it wants it."""

    tools: ToolFormat = "generic"
    reasoning: tuple[str, str] | None = None
    system: Literal["anywhere", "first", "nowhere"] = (
        "anywhere"  # else messages of that role are lost or refused
    )
    parts: bool = False  # a message's content has to be a list of parts
    arguments: Literal["object", "text"] = "object"
    no_content: Literal["text", "none"] = "text"  # what a message holds that only calls tools
    no_tools: Literal["none", "list"] = "none"  # what `tools` is where there are none
    many_calls: bool = True  # False: a message may hold one
    deleted: tuple[str, ...] = ()  # what it takes out of texts


def variables_of(messages: Sequence[Message], tools: Sequence[Tool], traits: Traits) -> Variables:
    """`messages` and `tools` for a template. Raises InvalidRequest."""
    if traits.tools == "generic":
        messages, tools = _spelled_out(messages, tools), ()
    if not traits.many_calls:
        messages = list(_one_call_each(messages))
    if traits.system == "nowhere":
        messages = list(_without_system(messages))
    elif traits.system == "first":
        messages = [*messages[:1], *_without_system(messages[1:])]
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return {
        "documents": None,
        "messages": [_message(message, names, traits) for message in messages],
        "tools": [_tool(tool) for tool in tools] or (None if traits.no_tools == "none" else []),
    }


def does_not_take(why: str) -> InvalidRequest:
    """The error of a conversation that a template does not write."""
    return InvalidRequest(f"messages: the model's chat template does not take them: {why}", "messages")


def options_of(text: str) -> Variables:
    """`template_options`. Raises InvalidRequest."""
    options = _object(text or "{}", "chat_template_kwargs: is not a JSON object", "chat_template_kwargs")
    taken = {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"} & set(
        options
    )
    if taken:
        raise InvalidRequest(
            f"chat_template_kwargs.{min(taken)}: is set by the request itself; leave it out",
            "chat_template_kwargs",
        )
    return options


def _message(message: Message, names: dict[str, str], traits: Traits) -> Variables:
    content: Any = message.content
    if traits.parts:
        content = [{"type": "text", "text": message.content}]
    if message.tool_calls and not message.content and traits.no_content == "none":
        content = None
    written: Variables = {"role": message.role, "content": content}
    if message.reasoning:
        written["reasoning_content"] = message.reasoning
    if message.tool_calls:
        written["tool_calls"] = [_call(call, traits) for call in message.tool_calls]
    if message.tool_call_id is not None:
        written["tool_call_id"] = _id(message.tool_call_id, traits)
    name = message.name or names.get(message.tool_call_id or "")
    if name:
        written["name"] = name
    return written


def _call(call: ToolCall, traits: Traits) -> Variables:
    arguments = _arguments(call)
    written = {
        "name": call.name,
        "arguments": arguments if traits.arguments == "object" else _text(arguments),
    }
    return {"id": _id(call.id, traits), "type": "function", "function": written}


def _tool(tool: Tool) -> Variables:
    parameters = _NO_PARAMETERS
    if tool.parameters:
        parameters = _object(tool.parameters, "tools: parameters are not a JSON schema (an object)", "tools")
    written = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": written}


def _id(given: str, traits: Traits) -> str:
    """Mistral's templates take nine letters and digits; other ids, from wherever, get nine of their own."""
    if traits.tools != "mistral" or _SHORT_ID.fullmatch(given):
        return given
    return hashlib.sha256(given.encode()).hexdigest()[:9]


def _spelled_out(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The same without tools: in the words that a template writes which knows of none."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    spelled: list[Message] = []
    results: list[str] = []
    for message in messages:
        if message.role == "tool":
            name = message.name or names.get(message.tool_call_id or "")
            results.append(_text({"tool_response": {"name": name, "content": message.content}}))
            continue
        if results:
            spelled.append(Message("user", "\n".join(results)))
            results = []
        spelled.append(_calls_as_text(message))
    if results:
        spelled.append(Message("user", "\n".join(results)))
    if tools:
        listed = "\n".join(_text(_tool(tool)["function"]) for tool in tools)
        return _instructed(spelled, _GENERIC.format(tools=listed))
    return spelled


def _calls_as_text(message: Message) -> Message:
    if not message.tool_calls:
        return message
    calls = [{"name": call.name, "arguments": _arguments(call)} for call in message.tool_calls]
    content = "\n\n".join(filter(None, (message.content, _text({"tool_calls": calls}))))
    return msgspec.structs.replace(message, content=content, tool_calls=())


def _instructed(messages: list[Message], instruction: str) -> list[Message]:
    if messages and messages[0].role == "system":
        first = msgspec.structs.replace(messages[0], content=f"{messages[0].content}\n\n{instruction}")
        return [first, *messages[1:]]
    return [Message("system", instruction), *messages]


def _one_call_each(messages: Sequence[Message]) -> Iterator[Message]:
    """Calls that were made together, one after the other, each with its result behind it."""
    results: dict[str | None, list[Message]] = {}
    for message in messages:
        if message.role == "tool":
            results.setdefault(message.tool_call_id, []).append(message)
    for message in messages:
        if len(message.tool_calls) > 1:
            for index, call in enumerate(message.tool_calls):
                said = message.content if index == 0 else ""
                yield msgspec.structs.replace(message, content=said, tool_calls=(call,))
                yield from results.pop(call.id, ())
        elif message.role != "tool":
            yield message
        elif message.tool_call_id in results and results[message.tool_call_id][0] is message:
            yield message
            results[message.tool_call_id].pop(0)


def _without_system(messages: Sequence[Message]) -> Iterator[Message]:
    """What system messages say at the beginning of the user's next one."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif message.role == "user":
            yield msgspec.structs.replace(message, content="\n\n".join([*waiting, message.content]))
            waiting = []
        else:
            yield message
    if waiting:
        yield Message("user", "\n\n".join(waiting))


def _arguments(call: ToolCall) -> Variables:
    problem = "messages: the arguments of a tool call are not the text of a JSON object"
    return _object(call.arguments or "{}", problem, "messages")


def _object(text: str, problem: str, param: str) -> Variables:
    """The JSON object that a text is. Raises InvalidRequest."""
    try:
        value = msgspec.json.decode(text, type=Variables)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(problem, param) from error
    if _nests_deeper(value, _MAX_NESTING):
        raise InvalidRequest(f"{problem}: it is nested more than {_MAX_NESTING} deep", param)
    return value


def _nests_deeper(value: Any, most: int) -> bool:
    """Without recursion: Python's own has an end, of which nobody knows how much is left."""
    level = [value]
    for _ in range(most):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for values in inner for each in values if isinstance(each, dict | list)]
    return bool(level)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
