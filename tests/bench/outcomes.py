"""What starts of edged came to, kept as JSON lines, and what follows for the planner's choices. Pure.

Regret is how much later the first answer came with the way that the planner chose than with the best way
that was measured in the same cell. A way's time is the median of all its starts, those in which the planner
chose it included: the same way is the same program, and its noise is not the planner's fault. Starts that
others on the machine disturbed count only where a way has no others.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tests.bench import report
from tests.bench.quiet import QUIET_CORES

AUTO = "auto"


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One model's times in seconds from the start of its load; None where there was no prediction."""

    predicted_ready_s: float | None
    measured_ready_s: float | None
    predicted_first_answer_s: float | None
    measured_first_answer_s: float | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One start. `asked` is the way that was forced, or auto; `way` the one that edged then took.

    Times are in seconds from exec; both are None when it failed. `learnt`: an earlier start in the same state
    folder had measured the device.
    """

    profile: str
    cache: str  # cold or cached
    models: str
    asked: str
    way: str
    learnt: bool
    ready_s: float | None = None
    answer_s: float | None = None  # mean over the models
    predictions: Mapping[str, Prediction] = {}
    kills: int = 0
    restarts: int = 0
    swapped_bytes: int = 0
    others_cores: float = 0.0  # CPU that other programs used meanwhile
    failure: str | None = None

    @property
    def cell(self) -> tuple[str, str, str]:
        """What is compared with each other."""
        return self.profile, self.models, self.cache


def settled(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """All that were not disturbed, and the disturbed ones of ways that have no others."""
    groups: dict[tuple[object, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.cell, outcome.asked, outcome.learnt].append(outcome)
    kept = []
    for group in groups.values():
        kept.extend([one for one in group if one.others_cores <= QUIET_CORES] or group)
    return kept


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A cell's choice beside the best way, in seconds from exec to the first answer and to readiness."""

    cell: tuple[str, str, str]
    learnt: bool
    chosen: str
    chosen_s: float
    chosen_ready_s: float
    best: str
    best_s: float
    best_ready_s: float
    n_ways: int

    @property
    def regret(self) -> float:
        """As a share of the best time."""
        return self.chosen_s / self.best_s - 1


def verdicts(outcomes: Iterable[Outcome]) -> list[Verdict]:
    """For every cell, the choice without and with what was learnt; cells without either are left out."""
    found = []
    for cell, group in _by_cell(outcomes).items():
        answers, readies = _by_way(group, "answer_s"), _by_way(group, "ready_s")
        for learnt in (False, True):
            choices = [
                one.way for one in group if one.asked == AUTO and one.learnt == learnt and not one.failure
            ]
            if not choices:
                continue
            chosen = statistics.mode(choices)
            best = min(answers, key=lambda way: answers[way])
            found.append(
                Verdict(
                    cell=cell,
                    learnt=learnt,
                    chosen=chosen,
                    chosen_s=answers[chosen],
                    chosen_ready_s=readies[chosen],
                    best=best,
                    best_s=answers[best],
                    best_ready_s=readies[best],
                    n_ways=len(answers),
                )
            )
    return found


def prediction_errors(outcomes: Iterable[Outcome], what: str, *, learnt: bool) -> list[float]:
    """Errors of `ready` or `first_answer` predictions, as shares of what was measured."""
    pairs = []
    for outcome in outcomes:
        for prediction in outcome.predictions.values() if outcome.learnt == learnt else ():
            predicted = getattr(prediction, f"predicted_{what}_s")
            measured = getattr(prediction, f"measured_{what}_s")
            if predicted is not None and measured:
                pairs.append((predicted, measured))
    return report.errors(pairs)


def regret_rows(found: Sequence[Verdict]) -> list[list[str]]:
    """Lines for a table."""
    return [
        [
            *verdict.cell[:2],
            "learnt" if verdict.learnt else "first start",
            verdict.cell[2],
            verdict.chosen,
            f"{verdict.chosen_s:.2f}",
            f"{verdict.chosen_ready_s:.2f}",
            verdict.best,
            f"{verdict.best_s:.2f}",
            f"{verdict.best_ready_s:.2f}",
            str(verdict.n_ways),
            f"{verdict.regret:.1%}",
        ]
        for verdict in found
    ]


def error_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Lines for a table: predicted and measured by cell and way, with the errors."""
    rows = []
    for cell, group in _by_cell(outcomes).items():
        for way in dict.fromkeys(one.way for one in group if not one.failure):
            same = [one for one in group if one.way == way]
            errors = [
                report.percent(prediction_errors(same, what, learnt=learnt))
                for what in ("ready", "first_answer")
                for learnt in (False, True)
            ]
            rows.append([*cell, way, *_first_answers(same), *errors])
    return rows


def _first_answers(outcomes: Iterable[Outcome]) -> list[str]:
    """Predicted first answers of both kinds of start, and the measured ones."""
    predicted: dict[bool, list[float]] = {False: [], True: []}
    measured = []
    for outcome in outcomes:
        for prediction in outcome.predictions.values():
            if prediction.predicted_first_answer_s is not None:
                predicted[outcome.learnt].append(prediction.predicted_first_answer_s)
            if prediction.measured_first_answer_s is not None:
                measured.append(prediction.measured_first_answer_s)
    return [report.seconds(samples) for samples in (predicted[False], predicted[True], measured)]


def _by_cell(outcomes: Iterable[Outcome]) -> dict[tuple[str, str, str], list[Outcome]]:
    cells: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        cells[outcome.cell].append(outcome)
    return cells


def _by_way(outcomes: Iterable[Outcome], what: str) -> dict[str, float]:
    """The median of each way that worked."""
    times: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.failure is None:
            times[outcome.way].append(getattr(outcome, what))
    return {way: statistics.median(samples) for way, samples in times.items()}
