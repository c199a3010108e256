"""How fast prompts and answers are computed here, measured step by step; and what follows from it. Pure."""

_MIN_CHUNK_TOKENS = 16  # smaller ones read all weights for next to nothing
_MIN_MEASURED_TOKENS = 8  # fewer say more about the step than about the prompt
_NEW_SHARE = 0.25


class Pace:
    """A step takes its decoding time and a time per prompt token; both are running averages."""

    def __init__(self, step_s: float, first_chunk_tokens: int) -> None:
        """`step_s`: how long a step may take that also computes prompts, while answers are under way.

        `first_chunk_tokens` go beside them until something was measured.
        """
        self.step_s = step_s
        self._first_chunk_tokens = first_chunk_tokens
        self.decode_s: float | None = None
        self.prompt_token_s: float | None = None

    def measured(self, n_decoding: int, n_prompt_tokens: int, elapsed_s: float) -> None:
        """A step of so many decoding sequences and prompt tokens took `elapsed_s`."""
        if not n_prompt_tokens:
            self.decode_s = _average(self.decode_s, elapsed_s)
        elif n_prompt_tokens >= _MIN_MEASURED_TOKENS:
            decode_s = (self.decode_s or 0.0) if n_decoding else 0.0
            each_s = max(elapsed_s - decode_s, 0.1 * elapsed_s) / n_prompt_tokens
            self.prompt_token_s = _average(self.prompt_token_s, each_s)

    @property
    def chunk_tokens(self) -> int:
        """How many prompt tokens a step may compute beside answers.

        Where decoding alone takes over half the bound, prompts may double a step: they must not starve.
        """
        if self.prompt_token_s is None:
            return self._first_chunk_tokens
        decode_s = self.decode_s or 0.0
        room_s = max(self.step_s - decode_s, decode_s)
        return max(_MIN_CHUNK_TOKENS, int(room_s / max(1e-9, self.prompt_token_s)))

    def work_s(self, prompt_tokens: int, answer_tokens: float, n_slots: int) -> float | None:
        """How long so much work takes with all slots busy; None while nothing was measured."""
        if self.prompt_token_s is None:
            return None
        decode_s = self.decode_s or self.prompt_token_s
        return prompt_tokens * self.prompt_token_s + answer_tokens / n_slots * decode_s


def _average(old: float | None, new: float) -> float:
    return new if old is None else old + _NEW_SHARE * (new - old)
