"""How a model writes tool calls and what it thinks: known by what its chat template is made of. Pure."""

from edged.runner.protocol import ChatFormat, ToolFormat

# What only a template of that format contains, all of it, and what a relative has that is read otherwise.
_TOOLS: tuple[tuple[ToolFormat, tuple[str, ...], tuple[str, ...]], ...] = (
    ("hermes", ("<tool_call>", "tools"), ("<function=", "<arg_key>")),  # Qwen 3 Coder, GLM: XML inside
    ("mistral", ("[TOOL_CALLS]", "tools"), ("[ARGS]",)),  # since version 11: a name, then arguments
    ("llama3", ("<|start_header_id|>", '"parameters"', "tools"), ("<function=",)),  # Functionary
)
_REASONING = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)


def chat_format(template: str) -> ChatFormat:
    """By a template's text. Where that shows no format that can be read, tools are `generic`."""
    tools: ToolFormat = "generic"
    for known, needed, foreign in _TOOLS:
        if all(text in template for text in needed) and not any(text in template for text in foreign):
            tools = known
            break
    reasoning = next((tags for tags in _REASONING if tags[1] in template), None)
    return ChatFormat(tools, reasoning)
