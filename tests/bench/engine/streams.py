"""Chat streams that run in the background until nobody needs them any more."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from tests.bench import web
from tests.bench.engine.clients import Said, ask_streamed
from tests.bench.engine.wire import Connection
from tests.bench.process import BenchFailed


class Streams:
    """One thread and connection for each request; at the end of the context, what still runs is hung up."""

    def __init__(self, port: int, bodies: Sequence[bytes]) -> None:
        self._change = threading.Condition()
        self._times_s: list[list[float]] = [[] for _ in bodies]
        self._said: list[Said | None] = [None for _ in bodies]
        self._failure: BenchFailed | None = None
        self._leaving = False
        self._connections = [Connection(port) for _ in bodies]
        self._threads = [
            threading.Thread(target=self._run, args=(index, body), daemon=True)
            for index, body in enumerate(bodies)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, n_tokens: int) -> None:
        """Return when each stream has got so many pieces of text. Raises BenchFailed."""
        self._wait(lambda: all(len(times) >= n_tokens for times in self._times_s))

    def wait_until(self, at_s: float) -> None:
        """Return when each stream has got a piece after this monotonic time. Raises BenchFailed."""
        self._wait(lambda: all(times and times[-1] > at_s for times in self._times_s))

    def wait_at_most(self, duration_s: float) -> None:
        """Return when all answers are complete, or after so long. Raises BenchFailed."""
        with self._change:
            self._change.wait_for(lambda: all(self._said) or self._failure, duration_s)
            if self._failure is not None:
                raise self._failure

    def finished(self) -> list[Said]:
        """All answers, when they are complete. Raises BenchFailed."""
        self._wait(lambda: all(self._said))
        return [said for said in self._said if said is not None]

    def times_s(self) -> list[list[float]]:
        """When each stream's pieces came, so far."""
        with self._change:
            return [list(times) for times in self._times_s]

    def __enter__(self) -> "Streams":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        for connection in self._connections:
            connection.hang_up()
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()

    def _run(self, index: int, body: bytes) -> None:
        def seen(at_s: float) -> None:
            with self._change:
                self._times_s[index].append(at_s)
                self._change.notify_all()

        try:
            said = ask_streamed(self._connections[index], body, seen)
        except BenchFailed as error:
            with self._change:
                if not self._leaving:
                    self._failure = error
                self._change.notify_all()
        else:
            with self._change:
                self._said[index] = said
                self._change.notify_all()

    def _wait(self, enough: Callable[[], bool]) -> None:
        with self._change:
            self._change.wait_for(lambda: enough() or self._failure, web.TIMEOUT_S)
            if self._failure is not None:
                raise self._failure
            if not enough():
                raise BenchFailed(f"streams did not come as far as expected in {web.TIMEOUT_S:.0f} s")
