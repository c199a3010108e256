"""Who comes in to a loaded model: all, until it is told to leave; then only those who ask already."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from edged.lifecycle.status import UnloadCause
from edged.policy.demand import Demand, after


class Leaving:
    """That a model is to be unloaded as soon as its requests are answered. Compared by identity."""

    def __init__(self, cause: UnloadCause, expected: set[int]) -> None:
        """`expected` are the threads that ask already and may still come in."""
        self.cause = cause
        self.expected = expected


class Door:
    """Changed under the condition of the model's handle. A thread asks for one request at a time."""

    def __init__(self, changed: threading.Condition, linger_s: float) -> None:
        """A load for which nobody waits any more is worth making room for during another `linger_s`."""
        self._changed = changed
        self.linger_s = linger_s
        self.leaving: Leaving | None = None
        self.demand = Demand()
        self.last_asked_s = 0.0  # when somebody asked last (monotonic)
        self._asking: Counter[int] = Counter()  # threads, by how often
        self._urgent_until_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a request of this thread is taken."""
        return self.leaving is None or threading.get_ident() in self.leaving.expected

    @property
    def somebody_asks(self) -> bool:
        """Whether somebody is about to submit a request."""
        return bool(self._asking)

    @property
    def is_urgent(self) -> bool:
        """Whether others may have to leave for the model: somebody waits for it, or will be back."""
        return bool(self._asking) or time.monotonic() < self._urgent_until_s

    def urge(self) -> None:
        """Somebody wants the model, and may be back soon."""
        self._urgent_until_s = time.monotonic() + self.linger_s

    @contextmanager
    def asking(self) -> Iterator[None]:
        """This thread asks meanwhile: a model that was loaded for it stays until it has come in."""
        thread = threading.get_ident()
        with self._changed:
            self._asking[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._asking[thread] -= 1
                self.last_asked_s = time.monotonic()
                if self._asking[thread] <= 0:
                    self._expect_no_more(thread)

    def came_in(self) -> None:
        """A request of this thread was taken."""
        self.demand = after(self.demand, time.time())
        self._expect_no_more(threading.get_ident())

    def begin_leaving(self, cause: UnloadCause) -> Leaving:
        """Take nothing more but from those who ask already."""
        self.leaving = Leaving(cause, set(self._asking))
        return self.leaving

    def stay(self) -> None:
        """Take requests again."""
        self.leaving = None
        self._changed.notify_all()

    def _expect_no_more(self, thread: int) -> None:
        del self._asking[thread]
        if self.leaving is not None:
            self.leaving.expected.discard(thread)
            self._changed.notify_all()
