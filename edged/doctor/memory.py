"""What memory, its limits and swap do to a cold start. Pure: facts in, a finding or None out."""

import shlex
from collections.abc import Sequence

from edged.config.units import format_bytes, format_rate, format_seconds
from edged.doctor.facts import Finding, InstalledModel, LimitAt, MemLock, SwapDevice
from edged.hw.snapshot import MemoryFacts
from edged.policy.types import LoadPlan

_SLOW_SWAP = {"sd": "an SD card", "emmc": "eMMC", "usb": "a USB disk", "hdd": "a disk that turns"}
_ZRAM = "sudo apt-get install zram-tools"
_TIGHT_SHARE = 0.8
_PRESSURE_SOME = 10.0  # per cent of the last 10 s
_PRESSURE_FULL = 1.0
_SETTINGS = ("n_ctx", "n_seq_max", "n_ubatch", "type_k", "type_v", "repack")
_MIB = 1 << 20


def swap_device(swap: SwapDevice) -> Finding | None:
    """Swap on storage that is slow, shared with the models, and wears out."""
    if swap.kind not in _SLOW_SWAP:
        return None
    cost_s = swap.used_bytes / swap.bytes_per_s if swap.bytes_per_s else None
    if swap.used_bytes == 0:
        cost = "nothing yet: none of it is used; once it is, pages come back at the speed of single reads"
        cost_s = None
    elif cost_s is None or swap.bytes_per_s is None:
        cost = f"unknown; {format_bytes(swap.used_bytes)} are out there now"
    else:
        cost = (
            f"at least {format_seconds(cost_s)} to bring {format_bytes(swap.used_bytes)} back"
            f" at {format_rate(swap.bytes_per_s)}"
        )
    return Finding(
        check="swap_device",
        level="problem",
        what=f"swap lies on {_SLOW_SWAP[swap.kind]} ({swap.name}): memory that was pushed out competes with"
        " model files for the same slow storage",
        cost=cost,
        cost_s=cost_s,
        fix=(*_off(swap.name), _ZRAM),
    )


def no_swap(memory: MemoryFacts, plans: Sequence[LoadPlan]) -> Finding | None:
    """No swap of any kind where the models take nearly all memory."""
    if memory.swap_total_bytes is None:
        return Finding(
            check="no_swap", level="unknown", what="whether there is swap is not known", cost="unknown"
        )
    usable_bytes = memory.usable_bytes
    need_bytes = sum(plan.predicted.anon_bytes + plan.predicted.file_bytes for plan in at_start(plans))
    if memory.swap_total_bytes or not usable_bytes or need_bytes <= _TIGHT_SHARE * usable_bytes:
        return None
    return Finding(
        check="no_swap",
        level="problem",
        what=f"there is no swap and no zram, and the models take {format_bytes(need_bytes)} of"
        f" {format_bytes(usable_bytes)}: a peak ends in a runner that the kernel kills",
        cost=_reload(plans),
        fix=(_ZRAM,),
    )


