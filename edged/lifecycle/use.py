"""How a model is used: how fast it answered lately, and since when nobody has asked it."""

import time

_KEPT_SHARE = 0.8  # of what earlier answers weigh, with each further one


class Use:
    """Used under the lock of the model's board. It outlives the model's runners."""

    def __init__(self) -> None:
        self._last_s: float | None = None  # monotonic
        self._n_tokens = 0.0
        self._spent_s = 0.0

    def asked(self) -> None:
        """A request has been made."""
        self._last_s = time.monotonic()

    def answered(self, n_tokens: int, spent_s: float) -> None:
        """An answer of so many tokens has come to its end."""
        self._last_s = time.monotonic()
        self._n_tokens = self._n_tokens * _KEPT_SHARE + n_tokens
        self._spent_s = self._spent_s * _KEPT_SHARE + spent_s

    @property
    def tokens_per_s(self) -> float | None:
        """Of one answer, on an average of the last ones; None while there was none."""
        return self._n_tokens / self._spent_s if self._spent_s else None

    @property
    def unused_s(self) -> float | None:
        """Since somebody asked or was answered; None while nobody has."""
        return None if self._last_s is None else time.monotonic() - self._last_s
