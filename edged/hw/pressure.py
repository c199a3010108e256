"""Pressure stall information: the share of time in which tasks waited for memory, CPU or storage."""

import math
from pathlib import Path
from typing import Literal

import msgspec

from edged.hw import text


class Pressure(msgspec.Struct, frozen=True, kw_only=True):
    """Per cent of the last 10 s in which some tasks, or all of them at once, were stalled."""

    some_avg10: float | None = None
    full_avg10: float | None = None


def pressure(resource: Literal["memory", "cpu", "io"], proc: Path = Path("/proc")) -> Pressure:
    """The pressure on one resource; unknown where the kernel has no PSI or it is switched off."""
    return parse_pressure(text.read(proc / "pressure" / resource) or "")


def parse_pressure(content: str) -> Pressure:
    """Parse a file of /proc/pressure. Never raises: what is missing or garbled is None."""
    found: dict[str, float] = {}
    for line in content.splitlines():
        words = line.split()
        if not words or words[0] not in ("some", "full"):
            continue
        for word in words[1:]:
            name, _, value = word.partition("=")
            share = _per_cent(value) if name == "avg10" else None
            if share is not None:
                found.setdefault(words[0], share)
    return Pressure(some_avg10=found.get("some"), full_avg10=found.get("full"))


def _per_cent(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= 100 else None
