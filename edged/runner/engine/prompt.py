"""Requests to tokens, so that nothing a user writes becomes a control token.

Only the template's own text may be parsed for special tokens; otherwise a message that contains the text
of one could end its turn and speak as somebody else.
"""

import datetime
import re
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

from edged.errors import InvalidRequest, ModelFileError
from edged.runner.protocol import Message, Render


class VocabularyLike(Protocol):
    """What prompts need of a vocabulary."""

    bos_text: str
    eos_text: str
    adds_bos: bool

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Tokens of `text`."""

    def control_texts(self) -> list[str]:
        """The text of every control token."""


class ChatTemplate:
    """The model's own chat template, rendered in a sandbox."""

    def __init__(self, source: str, vocabulary: VocabularyLike) -> None:
        """Raises ModelFileError when the template does not parse."""
        from jinja2 import TemplateError  # here: an embedding model needs none of it
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ModelFileError(f"the model's chat template does not parse: {error}") from error
        self._vocabulary = vocabulary

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """The conversation as tokens, ready for the assistant's answer. Raises InvalidRequest."""
        marker = Marker(self._vocabulary)
        contents = [
            {"role": message.role, "content": marker.hide_control_texts(message.content)}
            for message in messages
        ]
        rendered = self._render(contents, add_generation_prompt=True)
        if self._vocabulary.adds_bos and self._vocabulary.bos_text:
            rendered = rendered.removeprefix(self._vocabulary.bos_text)  # tokenising adds it
        return marker.tokenize(rendered)

    def text(self, request: Render) -> str:
        """The conversation as the template writes it. Raises InvalidRequest."""
        contents = [{"role": message.role, "content": message.content} for message in request.messages]
        return self._render(contents, add_generation_prompt=request.add_generation_prompt)

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                bos_token=self._vocabulary.bos_text,
                eos_token=self._vocabulary.eos_text,
            )
        except Exception as error:  # foreign code: it raises what it likes, also RecursionError
            raise InvalidRequest(
                f"messages: the model's chat template does not take them: {error}", "messages"
            ) from error


def plain_tokens(vocabulary: VocabularyLike, text: str) -> list[int]:
    """A text without a template: nothing in it is parsed for special tokens."""
    return vocabulary.tokenize(text, add_special=True, parse_special=False)


class Marker:
    """Puts marks where a user's text spells control tokens, and tokenises around them.

    Without such text (nearly always) a conversation is tokenised in one piece, as every other server does.
    """

    def __init__(self, vocabulary: VocabularyLike) -> None:
        self._vocabulary = vocabulary
        self._nonce = secrets.token_hex(8)
        self.hidden: list[str] = []

    def hide_control_texts(self, text: str) -> str:
        tokenize = self._vocabulary.tokenize
        as_control = tokenize(text, add_special=False, parse_special=True)
        if as_control == tokenize(text, add_special=False, parse_special=False):
            return text
        texts = sorted(filter(None, self._vocabulary.control_texts()))
        return re.sub(_longest_of(texts), self._hide, text)

    def _hide(self, found: re.Match[str]) -> str:
        self.hidden.append(found.group())
        return f"\ue000{self._nonce}:{len(self.hidden) - 1}\ue001"

    def tokenize(self, rendered: str, *, add_special: bool = True) -> list[int]:
        tokens: list[int] = []
        pieces = re.split(f"\ue000{self._nonce}:(\\d+)\ue001", rendered)
        for index, piece in enumerate(pieces):
            hidden = index % 2 == 1
            text = self.hidden[int(piece)] if hidden else piece
            begins = add_special and index == 0
            tokens += self._vocabulary.tokenize(text, add_special=begins, parse_special=not hidden)
        return tokens


def _longest_of(texts: Sequence[str]) -> str:
    """A regular expression for the longest of `texts`, branching where they differ.

    Side by side, the thousands of some vocabularies would all be tried at each character that begins one.
    """
    rests: dict[str, list[str]] = {}
    for text in filter(None, texts):
        rests.setdefault(text[0], []).append(text[1:])
    branches = [re.escape(first) + _longest_of(rest) for first, rest in rests.items()]
    if not branches:
        return ""
    return f"(?:{'|'.join(branches)})" + ("?" if "" in texts else "")


def _refuse(message: Any) -> None:
    raise ValueError(str(message))
