"""When edged's start is over, told once; and what runners tell, passed on to whoever keeps it."""

import threading
from collections.abc import Callable, Sequence

from edged.lifecycle.admission import Admission
from edged.lifecycle.start import awaited, failure
from edged.lifecycle.status import Cause, Failure, ModelStatus, UnloadCause
from edged.lifecycle.supervision import Observer
from edged.policy.types import LoadPlan
from edged.runner import protocol


class Opening:
    """The observer of every runner, in front of another one."""

    def __init__(
        self, observer: Observer, admission: Admission, statuses: Callable[[], Sequence[ModelStatus]]
    ) -> None:
        self._observer = observer
        self._admission = admission
        self._statuses = statuses
        self._announcing = threading.Lock()
        self._when_started: Callable[[], None] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether the start goes on, or has failed."""
        return self._when_started is not None

    def when_started(self, announce: Callable[[], None]) -> None:
        """Call `announce` once, when every model that is loaded at start answers, or has been given up
        while another is there.
        """
        self._when_started = announce
        self._announce_if_started()

    def ready(self, plan: LoadPlan, cause: Cause, ready: protocol.Ready, ready_s: float) -> None:
        """Pass it on, and announce the start when this was the last model of it."""
        self._admission.ready(plan, ready.anon_bytes)
        self._observer.ready(plan, cause, ready, ready_s)
        self._announce_if_started()

    def first_answer(self, plan: LoadPlan, first_answer_s: float) -> None:
        """Pass it on."""
        self._observer.first_answer(plan, first_answer_s)

    def reads(self, plan: LoadPlan, reads: protocol.Reads) -> None:
        """Pass it on."""
        self._observer.reads(plan, reads)

    def failed(self, plan: LoadPlan, reason: str, how: Failure) -> None:
        """Pass it on; nobody need wait any longer for a model that has been given up."""
        self._observer.failed(plan, reason, how)
        self._announce_if_started()

    def unloaded(self, plan: LoadPlan, cause: UnloadCause) -> None:
        """Pass it on; the start does not wait for what was unloaded meanwhile."""
        self._observer.unloaded(plan, cause)
        self._announce_if_started()

    def _announce_if_started(self) -> None:
        if self._when_started is None:
            return
        statuses = self._statuses()
        if awaited(statuses) or failure(statuses) is not None:
            return
        with self._announcing:  # several supervisors may come here at once
            announce, self._when_started = self._when_started, None
        if announce is not None:
            announce()
