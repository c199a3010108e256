"""Every check, in the order in which the findings are worth reading. Pure."""

from collections.abc import Iterator

from edged.doctor import compute, files, memory, storage, tls
from edged.doctor.facts import Facts, Finding, InstalledModel
from edged.hw.snapshot import StorageFacts


def examine(facts: Facts, python: str) -> tuple[Finding, ...]:
    """What slows cold starts on this machine: the problems first, then hints, then what is unknown.

    `python` is the interpreter that edged runs in, for the commands.
    """
    found = [finding for finding in _all(facts, python) if finding is not None]
    order = ("problem", "hint", "unknown")
    return tuple(sorted(found, key=lambda finding: (order.index(finding.level), -(finding.cost_s or 0.0))))


def _all(facts: Facts, python: str) -> Iterator[Finding | None]:
    plans = tuple(model.plan for model in facts.models)
    yield from files.unusable(list(facts.problems.items()))
    yield files.lazy_map(facts)
    yield compute.native_build(facts.snapshot.cpu, facts.llama, python)
    for model in facts.models:
        holding = facts.storage_of(model)
        yield files.receipt(model, holding.sequential_bytes_per_s if holding else None)
    for each in facts.snapshot.storage:
        yield from _of_storage(facts, each)
    yield memory.memory_limit(facts.limit, plans, facts.unlimited, facts.reserve_bytes)
    for swap in facts.swaps or ():
        yield memory.swap_device(swap)
    yield memory.no_swap(facts.snapshot.memory, plans)
    yield memory.memory_lock(facts.memlock, facts.models)
    yield memory.memory_pressure(facts.snapshot.memory)
    yield compute.governor(facts.frequency)
    yield compute.threads(plans, facts.snapshot.cpu)
    yield from tls.certificate(facts.certificate, facts.now_s)


def _of_storage(facts: Facts, each: StorageFacts) -> Iterator[Finding | None]:
    models = facts.models_on(each)
    faulted_bytes = sum(_faulted_bytes(model, facts) for model in models)
    yield storage.readahead(each, faulted_bytes, sum(model.wanted_bytes for model in models))
    yield storage.rate_unknown(each, models)
    yield storage.network_storage(each, models)
    yield storage.slower_disk(each, models, facts.other_disks)
    if each.path in facts.mounts:
        yield storage.filesystem(facts.mounts[each.path], each, models)
    yield storage.free_space(each)


def _faulted_bytes(model: InstalledModel, facts: Facts) -> int:
    """What comes page by page as it is touched: everything that nobody reads ahead."""
    if not facts.lazy_available:
        return model.size_bytes
    return model.wanted_bytes if model.plan.strategy == "lazy" or not facts.prefetch else 0
