"""What shows from outside that a runner gets on."""

from pathlib import Path
from typing import NamedTuple

from edged.runner import pulse


class Signs(NamedTuple):
    """They differ from one look to the next where a runner gets on. Unknown ones stay the same."""

    n_beats: int = 0
    read_bytes: int = 0
    major_faults: int = 0
    cpu_ticks: int = 0


def signs_of(pid: int, pulse_fd: int, *, loading: bool) -> Signs:
    """The present signs of a process.

    Its time on the cores counts only while it loads, or where the nodes of graphs are not counted: an endless
    loop is no life.
    """
    n_beats, counts_nodes = pulse.read(pulse_fd)
    major_faults, cpu_ticks = _stat(Path(f"/proc/{pid}/stat"))
    return Signs(
        n_beats=n_beats,
        read_bytes=_read_bytes(Path(f"/proc/{pid}/io")),
        major_faults=major_faults,
        cpu_ticks=cpu_ticks if loading or not counts_nodes else 0,
    )


def is_asleep(pid: int) -> bool:
    """Whether a process waits for something: it neither runs, nor was it stopped, nor has it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    except (OSError, IndexError):
        return False


def _stat(stat: Path) -> tuple[int, int]:
    """Major faults, and user and system time in ticks (proc(5)); zeros where they are not to be had."""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[9]), int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return 0, 0


def _read_bytes(io: Path) -> int:
    """Bytes fetched from storage; 0 where the kernel keeps no account, or does not show it."""
    try:
        lines = dict(line.split(": ", 1) for line in io.read_text().splitlines() if ": " in line)
        return int(lines.get("read_bytes", 0))
    except (OSError, ValueError):
        return 0
