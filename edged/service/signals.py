"""Signals as a queue: handlers only enqueue, because anything more may run in the middle of anything else."""

import queue
import signal
from types import FrameType, TracebackType
from typing import Any

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """While entered (in the main thread): SIGTERM, SIGINT and SIGHUP go to a queue, and no longer kill."""

    def __init__(self) -> None:
        # SimpleQueue, because its put may interrupt itself: a signal can come while one is being handled.
        self._arrived: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        for number in _WATCHED:
            self._previous[number] = signal.signal(number, self._enqueue)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _enqueue(self, number: int, _frame: FrameType | None) -> None:
        self._arrived.put(signal.Signals(number))

    def wait(self, timeout_s: float | None = None) -> signal.Signals | None:
        """The next signal in the order of arrival; None after `timeout_s`."""
        try:
            return self._arrived.get(timeout=timeout_s)
        except queue.Empty:
            return None
