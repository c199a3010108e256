"""Who comes in to a loaded model: all, until it is told to leave; then only those who ask already."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from edged.lifecycle.status import UnloadCause
from edged.policy.demand import Demand, after


class Leaving:
    """That a model is to be unloaded as soon as its requests are answered. Compared by identity."""

    def __init__(self, cause: UnloadCause, n_owed: int) -> None:
        """`n_owed` of those who ask already may still come in."""
        self.cause = cause
        self.n_owed = n_owed


class Door:
    """Changed under the condition of the model's handle."""

    def __init__(self, changed: Condition, linger_s: float) -> None:
        """A load for which nobody waits any more is worth making room for during another `linger_s`."""
        self._changed = changed
        self.linger_s = linger_s
        self.leaving: Leaving | None = None
        self.demand = Demand()
        self._n_asking = 0
        self._urgent_until_s = 0.0
        self._last_asked_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether one more request is taken."""
        return self.leaving is None or self.leaving.n_owed > 0

    @property
    def somebody_asks(self) -> bool:
        """Whether somebody is about to submit a request."""
        return self._n_asking > 0

    @property
    def is_urgent(self) -> bool:
        """Whether others may have to leave for the model: somebody waits for it, or will be back."""
        return self._n_asking > 0 or time.monotonic() < self._urgent_until_s

    @property
    def last_asked_s(self) -> float:
        """When somebody asked last (monotonic)."""
        return self._last_asked_s

    def urge(self) -> None:
        """Somebody wants the model, and may be back soon."""
        self._urgent_until_s = time.monotonic() + self.linger_s

    @contextmanager
    def asking(self) -> Iterator[None]:
        """One more asks meanwhile: a model that was loaded for it stays until it has come in."""
        with self._changed:
            self._n_asking += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_asking -= 1
                self._last_asked_s = time.monotonic()
                if self.leaving is not None:
                    self.leaving.n_owed = min(self.leaving.n_owed, self._n_asking)
                    self._changed.notify_all()

    def came_in(self) -> None:
        """A request was taken."""
        self.demand = after(self.demand, time.time())
        if self.leaving is not None:
            self.leaving.n_owed -= 1
            self._changed.notify_all()

    def begin_leaving(self, cause: UnloadCause) -> Leaving:
        """Take nothing more but what asks already."""
        self.leaving = Leaving(cause, self._n_asking)
        return self.leaving

    def stay(self) -> None:
        """Take requests again."""
        self.leaving = None
        self._changed.notify_all()
