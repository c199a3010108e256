"""The cores that were idle since the last look, by the kernel's books (proc_stat(5))."""

import os
from collections.abc import Collection
from pathlib import Path

_IDLE, _IOWAIT = 3, 4  # places in a line
LOOK_EVERY_S = 0.25  # its counters tick a hundred times a second


class IdleCores:
    """Looks at the cores that this process may use."""

    def __init__(self, stat: Path = Path("/proc/stat"), allowed: Collection[int] | None = None) -> None:
        self._stat = stat
        self._names = {f"cpu{cpu}" for cpu in (os.sched_getaffinity(0) if allowed is None else allowed)}
        self._last: tuple[float, float] | None = None

    def since(self, now_s: float) -> float | None:
        """The average number since the last look; None at first, too soon after one, and where unknown."""
        if self._last is not None and now_s - self._last[0] < LOOK_EVERY_S:
            return None
        idle_s = self._idle_s()
        last, self._last = self._last, None if idle_s is None else (now_s, idle_s)
        if last is None or idle_s is None:
            return None
        return max(0.0, idle_s - last[1]) / (now_s - last[0])

    def _idle_s(self) -> float | None:
        ticks = 0
        try:
            for line in self._stat.read_text("ascii", "replace").splitlines():
                name, *counters = line.split() or [""]
                if name in self._names:
                    ticks += int(counters[_IDLE]) + int(counters[_IOWAIT])
        except (OSError, ValueError, IndexError):
            return None
        return ticks / os.sysconf("SC_CLK_TCK")
