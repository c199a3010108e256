"""Whether the machine had time for a measurement: how many cores others used meanwhile.

A start is mostly computing where the storage is fast, so one busy neighbour can double it. `cpu` lines of
/proc/stat count every process (proc_stat(5)); what the benchmark and the programs it started used is
subtracted.
"""

import contextlib
import os
import resource
import time
from pathlib import Path

import psutil

QUIET_CORES = 0.2
_LOOK_S = 0.2
_BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal: neither idle nor waiting for storage


class Neighbours:
    """What others have computed since this was made."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._others_s = _others_s()

    def cores(self) -> float:
        """How many cores they used on average."""
        elapsed_s = time.monotonic() - self._began_s
        return max(0.0, (_others_s() - self._others_s) / elapsed_s)


def wait_until_quiet(patience_s: float) -> None:
    """Return when others leave the CPUs alone, at the latest after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        neighbours = Neighbours()
        time.sleep(_LOOK_S)
        if neighbours.cores() <= QUIET_CORES:
            return


def busy_s(stat_text: str) -> float:
    """Seconds that the CPUs have computed since boot, from the text of /proc/stat."""
    ticks = stat_text.split("\n", 1)[0].split()[1:]
    return sum(int(ticks[index]) for index in _BUSY) / os.sysconf("SC_CLK_TCK")


def _others_s() -> float:
    return busy_s(Path("/proc/stat").read_text()) - _own_s()


def _own_s() -> float:
    """Of this process and of all that it started, whether they have ended or not."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own_s = sum(usage.ru_utime + usage.ru_stime for usage in own)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()  # the last two are those of its children that have ended
            own_s += times.user + times.system + times.children_user + times.children_system
    return own_s