def memory_limit(
    limit: LimitAt | None, plans: Sequence[LoadPlan], unlimited: Sequence[LoadPlan], reserve_bytes: int
) -> Finding | None:
    """A cgroup limit because of which models are planned smaller, slower, or not at all."""
    if limit is None:
        return None
    wanted = {plan.model: plan for plan in unlimited}
    changes = [
        (plan, wanted[plan.model])
        for plan in plans
        if plan.model in wanted and _differences(plan, wanted[plan.model])
    ]
    if not changes:
        return None
    said = "; ".join(f"{plan.model}: {', '.join(_differences(plan, full))}" for plan, full in changes)
    costs = [_later_s(plan, full) for plan, full in changes]
    known = [cost_s for cost_s in costs if cost_s is not None]
    cost_s = sum(known) if len(known) == len(costs) else None
    need_bytes = sum(p.predicted.anon_bytes + p.predicted.file_bytes for p in at_start(unlimited))
    raised_bytes = need_bytes + reserve_bytes + (limit.used_bytes or 0)
    return Finding(
        check="memory_limit",
        level="problem",
        what=f"the memory limit of {format_bytes(limit.limit_bytes)} ({limit.folder}) changes plans: {said}",
        cost=_cost_of_limit(cost_s),
        cost_s=cost_s,
        fix=(_raise_limit(limit, -(-raised_bytes // _MIB)),),
    )


def memory_lock(memlock: MemLock | None, models: Sequence[InstalledModel]) -> Finding | None:
    """A limit on locked memory that is below what models want that are locked, or pinned in part."""
    locked = [model for model in models if model.plan.mlock_bytes]
    wanted_bytes = sum(model.plan.mlock_bytes for model in locked)
    if not locked:
        return None
    if memlock is None:
        return Finding(
            check="memory_lock",
            level="unknown",
            what="how much memory may be locked is not known",
            cost="unknown",
        )
    if memlock.limit_bytes is None or memlock.limit_bytes >= wanted_bytes:
        return None
    folder = "/etc/systemd/system/edged.service.d"
    return Finding(
        check="memory_lock",
        level="problem",
        what=f"{memlock.owner} may lock {format_bytes(memlock.limit_bytes)}, and models that are locked or"
        f" pinned want {format_bytes(wanted_bytes)}: they get copies instead, which swap can take",
        cost="unknown: what has been read is copied once more; what is swapped out has to be read again",
        fix=(
            f"sudo mkdir -p {folder}"
            f" && printf '[Service]\\nLimitMEMLOCK=infinity\\n' | sudo tee {folder}/memlock.conf",
            "sudo systemctl daemon-reload && sudo systemctl restart edged",
        ),
    )


def memory_pressure(memory: MemoryFacts) -> Finding | None:
    """Tasks that wait for memory right now."""
    some, full = memory.psi_some_avg10, memory.psi_full_avg10
    if some is None:
        return Finding(
            check="memory_pressure",
            level="unknown",
            what="the kernel does not tell how long tasks wait for memory (PSI is off: boot with psi=1)",
            cost="unknown",
        )
    if some < _PRESSURE_SOME and (full or 0.0) < _PRESSURE_FULL:
        return None
    return Finding(
        check="memory_pressure",
        level="problem",
        what="memory is short right now: tasks wait for pages to be freed or read again",
        cost=f"some task stood still for {some:.0f} % of the last 10 s, all of them for {full or 0.0:.0f} %",
        fix=("ps -eo rss,pid,comm --sort=-rss | head -6",),
    )


def at_start(plans: Sequence[LoadPlan]) -> tuple[LoadPlan, ...]:
    """The plans of the models that are loaded when edged starts."""
    return tuple(plan for plan in plans if plan.load_at_start and plan.strategy != "refused")


def _differences(plan: LoadPlan, full: LoadPlan) -> list[str]:
    if plan.strategy != full.strategy:
        return [f"{plan.strategy} instead of {full.strategy}"]
    return [
        f"{name} {getattr(plan, name)} instead of {getattr(full, name)}"
        for name in _SETTINGS
        if getattr(plan, name) != getattr(full, name)
    ]


def _cost_of_limit(cost_s: float | None) -> str:
    if cost_s is None:
        return "unknown: not every time can be predicted, or a model is refused"
    if cost_s == 0:
        return "no time, by the predictions"
    return f"first answers come {format_seconds(cost_s)} later, by the predictions"


def _later_s(plan: LoadPlan, full: LoadPlan) -> float | None:
    """How much longer a first request waits; for a model loaded by it, the whole load."""
    late_s, soon_s = plan.predicted.first_answer_s, full.predicted.first_answer_s
    if plan.strategy == "refused" or late_s is None or soon_s is None:
        return None
    if plan.strategy == "on_demand" != full.strategy:
        return late_s
    return max(0.0, late_s - soon_s)


def _reload(plans: Sequence[LoadPlan]) -> str:
    times_s = [plan.predicted.ready_s for plan in at_start(plans)]
    known = [ready_s for ready_s in times_s if ready_s is not None]
    return (
        f"another load: up to {format_seconds(max(known))}" if known else "another load: its time is unknown"
    )


def _raise_limit(limit: LimitAt, mib: int) -> str:
    unit = limit.folder.name
    if limit.version == 2 and unit.endswith((".service", ".slice", ".scope")):
        return f"sudo systemctl set-property {shlex.quote(unit)} MemoryMax={mib}M MemoryHigh=infinity"
    name = "memory.max" if limit.version == 2 else "memory.limit_in_bytes"
    return f"echo {mib * _MIB} | sudo tee {shlex.quote(str(limit.folder / name))}"


def _off(name: str) -> tuple[str, ...]:
    if name == "/var/swap":  # Raspberry Pi OS makes it anew at each boot
        return ("sudo dphys-swapfile swapoff && sudo systemctl disable dphys-swapfile",)
    line = f"\\|^{name}[[:space:]]|s/^/#/"
    return (f"sudo swapoff {shlex.quote(name)}", f"sudo sed -i {shlex.quote(line)} /etc/fstab")
