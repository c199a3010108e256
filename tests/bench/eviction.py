"""Whom to unload, simulated: a week of requests on small machines, edged's policy beside those of others.

Run: `.venv/bin/python -m tests.bench.eviction [--quick]`; README.md beside this file says more.
"""

from collections.abc import Sequence

import click
import msgspec

from tests.bench import report
from tests.bench.box import MIB, Hardware, Outcome, SimModel, run
from tests.bench.evictors import RIVALS, Evictor, edged, foresight
from tests.bench.week import TRACES, Session, trace

_MB = 10**6
_WITHIN = 1.02
_RATES_MB_PER_S = (20, 40, 300)  # SD card, a better one, SSD
_RESERVE_BYTES = 128 * MIB
# (name, file, anonymous, megabytes that a load reads, seconds to start): real files' sizes, with footprints
# and times like those that edged measures. Encoders leave their token tables on the storage.
_ROWS = tuple[tuple[str, int, int, int, float], ...]
_FOR_1_GB: _ROWS = (
    ("minilm", 25, 40, 14, 0.25),  # all-MiniLM-L6-v2
    ("notes-embed", 37, 45, 22, 0.3),  # bge-small
    ("docs-embed", 84, 70, 60, 0.4),  # nomic-embed, Q4
    ("rerank", 25, 45, 14, 0.25),  # ms-marco-MiniLM-L6
    ("intent", 98, 110, 98, 0.4),  # SmolLM2-135M
    ("chat-small", 253, 150, 253, 0.9),  # gemma-3-270m
    ("chat", 270, 160, 270, 0.6),  # SmolLM2-360M
    ("coder", 398, 140, 398, 0.7),  # Qwen2.5-Coder-0.5B
    ("summary", 270, 160, 270, 0.6),  # SmolLM2-360M, tuned
    ("translate", 98, 110, 98, 0.4),  # SmolLM2-135M, tuned
)
_FOR_4_GB: _ROWS = (
    ("minilm", 25, 40, 14, 0.25),
    ("notes-embed", 110, 90, 80, 0.4),  # bge-base
    ("docs-embed", 140, 100, 110, 0.4),  # nomic-embed, Q8
    ("rerank", 280, 150, 280, 0.4),  # bge-reranker-base
    ("intent", 398, 140, 398, 0.7),  # Qwen2.5-0.5B
    ("chat-small", 806, 200, 806, 1.0),  # gemma-3-1b
    ("chat", 2019, 400, 2019, 0.9),  # Llama-3.2-3B
    ("coder", 1117, 250, 1117, 0.8),  # Qwen2.5-Coder-1.5B
    ("summary", 1117, 250, 1117, 0.8),  # Qwen2.5-1.5B
    ("translate", 806, 200, 806, 1.0),  # gemma-3-1b, tuned
)
_BOXES = {"1 GB": (700 * _MB, _FOR_1_GB), "4 GB": (3500 * _MB, _FOR_4_GB)}
_CAPTION = (
    "Means over the seeds. waited: seconds that all requests together waited for loads. hits: requests\n"
    "that waited for none. foresight knows when requests come; it is a yardstick, no bound."
)
_VERDICT_CAPTION = (
    "edged beside the best of LRU, LFU, keep-alive and count, each picked for that cell in hindsight."
)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A trace on a machine: what it cost with each policy, summed over the seeds."""

    trace: str
    hardware: str
    bytes_per_s: float
    outcomes: dict[str, Outcome]

    @property
    def names(self) -> list[str]:
        """For the first columns of a table."""
        return [self.trace, self.hardware, f"{self.bytes_per_s / _MB:.0f} MB/s"]

    def waited_ratio(self) -> float:
        """edged's seconds waited over those of the best of the others."""
        return self.outcomes["edged"].waited_s / min(each.waited_s for each in self._rivals())

    def hit_ratio(self) -> float:
        """The best hit rate of the others over edged's."""
        return max(each.hit_rate for each in self._rivals()) / self.outcomes["edged"].hit_rate

    def _rivals(self) -> list[Outcome]:
        return [outcome for name, outcome in self.outcomes.items() if name not in ("edged", "foresight")]


def hardware_of(box: str, megabytes_per_s: int) -> Hardware:
    """One of the machines."""
    budget_bytes, rows = _BOXES[box]
    return Hardware(
        name=box,
        budget_bytes=budget_bytes,
        reserve_bytes=_RESERVE_BYTES,
        bytes_per_s=float(megabytes_per_s * _MB),
        models={
            name: SimModel(
                file_bytes=file_mb * _MB,
                anon_bytes=anon_mb * _MB,
                read_bytes=read_mb * _MB,
                start_s=start_s,
            )
            for name, file_mb, anon_mb, read_mb, start_s in rows
        },
    )


def simulate(name: str, hardware: Hardware, weeks: Sequence[Sequence[Session]]) -> Cell:
    """Each policy on the same sessions."""
    evictors: tuple[Evictor, ...] = (edged, *RIVALS, foresight)
    outcomes: dict[str, Outcome] = {}
    for evictor in evictors:
        for sessions in weeks:
            policy = evictor(sessions)
            found = run(policy, hardware, sessions)
            outcomes[policy.name] = outcomes.get(policy.name, Outcome()).plus(found)
    return Cell(trace=name, hardware=hardware.name, bytes_per_s=hardware.bytes_per_s, outcomes=outcomes)


def rows(cells: Sequence[Cell], n_seeds: int) -> list[list[str]]:
    """Every policy in every cell."""
    return [
        [
            *cell.names,
            name,
            f"{outcome.waited_s / n_seeds:.0f}",
            f"{100 * outcome.hit_rate:.2f} %",
            f"{outcome.read_bytes / n_seeds / 1e9:.1f}",
            f"{outcome.n_loads / n_seeds:.0f}",
        ]
        for cell in cells
        for name, outcome in cell.outcomes.items()
    ]


def verdicts(cells: Sequence[Cell]) -> list[list[str]]:
    """How edged stands in every cell."""
    return [
        [
            *cell.names,
            f"{cell.waited_ratio():.3f}",
            f"{cell.hit_ratio():.4f}",
            "yes" if max(cell.waited_ratio(), cell.hit_ratio()) <= _WITHIN else "NO",
        ]
        for cell in cells
    ]


@click.command()
@click.option("--seed", "first_seed", default=1001, show_default=True, help="The first of the seeds.")
@click.option("--seeds", "n_seeds", default=8, show_default=True, help="How many weeks of each trace.")
@click.option("--quick", is_flag=True, help="Two days, one seed, one storage.")
def main(first_seed: int, n_seeds: int, quick: bool) -> None:
    """Print what every policy costs, and whether edged's is the best or within 2 % of it."""
    n_days, n_seeds = (2, 1) if quick else (7, n_seeds)
    rates = _RATES_MB_PER_S[1:2] if quick else _RATES_MB_PER_S
    cells = []
    for name in TRACES:
        weeks = [trace(name, n_days, seed) for seed in range(first_seed, first_seed + n_seeds)]
        cells += [simulate(name, hardware_of(box, rate), weeks) for box in _BOXES for rate in rates]
    columns = ("trace", "memory", "storage")
    report.print_table(
        "policies",
        _CAPTION,
        (*columns, "policy", "waited s", "hits", "read GB", "loads"),
        rows(cells, n_seeds),
    )
    report.print_table(
        "edged",
        _VERDICT_CAPTION,
        (*columns, "waited / best", "best hits / hits", "within 2 %"),
        verdicts(cells),
    )


if __name__ == "__main__":
    main()
