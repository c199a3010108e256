"""What a generation took, as OpenAI counts it."""

from collections import Counter
from collections.abc import Iterable

from msgspec import UNSET, Struct, UnsetType

from edged.api.generation.events import Answer, Piece, Told


class PromptDetails(Struct, frozen=True, kw_only=True):
    """Of the prompt's tokens."""

    cached_tokens: int  # found in the KV cache


class CompletionDetails(Struct, frozen=True, kw_only=True):
    """Of the answers' tokens."""

    reasoning_tokens: int


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens, of all answers together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails | UnsetType = UNSET


class Thinking:
    """How many tokens were reasoning: the same share of each answer as of its characters."""

    def __init__(self) -> None:
        self._n_reasoning: Counter[int] = Counter()  # characters, by answer
        self._n_characters: Counter[int] = Counter()
        self._n_tokens: dict[int, int] = {}

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> "Thinking":
        """Of whole answers."""
        thinking = cls()
        for answer in answers:
            n_called = sum(len(call.arguments) + len(call.name) for call in answer.calls)
            thinking._add(answer.index, len(answer.reasoning), len(answer.text) + n_called)
            thinking._n_tokens[answer.index] = answer.n_generated
        return thinking

    def add(self, piece: Piece) -> None:
        """The next piece."""
        delta = piece.delta
        n_called = sum(len(call.arguments) + len(call.name or "") for call in delta.calls)
        self._add(piece.index, len(delta.reasoning), len(delta.text) + n_called)
        self._n_tokens[piece.index] = piece.n_generated

    def n_tokens(self) -> int:
        """So many, in all answers."""
        shares = {index: n / self._n_characters[index] for index, n in self._n_reasoning.items() if n}
        return round(sum(share * self._n_tokens[index] for index, share in shares.items()))

    def _add(self, index: int, n_reasoning: int, n_other: int) -> None:
        self._n_reasoning[index] += n_reasoning
        self._n_characters[index] += n_reasoning + n_other


def usage(told: Told, thinking: Thinking) -> Usage:
    """What it took; of reasoning nothing is said where there was none."""
    n_reasoning = thinking.n_tokens()
    return Usage(
        prompt_tokens=told.n_prompt_tokens,
        completion_tokens=told.n_generated_tokens,
        total_tokens=told.n_prompt_tokens + told.n_generated_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=told.n_cached_tokens),
        completion_tokens_details=CompletionDetails(reasoning_tokens=n_reasoning) if n_reasoning else UNSET,
    )
