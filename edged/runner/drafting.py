"""Makes prompts of conversations beside the thread that reads frames: a chat template may take its time."""

import os
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from edged.errors import InvalidRequest
from edged.runner.protocol import FromRunner, Generate, Rejected, Render

EXIT_DRAFTING_DIED = 72
Drafted = Generate | Render


class EngineLike(Protocol):
    """Where jobs go."""

    def submit(self, job: Any) -> None:
        """Queue a job."""

    def cancel(self, request: int) -> None:
        """Drop a request."""


class Drafting:
    """One conversation after the other. `ask` and `cancel` are for one thread."""

    def __init__(
        self, draft: Callable[[Drafted], Any], engine: EngineLike, send: Callable[[FromRunner], None]
    ) -> None:
        """`draft` makes a job for the engine, or a frame that is the answer; it raises InvalidRequest."""
        self._draft = draft
        self._engine = engine
        self._send = send
        self._asked: queue.SimpleQueue[Drafted] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: set[int] = set()
        self._thread: threading.Thread | None = None

    def ask(self, request: Drafted) -> None:
        """Draft it when it is its turn, and pass it on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="drafting", daemon=True)
            self._thread.start()
        with self._lock:
            self._waiting.add(request.id)
        self._asked.put(request)

    def cancel(self, request: int) -> None:
        """Drop a request, wherever it is."""
        with self._lock:
            self._waiting.discard(request)
            self._engine.cancel(request)

    def _run(self) -> None:
        try:
            while True:
                self._one(self._asked.get())
        except BaseException:  # noqa: BLE001  # whatever it was: conversations would wait for ever
            traceback.print_exc()
            os._exit(EXIT_DRAFTING_DIED)

    def _one(self, request: Drafted) -> None:
        with self._lock:
            if request.id not in self._waiting:
                return
        try:
            drafted = self._draft(request)
        except InvalidRequest as error:
            drafted = refusal(request.id, error)
        with self._lock:
            if isinstance(drafted, FromRunner):
                self._send(drafted)
            else:
                self._engine.submit(drafted)
                if request.id not in self._waiting:  # its client has gone meanwhile: the engine frees it
                    self._engine.cancel(request.id)
            self._waiting.discard(request.id)


def refusal(request: int, error: InvalidRequest) -> Rejected:
    """What is wrong with a request."""
    return Rejected(id=request, kind="invalid", message=str(error), param=error.param)
