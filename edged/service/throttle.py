"""Keeps what repeats from filling the journal: so many a minute of one kind, then a count of the rest."""

import logging
import time
from collections.abc import Callable, Hashable

import msgspec

WINDOW_S = 60.0
MOST = 60  # what a person still reads; a load that goes well writes a handful


class _Window(msgspec.Struct):
    """The records of one kind since `began_s`."""

    began_s: float
    last: logging.LogRecord
    n_passed: int = 0
    n_left_out: int = 0


class Throttle(logging.Handler):
    """Passes records on to another handler, of one event and model at most `most` in `window_s`.

    Records without an event are of one kind when the same line of code writes them about the same model.
    Debug messages are all passed on: who asked for them wants them.
    """

    def __init__(
        self,
        inner: logging.Handler,
        most: int = MOST,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.inner = inner
        self._most = most
        self._window_s = window_s
        self._clock = clock
        self._windows: dict[Hashable, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on, or count it."""
        self._end_windows(self._clock() - self._window_s)
        if record.levelno <= logging.DEBUG:
            self.inner.handle(record)
            return
        fields = vars(record)
        kind = (fields.get("EVENT") or (record.pathname, record.lineno), fields.get("MODEL"))
        window = self._windows.setdefault(kind, _Window(self._clock(), record))
        if window.n_passed < self._most:
            window.n_passed += 1
            self.inner.handle(record)
        else:
            window.n_left_out += 1
            window.last = record

    def close(self) -> None:
        """Tell what was left out, and close the other handler as well."""
        self._end_windows(float("inf"))
        self.inner.close()
        super().close()

    def _end_windows(self, began_before_s: float) -> None:
        ended = [kind for kind, window in self._windows.items() if window.began_s <= began_before_s]
        for window in map(self._windows.pop, ended):
            if window.n_left_out:
                self.inner.handle(self._count_of(window))

    def _count_of(self, window: _Window) -> logging.LogRecord:
        counted = logging.makeLogRecord(vars(window.last))
        counted.exc_info = counted.exc_text = None
        counted.msg = (
            f"left out {window.n_left_out} more messages like this within {self._window_s:g} s:"
            f" {window.last.getMessage()}"
        )
        counted.args = ()
        return counted
