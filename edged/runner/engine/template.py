"""A chat template as Hugging Face's libraries render it, in jinja2's sandbox.

Whoever made the model file wrote it. The sandbox keeps it from Python's inside, and only that: its time and
memory are limited by the process that renders it (`edged.runner.renderer`).
"""

import datetime
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edged.errors import ModelFileError
from edged.runner.engine.conversation import does_not_take

MAX_SOURCE_BYTES = 1 << 20
MAX_TEXT_BYTES = 16 << 20
_MAX_PROBLEM_CHARACTERS = 300


class Template:
    """One template, compiled."""

    def __init__(self, source: str) -> None:
        """Raises ModelFileError when it does not parse."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _strftime_now
        environment.filters["tojson"] = _tojson
        try:
            if len(source) > MAX_SOURCE_BYTES:
                raise ValueError(f"{len(source)} characters, at most {MAX_SOURCE_BYTES} are accepted")
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ModelFileError(f"the model's chat template does not parse: {_short(error)}") from error
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise ModelFileError(f"the model's chat template cannot be used: {_short(error)}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text. Raises InvalidRequest, whatever the template does."""
        pieces: list[str] = []
        n_left = MAX_TEXT_BYTES
        try:
            for piece in self._template.generate(variables):
                n_left -= len(piece)
                if n_left < 0:
                    raise ValueError(f"it gives more than {MAX_TEXT_BYTES >> 20} MiB of text")
                pieces.append(piece)
            return "".join(pieces)
        except Exception as error:  # foreign code: it raises what it likes, also RecursionError
            raise does_not_take(_short(error)) from error


class _Generation(Extension):
    """`{% generation %}` marks what a model is trained on: here it is only its content."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As templates expect it: jinja2's own escapes `<`, `>` and `&` for HTML, and sorts the keys."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _refuse(message: Any) -> None:
    raise ValueError(str(message))


def _short(error: BaseException) -> str:
    """What went wrong, on one line."""
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    return " ".join(str(error).split())[:_MAX_PROBLEM_CHARACTERS] or type(error).__name__
