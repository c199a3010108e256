"""Conversations and texts to tokens, so that nothing a user writes becomes a control token."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edged.runner.engine.conversation import Traits, options_of, variables_of
from edged.runner.engine.hiding import ControlTexts, Marks, VocabularyLike
from edged.runner.engine.traits import Render
from edged.runner.protocol import ChatFormat, Message, Tool


class Conversation(NamedTuple):
    """What a template is given to write."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    options: str = ""  # the text of a JSON object
    add_generation_prompt: bool = True


class Prompt(NamedTuple):
    """A conversation's tokens; `opens_reasoning`: they end where the model is to think."""

    tokens: list[int]
    opens_reasoning: bool = False


class ChatTemplate:
    """The model's chat template, its vocabulary, and what was found out about them."""

    def __init__(self, render: Render, traits: Traits, vocabulary: VocabularyLike) -> None:
        """`render` raises InvalidRequest for what the template does not take."""
        self._render = render
        self._traits = traits
        self._vocabulary = vocabulary
        self._controls = ControlTexts(vocabulary, traits.deleted)

    @property
    def format(self) -> ChatFormat:
        """How the model writes."""
        return ChatFormat(self._traits.tools, self._traits.reasoning)

    def prompt(self, conversation: Conversation, check: Callable[[str], None] = lambda _text: None) -> Prompt:
        """The conversation, ready for the assistant's answer. Raises InvalidRequest, and what `check` raises.

        `check` is given the whole text before its tokens are counted.
        """
        marks = Marks(self._controls)
        rendered = self._rendered(conversation, marks)
        check(marks.text(rendered))
        tags = self._traits.reasoning
        opens_reasoning = tags is not None and rendered.rstrip().endswith(tags[0])
        if self._vocabulary.adds_bos and self._vocabulary.bos_text:
            rendered = rendered.removeprefix(self._vocabulary.bos_text)  # tokenising adds it
        return Prompt(marks.tokens(rendered), opens_reasoning)

    def text(self, conversation: Conversation) -> str:
        """The conversation as the template writes it. Raises InvalidRequest."""
        marks = Marks(self._controls)
        return marks.text(self._rendered(conversation, marks))

    def _rendered(self, conversation: Conversation, marks: Marks) -> str:
        variables = variables_of(conversation.messages, conversation.tools, self._traits)
        return self._render(
            {
                **marks.hide({**options_of(conversation.options), **variables}),
                "add_generation_prompt": conversation.add_generation_prompt,
                "bos_token": self._vocabulary.bos_text,
                "eos_token": self._vocabulary.eos_text,
            }
        )


def plain_tokens(vocabulary: VocabularyLike, text: str) -> list[int]:
    """A text without a template: nothing in it is parsed for special tokens."""
    return vocabulary.tokenize(text, add_special=True, parse_special=False)
