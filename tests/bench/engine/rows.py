"""Figures of edged beside a peer's, and whether they reach their targets. Pure."""

import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec

from tests.bench import report
from tests.bench.quiet import QUIET_CORES

COLUMNS = ("what", "unit", "peer", "edged", "the peer's", "ratio", "target", "reached")


class Target(msgspec.Struct, frozen=True):
    """What edged must come to: a ratio to the peer's median, or that plus `value` of the row's unit."""

    kind: Literal["at least", "at most", "at most more"]
    value: float

    def reached(self, edged: float, peer: float) -> bool:
        """Whether a figure of edged's is good enough beside the peer's."""
        if self.kind == "at least":
            return edged >= self.value * peer
        return edged <= (peer + self.value if self.kind == "at most more" else self.value * peer)

    def __str__(self) -> str:
        signs = {"at least": ">= {:g} x", "at most": "<= {:g} x", "at most more": "<= + {:g}"}
        return signs[self.kind].format(self.value)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. Samples of both sides at the same place were taken one right after the other."""

    what: str
    unit: str
    edged: tuple[float, ...]
    peer: str
    peers: tuple[float, ...]
    target: Target | None = None
    note: str = ""
    others_cores: float = 0.0  # CPU that other programs used in the most disturbed sample

    @property
    def ratio(self) -> float:
        """Of the medians, edged's to the peer's."""
        return statistics.median(self.edged) / statistics.median(self.peers)

    @property
    def reached(self) -> bool | None:
        """Whether the medians reach the target; None where there is none."""
        if self.target is None:
            return None
        return self.target.reached(statistics.median(self.edged), statistics.median(self.peers))

    def cells(self) -> list[str]:
        """A line for a table with COLUMNS."""
        pairs = [mine / theirs for mine, theirs in zip(self.edged, self.peers, strict=False)]
        spread = f"{self.ratio:.2f} ({min(pairs):.2f}-{max(pairs):.2f})"
        verdict = {True: "yes", False: "NO", None: ""}[self.reached]
        return [
            self.what + (" (disturbed)" if self.others_cores > QUIET_CORES else ""),
            self.unit,
            self.peer,
            report.seconds(self.edged),
            report.seconds(self.peers),
            spread,
            str(self.target) if self.target else "",
            verdict,
        ]


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of all do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def latest(rows: Sequence[Row]) -> list[Row]:
    """Of rows that say the same, the last, at the place of the first."""
    return list({(row.what, row.unit, row.peer): row for row in rows}.values())


def notes(rows: Sequence[Row]) -> str:
    """What the rows say about themselves, a line each."""
    disturbed = [
        f"{row.what}: others used up to {row.others_cores:.1f} cores"
        for row in rows
        if row.others_cores > QUIET_CORES
    ]
    said = [f"{row.what}: {row.note}" for row in rows if row.note]
    return "\n".join(dict.fromkeys([*said, *disturbed]))
