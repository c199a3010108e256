"""Gives way when memory is short, and takes it back when it no longer is: `policy.pressure`, carried out.

A thread of its own looks at the memory every second, and at once where the kernel tells of stalls.
Every step is in the journal and in the metrics, with the numbers that it was taken for.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from edged.config.units import format_bytes
from edged.hw.pressure import MemoryAlarm
from edged.lifecycle.feed import Notice, PressureStep
from edged.policy.pressure import STEPS, Reading, Step, Strain, after

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0  # takes half a millisecond
_SOONEST_S = 0.25  # a trigger that fires again and again is not followed more often
_OVERDUE_S = 60.0  # unloading several models may take so long

_WHAT: dict[Step, str] = {
    "calm": "nothing is given up any more",
    "read_less": "files are not read ahead of their use",
    "cool": "models that are not used give back the pages of their files",
    "shrink": "models that are not used give back their contexts and the prompts kept there",
    "unload": "models are unloaded, those first that cost least to be without",
    "refuse": "no model is loaded any more",
}


class Counter(Protocol):
    """The metrics of pressure."""

    def strained(self, step: str, level: int, *, risen: bool) -> None:
        """Another step is in force."""

    def pressed(self, stalled_share: float, short_bytes: int) -> None:
        """What was seen at the last look."""


class Household(Protocol):
    """Those who use the memory, and what they can be asked to give up."""

    def short_bytes(self) -> int:
        """What the models hold beyond what they may at this moment; below 0: room."""

    def reserve_bytes(self) -> int:
        """What is to be left to everything else."""

    def stalls_by_design(self) -> bool:
        """Whether a model computes whose file does not fit: then stalls say nothing."""

    def read_ahead(self, *, allowed: bool) -> None:
        """Let runners read ahead of use, or not."""

    def cool(self, *, shrink: bool) -> None:
        """Let models that nobody uses give back pages, or their contexts as well."""

    def unload(self, lacking_bytes: int) -> None:
        """Unload so many bytes, at the least cost."""

    def refuse_loads(self, why: str | None) -> None:
        """Refuse to load anything, or (None) do so no longer."""

    def recover(self) -> None:
        """Have again what is to be there and was given up."""


class Alarm(Protocol):
    """What wakes the watch (`hw.pressure.MemoryAlarm`)."""

    @property
    def is_triggered(self) -> bool:
        """Whether the kernel tells of stalls by itself."""

    def wait(self, longest_s: float) -> bool:
        """Return at a stall, after `longest_s` or at `stop`; False once it has been stopped."""

    def pause(self, duration_s: float) -> bool:
        """Return after `duration_s`, or at `stop`; False once it has been stopped."""

    def stalled_s(self) -> float | None:
        """For how long some task has been stalled for memory, since boot."""

    def stop(self) -> None:
        """End every wait."""

    def close(self) -> None:
        """Nobody waits any more."""


class PressureWatch:
    """Looks, decides, acts; in a thread of its own between `start` and `close`."""

    def __init__(
        self,
        household: Household,
        counter: Counter,
        alarm: Alarm | None = None,
        clock: Callable[[], float] = time.monotonic,
        publish: Callable[[Notice], None] = lambda _notice: None,
    ) -> None:
        self._household = household
        self._counter = counter
        self._alarm: Alarm = alarm or MemoryAlarm()
        self._clock = clock
        self._publish = publish
        self._seen_s = clock()
        self._stalled_s = self._alarm.stalled_s()
        self._thread = threading.Thread(target=self._run, name="pressure", daemon=True)
        self.strain = Strain()

    def start(self) -> None:
        """Begin to look."""
        how = "the kernel tells of stalls" if self._alarm.is_triggered else "looking every second"
        log.info("watching the memory: %s", how)
        self._counter.strained("calm", 0, risen=False)
        self._thread.start()

    def close(self) -> None:
        """Look no longer."""
        self._alarm.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._alarm.close()

    @property
    def is_kept(self) -> bool:
        """Whether somebody still looks."""
        return self._thread.is_alive() and self._clock() - self._seen_s < _OVERDUE_S

    @property
    def text(self) -> str | None:
        """What is given up now, for people; None while it is calm."""
        return None if self.strain.step == "calm" else f"memory is short: {_WHAT[self.strain.step]}"

    def _run(self) -> None:
        while self._alarm.wait(_LOOK_EVERY_S):
            left_s = self._seen_s + _SOONEST_S - self._clock()
            if left_s > 0 and not self._alarm.pause(left_s):
                return
            self.look()

    def look(self) -> None:
        """Look once, and do what follows from it."""
        now_s = self._clock()
        reading = self._read(now_s)
        before, self.strain = self.strain, after(self.strain, reading, now_s)
        for level in range(before.level + 1, self.strain.level + 1):
            self._rise(STEPS[level], level, reading)
        for level in range(before.level, self.strain.level, -1):
            self._fall(STEPS[level], level - 1, reading)
        self._hold(reading)

    def _read(self, now_s: float) -> Reading:
        stalled_s, elapsed_s = self._alarm.stalled_s(), now_s - self._seen_s
        share = 0.0
        if stalled_s is not None and self._stalled_s is not None and elapsed_s > 0:
            share = min(1.0, max(0.0, stalled_s - self._stalled_s) / elapsed_s)
        self._stalled_s, self._seen_s = stalled_s, now_s
        reading = Reading(
            stalled_share=0.0 if self._household.stalls_by_design() else share,
            short_bytes=self._household.short_bytes(),
            reserve_bytes=self._household.reserve_bytes(),
        )
        self._counter.pressed(share, reading.short_bytes)
        return reading

    def _rise(self, step: Step, level: int, reading: Reading) -> None:
        log.warning(
            "memory is short (%s): from now on %s",
            *(_numbers(reading), _WHAT[step]),
            extra={"EVENT": "pressure_rose", "STEP": step},
        )
        self._counter.strained(step, level, risen=True)
        self._publish(PressureStep(step=step, reason=_numbers(reading)))
        if step == "refuse":
            self._household.refuse_loads(f"memory is short ({_numbers(reading)})")

    def _fall(self, step: Step, level: int, reading: Reading) -> None:
        log.info(
            "memory is no longer as short: it does not hold any more that %s",
            _WHAT[step],
            extra={"EVENT": "pressure_fell", "STEP": step},
        )
        self._counter.strained(STEPS[level], level, risen=False)
        self._publish(PressureStep(step=STEPS[level], reason=_numbers(reading)))
        if step == "refuse":
            self._household.refuse_loads(None)
        elif step == "read_less":
            self._household.read_ahead(allowed=True)
            self._household.recover()

    def _hold(self, reading: Reading) -> None:
        """What a step asks for again and again: others are loaded, fall idle, or grow."""
        if self.strain.reaches("read_less"):
            self._household.read_ahead(allowed=False)
        if self.strain.reaches("cool"):
            self._household.cool(shrink=self.strain.reaches("shrink"))
        if self.strain.reaches("unload") and reading.is_short:
            self._household.unload(max(0, self._household.short_bytes()))


def _numbers(reading: Reading) -> str:
    parts = [f"tasks stalled {reading.stalled_share:.0%} of the time"]
    if reading.is_short:
        parts.insert(0, f"models hold {format_bytes(reading.short_bytes)} more than there is for them")
    return ", ".join(parts)
