"""Reloads as systemd and the journal see them: announced, one at a time, with their outcome."""

import logging
import threading
import time
from collections.abc import Callable

from edged.errors import EdgedError
from edged.service.notify import notify

log = logging.getLogger(__name__)


class Reloading:
    """Runs reloads. For any thread."""

    def __init__(self, apply: Callable[[], str], has_started: Callable[[], bool]) -> None:
        """`apply` returns what has changed, or raises EdgedError with why nothing (or not all) was.

        `has_started`: whether systemd was told that edged is ready; before that, nothing here tells it so.
        """
        self._apply = apply
        self._has_started = has_started
        self._one_at_a_time = threading.Lock()
        self.running = False
        self.outcome = ""  # of the last reload, for a status line

    def begin(self) -> None:
        """Reload behind the caller's back: for a signal, to which nothing can be answered."""
        threading.Thread(target=self._run_unanswered, name="reload", daemon=True).start()

    def run(self) -> str:
        """Reload; returns what has changed when that is in force. Raises EdgedError."""
        with self._one_at_a_time:
            began_s = time.monotonic()
            self.running = True
            announced = self._has_started()
            if announced:
                notify(reloading=True, status="reloading")
            try:
                said = self._apply()
            except EdgedError as error:
                self._failed(str(error), began_s)
                raise
            except Exception as error:
                self._failed(f"an internal error: {error!r}", began_s)
                raise
            else:
                self.outcome = f"reloaded at {time.strftime('%H:%M:%S')}"
                log.info("reloaded: %s", said, extra=_fields("reload_done", began_s))
                return said
            finally:
                self.running = False
                if announced:
                    notify(ready=True, status=f"serving; {self.outcome}")

    def _failed(self, why: str, began_s: float) -> None:
        why = "; ".join(why.splitlines())
        self.outcome = f"reload failed at {time.strftime('%H:%M:%S')}: {why}"
        log.error("reload failed: %s", why, extra=_fields("reload_failed", began_s))

    def _run_unanswered(self) -> None:
        try:
            self.run()
        except EdgedError as error:
            log.debug("nobody waits for the outcome of the reload: %s", error)


def _fields(event: str, began_s: float) -> dict[str, str | int]:
    return {"EVENT": event, "DURATION_MS": round((time.monotonic() - began_s) * 1000)}
