"""Who asks which model when: read from a file, so that every contender gets the same. Pure.

`morning.csv` is a morning of one household on one box, 40 times as fast as life: somebody searches notes
all the time, two people talk to a small model in sessions, one writes letters with a larger one, a job tags
files and another one sums them up at fixed times, and now and then somebody tries one of the rest.
`python -m tests.bench.traces` writes it, the same every time.
"""

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["chat", "embed"]

MORNING = Path(__file__).with_name("morning.csv")
_LENGTH_S = 200.0
# (first, last) second of each session, and the mean pause between its requests
_SESSIONS = {
    "chat": ([(4, 56), (104, 170)], 7.0),
    "writer": ([(36, 74), (128, 152)], 8.0),
    "chat-small": ([(76, 96)], 6.0),
    "writer-fast": ([(88, 100)], 6.0),
}
_JOBS = {"tags": 30.0, "old": 48.0}  # every so many seconds
_TRIED_AT_S = {"archive": (62.0, 176.0), "chat-exact": (98.0, 158.0), "writer-exact": (116.0,)}
_SEARCH_EVERY_S = 5.0
_KINDS: dict[str, Kind] = {"chat": "chat", "embed": "embed"}


class Asked(NamedTuple):
    """One request: so many seconds after the beginning."""

    at_s: float
    model: str
    kind: Kind


def read(path: Path) -> list[Asked]:
    """A trace, in order of time. Raises ValueError for lines that are none."""
    with path.open(newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        found = [Asked(float(row["second"]), row["model"], _kind(row["kind"])) for row in rows]
    return sorted(found)


def _kind(text: str) -> Kind:
    if (kind := _KINDS.get(text)) is None:
        raise ValueError(f"kind {text!r} is neither chat nor embed")
    return kind


def text_of(trace: list[Asked]) -> str:
    """A trace as a file."""
    lines = [f"{asked.at_s:.1f},{asked.model},{asked.kind}" for asked in trace]
    return "\n".join(["second,model,kind", *lines, ""])


def morning() -> list[Asked]:
    """The trace that `morning.csv` holds."""
    source = random.Random(6)
    found = list(_poisson(source, "search", "embed", 0.0, _LENGTH_S, _SEARCH_EVERY_S))
    for model, (sessions, pause_s) in _SESSIONS.items():
        for begin_s, end_s in sessions:
            found.append(Asked(begin_s, model, "chat"))
            found += _poisson(source, model, "chat", begin_s, end_s, pause_s)
    for model, every_s in _JOBS.items():
        at_s = every_s / 2
        while at_s < _LENGTH_S:
            found.append(Asked(at_s, model, "embed" if model == "tags" else "chat"))
            at_s += every_s
    found += [Asked(at_s, model, "chat") for model, times_s in _TRIED_AT_S.items() for at_s in times_s]
    return sorted(Asked(round(asked.at_s, 1), asked.model, asked.kind) for asked in found)


def _poisson(
    source: random.Random,
    model: str,
    kind: Kind,
    begin_s: float,
    end_s: float,
    mean_s: float,
) -> Iterator[Asked]:
    at_s = begin_s + source.expovariate(1 / mean_s)
    while at_s < end_s:
        yield Asked(at_s, model, kind)
        at_s += source.expovariate(1 / mean_s)
