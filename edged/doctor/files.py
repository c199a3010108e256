"""What the installation and the model files do to a cold start. Pure: facts in, a finding or None out."""

import shlex
from collections.abc import Sequence

from edged.config.units import format_bytes, format_seconds
from edged.doctor.facts import Facts, Finding, InstalledModel


def lazy_map(facts: Facts) -> Finding | None:
    """Without the lazy map, llama.cpp reads whole files before it answers."""
    if facts.lazy_available:
        return None
    sizes_bytes, times_s = [], []
    for model in facts.models:
        storage = facts.storage_of(model)
        rate = storage.sequential_bytes_per_s if storage is not None else None
        sizes_bytes.append(model.size_bytes)
        times_s.append(model.size_bytes / rate if rate else None)
    known = [time_s for time_s in times_s if time_s is not None]
    cost_s = sum(known) if known and len(known) == len(times_s) else None
    return Finding(
        check="lazy_map",
        level="problem",
        what="the lazy map was not compiled when edged was installed: llama.cpp reads a whole file before its"
        " model answers, and lazy and stream are not available",
        cost=f"unknown: {format_bytes(sum(sizes_bytes))} at a rate that could not be measured"
        if cost_s is None
        else f"{format_seconds(cost_s)} until all models of {format_bytes(sum(sizes_bytes))} could answer",
        cost_s=cost_s,
        fix=("sudo apt-get install gcc python3-dev && ./install.sh run",),
    )


def receipt(model: InstalledModel, bytes_per_s: float | None) -> Finding | None:
    """A file that is not as it was when it was pulled, or of which nobody knows how it was."""
    path = shlex.quote(model.plan.path)
    if model.receipt == "none":
        return Finding(
            check="receipt",
            level="hint",
            what=f"{path} was not pulled by edged: a bit that flips in it gives wrong answers unnoticed",
            cost="no time",
            fix=(f"edged pull --force --name {shlex.quote(model.plan.model)} {path}",),
        )
    if model.receipt == "ok":
        return None
    cost_s = model.size_bytes / bytes_per_s if bytes_per_s else None
    return Finding(
        check="receipt",
        level="problem",
        what=f"{path} changed after it was pulled: the next load hashes all of it first, and refuses it when"
        " it is damaged",
        cost="unknown: its storage's rate could not be measured"
        if cost_s is None
        else f"{format_seconds(cost_s)} to read {format_bytes(model.size_bytes)} for the hash",
        cost_s=cost_s,
        fix=("edged models --verify", *_pull_again(model)),
    )


def unusable(problems: Sequence[tuple[str, str]]) -> list[Finding]:
    """Configured models whose file is missing or damaged."""
    return [
        Finding(
            check="model_file",
            level="problem",
            what=f"{model}: {problem}",
            cost="it cannot be loaded at all",
            fix=(f"edged pull --force {shlex.quote(model)}",),
        )
        for model, problem in problems
    ]


def _pull_again(model: InstalledModel) -> tuple[str, ...]:
    """For a damaged file; not from itself, which would make the damage the truth."""
    if model.origin is None or model.origin == model.plan.path:
        return ()
    return (f"edged pull --force {shlex.quote(model.origin)}",)
