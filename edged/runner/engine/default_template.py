"""Chat templates for models whose files have none, by the control tokens that their vocabularies have.

Some converters drop the template. A model still knows the turns that it was trained on: where its vocabulary
has a family's token for the beginning of a turn, that family's template is taken; elsewhere there is none.
"""

from typing import NamedTuple

from edged.runner.engine.hiding import VocabularyLike


class DefaultTemplate(NamedTuple):
    """A family's template, and the control token by which it is known."""

    family: str
    turn_token: str
    source: str


_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n'"
    " + message.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
# Gemma knows no system turn: what it says goes before the first message, as in Google's own template.
_GEMMA = (
    "{{ bos_token }}{% set first = namespace(text='') %}{% for message in messages %}"
    "{% if message.role == 'system' %}{% set first.text = first.text + message.content | trim + '\\n\\n' %}"
    "{% else %}"
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' + first.text"
    " + message.content | trim + '<end_of_turn>\\n' }}{% set first.text = '' %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
_KNOWN = (
    DefaultTemplate("ChatML", "<|im_start|>", _CHATML),
    DefaultTemplate("Llama 3", "<|start_header_id|>", _LLAMA_3),
    DefaultTemplate("Gemma", "<start_of_turn>", _GEMMA),
)


def default_template(vocabulary: VocabularyLike) -> DefaultTemplate | None:
    """The template of the family whose turns this vocabulary knows."""
    for known in _KNOWN:
        tokens = vocabulary.tokenize(known.turn_token, add_special=False, parse_special=True)
        if len(tokens) == 1 and tokens != vocabulary.tokenize(
            known.turn_token, add_special=False, parse_special=False
        ):
            return known
    return None
