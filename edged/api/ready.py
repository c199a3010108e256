"""Waiting for a model, as long as somebody waits for its answer, and not in vain."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Generic, TypeVar

from edged.api.work import POLL_S, WAIT_HEADER, Api, Call
from edged.errors import Replaced, Unavailable
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.status import how_far, why_not_ready

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class Asking(Generic[_Answer]):
    """A request on its way to a model that may have to be loaded first. Until `close` it is counted on."""

    def __init__(self, api: Api, call: Call, submit: Callable[[RunnerHandle], _Answer]) -> None:
        """Raises UnknownModel, and Unavailable for a model that has no plan."""
        self._api = api
        self._call = call
        self._submit = submit
        self._counted = ExitStack()
        self._counted.enter_context(api.pool.asking(call.model))

    def poll(self) -> _Answer | None:
        """What `submit` gives once the model answers; None after a moment in which it does not.

        Raises UnknownModel, ClientGone, Unavailable with the predicted time that is left, and what `submit`
        raises. A model that is unloaded or replaced between the two is waited for again.
        """
        handle = self._ready_handle()
        try:
            if handle is not None:
                answer = self._submit(handle)
                self.close()
                return answer
        except Replaced:
            log.debug("%s is not there any more; waiting until it is again", self._call.model)
        self._call.patience.check()
        return None

    def wait(self) -> _Answer:
        """The same, however long it takes; closes."""
        try:
            while (answer := self.poll()) is None:
                continue
            return answer
        finally:
            self.close()

    def close(self) -> None:
        """It has come in, or is not made any more. Safe again."""
        self._counted.close()

    def how_far(self) -> str:
        """How far the load is: `smollm2 is loading, 42 % read, about 3 s left`."""
        return how_far(self._api.pool.status(self._call.model))

    def _ready_handle(self) -> RunnerHandle | None:
        ready_by = self._call.patience.ready_by
        until = min(ready_by, time.monotonic() + POLL_S)
        try:
            handle = self._api.pool.ensure_ready(self._call.model, until - time.monotonic())
            if self._call.keep_alive_s is not None:
                self._api.pool.keep(self._call.model, self._call.keep_alive_s)
            return handle
        except Unavailable:
            # Before its time is up, the pool says that waiting would be in vain.
            if time.monotonic() < until or until >= ready_by:
                raise
        self._check_worth(ready_by - time.monotonic())
        return None

    def _check_worth(self, left_s: float) -> None:
        """Let nobody wait for what will not come in time. The load goes on."""
        status = self._api.pool.status(self._call.model)
        if status.least_remaining_s is not None and status.least_remaining_s > left_s:
            raise Unavailable(
                f"{why_not_ready(status)}: longer than this request waits for it, which loading.request_wait"
                f" says, or its header {WAIT_HEADER}",
                status.remaining_s or status.least_remaining_s,
            )
