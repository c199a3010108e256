"""Old runners give way to new ones: first they answer what they took, then their memory is free."""

import logging
import threading
import time
from collections.abc import Iterable

from edged.lifecycle.handle import RunnerHandle

log = logging.getLogger(__name__)


class Handover:
    """Models that a new configuration replaces or removes. Others load when their runners are gone."""

    def __init__(self, old: Iterable[RunnerHandle]) -> None:
        self._old = tuple(old)
        self._over = threading.Event()

    def retire(self) -> None:
        """Let the old ones take nothing more: who asks is sent to the new ones, and waits there."""
        for handle in self._old:
            handle.retire()

    def wait(self) -> None:
        """Return when there is room."""
        self._over.wait()

    def finish(self, drain_s: float) -> tuple[str, ...]:
        """End the old runners once they have answered, and make room; the models whose requests took longer.

        Those requests end with RunnerFailed.
        """
        deadline = time.monotonic() + drain_s
        late: list[str] = []

        def end(handle: RunnerHandle) -> None:
            if not handle.drain(deadline):
                late.append(handle.plan.model)
            handle.close("reload")

        try:
            _at_once([threading.Thread(target=end, args=(handle,)) for handle in self._old])
        finally:
            self._over.set()
        for model in late:
            log.warning(
                "%s: requests were cut off, as they took longer than server.drain_timeout (%g s)",
                *(model, drain_s),
                extra={"EVENT": "requests_cut_off", "MODEL": model},
            )
        return tuple(late)

    def abandon(self) -> None:
        """End the old runners now, whatever they are doing."""
        _at_once([threading.Thread(target=handle.close) for handle in self._old])


def _at_once(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
