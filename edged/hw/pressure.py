"""Pressure stall information: the share of time in which tasks waited for memory, CPU or storage."""

import contextlib
import math
import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edged.hw import text
from edged.hw.cgroup import hierarchy

# Some task was stalled for so many microseconds within such a window. Without CAP_SYS_RESOURCE, Linux takes
# only windows of whole multiples of 2 s (6.5 and later), or no trigger at all.
_TRIGGERS = ("some 70000 1000000", "some 140000 2000000")


class Pressure(msgspec.Struct, frozen=True, kw_only=True):
    """Per cent of the last 10 s in which some tasks, or all of them at once, were stalled."""

    some_avg10: float | None = None
    full_avg10: float | None = None
    some_stalled_s: float | None = None  # since boot


def pressure(resource: Literal["memory", "cpu", "io"], proc: Path = Path("/proc")) -> Pressure:
    """The pressure on one resource; unknown where the kernel has no PSI or it is switched off."""
    return parse_pressure(text.read(proc / "pressure" / resource) or "")


def parse_pressure(content: str) -> Pressure:
    """Parse a file of /proc/pressure. Never raises: what is missing or garbled is None."""
    found: dict[str, float] = {}
    for kind, name, value in _fields(content):
        number = _per_cent(value) if name == "avg10" else None
        if name == "total" and (total_us := text.integer(value)) is not None:
            number = total_us / 1e6
        if number is not None:
            found.setdefault(f"{kind} {name}", number)
    return Pressure(
        some_avg10=found.get("some avg10"),
        full_avg10=found.get("full avg10"),
        some_stalled_s=found.get("some total"),
    )


class MemoryAlarm:
    """Wakes one thread when tasks stall for memory, where the kernel can do that; else by the clock alone.

    What is watched is this process's own control group where it shows its pressure (version 2), since others
    may be short within limits of their own; elsewhere the whole machine.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._path = _pressure_file(proc)
        # systemd may show the group's file read-only; the machine's then at least tells when to look
        self._trigger = _trigger(self._path) or _trigger(_machines_file(proc))
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._read_end, select.POLLIN)
        if self._trigger is not None:
            self._poll.register(self._trigger, select.POLLPRI)

    @property
    def is_triggered(self) -> bool:
        """Whether the kernel tells of stalls by itself."""
        return self._trigger is not None

    def wait(self, longest_s: float) -> bool:
        """Return at a stall, after `longest_s` or at `stop`; False once it has been stopped."""
        for file, events in self._poll.poll(longest_s * 1e3):
            if file == self._read_end:
                return False
            if events & select.POLLERR:  # the control group is gone: from now on by the clock
                self._poll.unregister(file)
        return True

    def pause(self, duration_s: float) -> bool:
        """Return after `duration_s`, whatever stalls, or at `stop`; False once it has been stopped."""
        return not select.select([self._read_end], [], [], duration_s)[0]

    def stalled_s(self) -> float | None:
        """For how long some task has been stalled for memory, since boot; None where nobody counts that."""
        return parse_pressure(text.read(self._path) or "").some_stalled_s

    def stop(self) -> None:
        """End every `wait`, now and later. For any thread."""
        os.write(self._write_end, b"\0")

    def close(self) -> None:
        """Give the descriptors back; nobody may wait any more."""
        for file in (self._read_end, self._write_end, self._trigger):
            if file is not None:
                os.close(file)


def _pressure_file(proc: Path) -> Path:
    groups = hierarchy("memory", proc)
    own = groups.folders[0] / "memory.pressure" if groups and groups.version == 2 else None
    if own is not None and parse_pressure(text.read(own) or "").some_stalled_s is not None:
        return own
    return _machines_file(proc)


def _machines_file(proc: Path) -> Path:
    return proc / "pressure" / "memory"


def _trigger(path: Path) -> int | None:
    """A descriptor that poll(2) finds ready at a stall; it lasts until it is closed."""
    for wanted in _TRIGGERS:
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(file, wanted.encode() + b"\0")
            except OSError:
                os.close(file)
                raise
            return file
    return None


def _fields(content: str) -> Iterator[tuple[str, str, str]]:
    """(some or full, name, value) of every field."""
    for line in content.splitlines():
        words = line.split()
        if words and words[0] in ("some", "full"):
            for word in words[1:]:
                name, _, value = word.partition("=")
                yield words[0], name, value


def _per_cent(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= 100 else None
