"""CPU facts: the cores this process may use and the instruction sets that matter to weight formats."""

import math
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from edged.hw import text
from edged.hw.cgroup import Hierarchy, hierarchy
from edged.hw.pressure import pressure
from edged.hw.snapshot import CpuFacts

# As /proc/cpuinfo names them, in the order in which they are shown. ggml has kernels for these.
_INSTRUCTION_SETS = (
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "sme",
)

# A core with four fifths of the strongest core's capacity still counts as strong: turbo bins within one
# cluster differ by a few per cent, the small cores of big.LITTLE and hybrid chips by a quarter and more.
_STRONG_SHARE = 0.8

# Quotas are rounded down. Threads meet at a barrier after every operation; with one thread more than the
# quota pays for, the kernel stops them in turn and the others wait. Measured with a 135M model, two threads
# on 1.25, 1.5 and 1.75 cores mostly decode at 0.7 to 1.0 times the speed of one, on 1.9 cores at 1.2 times.
_QUOTA_SLACK_CORES = 0.1


def cpu_facts(
    proc: Path = Path("/proc"), sys: Path = Path("/sys"), affinity: Collection[int] | None = None
) -> CpuFacts:
    """The CPU facts as this process may use them. Never raises: unknown is None."""
    allowed = sorted(os.sched_getaffinity(0) if affinity is None else affinity)
    processors = parse_cpuinfo(text.read(proc / "cpuinfo") or "")
    cpus = sys / "devices" / "system" / "cpu"
    cgroup = hierarchy("cpu", proc)
    quota = quota_cores(cgroup) if cgroup else None
    first = allowed[0] if allowed else 0
    return CpuFacts(
        model_name=_model_name(processors, proc),
        architecture=platform.machine() or None,
        logical_cores=count_cpus(text.read(cpus / "online") or "") or os.cpu_count(),
        usable_cores=usable_cores(len(allowed), quota),
        quota_cores=quota,
        performance_cores=strong_cores(_capacities(cpus, allowed)),
        instruction_sets=instruction_sets(processors),
        governor=text.read(cpus / f"cpu{first}" / "cpufreq" / "scaling_governor") or None,
        psi_some_avg10=pressure("cpu", proc).some_avg10,
    )


def usable_cores(allowed: int, quota: float | None) -> int:
    """How many threads can run at once: by affinity, and by the quota rounded down; never below 1."""
    by_quota = allowed if quota is None else math.floor(quota + _QUOTA_SLACK_CORES)
    return max(1, min(allowed, by_quota))


def quota_cores(cgroup: Hierarchy) -> float | None:
    """The tightest CPU quota of a cgroup and its ancestors, in cores; None when none is set."""
    read_quota = _quota_v1 if cgroup.version == 1 else _quota_v2
    quotas = (read_quota(folder) for folder in cgroup.folders)
    return min((quota for quota in quotas if quota is not None), default=None)


def parse_cpuinfo(content: str) -> list[dict[str, str]]:
    """Parse /proc/cpuinfo: one mapping a block. Never raises.

    A block is a processor; ARM boards append one about the board.
    """
    blocks: list[dict[str, str]] = [{}]
    for line in content.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            blocks[-1].setdefault(name.strip(), value.strip())
        elif not line.strip() and blocks[-1]:
            blocks.append({})
    return [block for block in blocks if block]


def instruction_sets(processors: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The instruction sets that every core has: `flags` on x86, `Features` on ARM."""
    flags = [p.get("flags") or p.get("Features") or "" for p in processors if "processor" in p]
    common = set.intersection(*(set(line.split()) for line in flags)) if flags else set()
    return tuple(name for name in _INSTRUCTION_SETS if name in common)


def strong_cores(capacities: Collection[int]) -> int | None:
    """How many cores belong to the strongest class; None where all are alike or it is not known."""
    if not capacities:
        return None
    strong = sum(capacity >= max(capacities) * _STRONG_SHARE for capacity in capacities)
    return strong if strong < len(capacities) else None


def count_cpus(cpu_list: str) -> int | None:
    """The length of a kernel CPU list such as `0-3,6`; None when it is none."""
    count = 0
    for part in cpu_list.split(","):
        first, dash, last = part.partition("-")
        low, high = text.integer(first), text.integer(last if dash else first)
        if low is None or high is None or high < low:
            return None
        count += high - low + 1
    return count


def _capacities(cpus: Path, allowed: Sequence[int]) -> list[int]:
    """The relative speed of each core: by the scheduler's capacity, else by its highest frequency."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        values = [text.read_integer(cpus / f"cpu{cpu}" / name) for cpu in allowed]
        known = [value for value in values if value]
        if known and len(known) == len(values) and (len(set(known)) > 1 or name != "cpu_capacity"):
            return known
    return []


def _model_name(processors: Sequence[Mapping[str, str]], proc: Path) -> str | None:
    """The CPU's name, or where ARM gives none, the board's."""
    for key in ("Model", "model name", "Hardware"):
        name = next((block[key] for block in processors if block.get(key)), None)
        if name:
            return name
    return (text.read(proc / "device-tree" / "model") or "").strip("\0 ") or None


def _quota_v1(folder: Path) -> float | None:
    quota = text.read_integer(folder / "cpu.cfs_quota_us")  # -1 where there is none
    period = text.read_integer(folder / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _quota_v2(folder: Path) -> float | None:
    quota_us, _, period_us = (text.read(folder / "cpu.max") or "").partition(" ")  # "max 100000" where none
    quota, period = text.integer(quota_us), text.integer(period_us)
    return quota / period if quota and period else None
