"""The main loop: it waits for signals, and tells systemd meanwhile what edged is doing and that it is alive.

WATCHDOG=1 comes from here, not from a timer of its own, and only after what serves has answered: a daemon
whose parts hang falls silent, and systemd replaces it.
"""

import logging
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from edged.service.notify import is_heard, notify, watchdog_s
from edged.service.signals import Signals

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class News(NamedTuple):
    """What to tell systemd."""

    status: str
    starting: bool = False
    extend_timeout_s: float | None = None  # while a start gets on: how much longer it may take


class Watch:
    """For the main thread. `news` may raise to end the daemon; `what_is_dead` names what does not answer."""

    def __init__(
        self, signals: Signals, news: Callable[[], News], what_is_dead: Callable[[], str | None]
    ) -> None:
        self._signals = signals
        self._news = news
        self._what_is_dead = what_is_dead
        self._said: str | None = None
        watchdog = watchdog_s()
        self._beat_every_s = None if watchdog is None else watchdog / 2
        self._next_beat_s = 0.0
        self._complained = False

    def until_stop(self, hang_up: Callable[[], None]) -> signal.Signals:
        """Returns SIGTERM or SIGINT; `hang_up` is called for each SIGHUP. Raises what `news` raises."""
        while True:
            starting = self.tell()
            must_look = starting or is_heard() or self._beat_every_s is not None
            number = self._signals.wait(_LOOK_EVERY_S if must_look else None)
            if number == signal.SIGHUP:
                hang_up()
            elif number is not None:
                return number

    def tell(self) -> bool:
        """Say what is new, and show life when it is time to; returns whether edged is still starting."""
        news = self._news()
        self.say(news.status, extend_timeout_s=news.extend_timeout_s)
        self._beat()
        return news.starting

    def say(self, status: str, *, extend_timeout_s: float | None = None) -> None:
        """Show a status, unless it is shown already."""
        new = status if status != self._said else None
        self._said = status
        notify(status=new, extend_timeout_s=extend_timeout_s)

    def _beat(self) -> None:
        now_s = time.monotonic()
        if self._beat_every_s is None or now_s < self._next_beat_s:
            return
        dead = self._what_is_dead()
        if dead is None:
            notify(watchdog=True)
            self._next_beat_s = now_s + self._beat_every_s
        elif not self._complained:
            log.error(
                "%s; systemd is not told that edged is alive, and will restart it",
                dead,
                extra={"EVENT": "watchdog_missed"},
            )
        self._complained = dead is not None
