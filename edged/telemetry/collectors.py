"""Gauges made at the moment of reading from what is known then: none outlives what it tells about."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_STATES = ("unloaded", "loading", "ready", "unloading", "failed")


class Status(Protocol):
    """What is read from a model's status when metrics are asked for."""

    @property
    def model(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def busy_slots(self) -> int: ...
    @property
    def queued_requests(self) -> int: ...
    @property
    def drafted_tokens(self) -> int: ...
    @property
    def accepted_tokens(self) -> int: ...
    @property
    def measured_ready_s(self) -> float | None: ...
    @property
    def predicted_ready_s(self) -> float | None: ...
    @property
    def measured_first_answer_s(self) -> float | None: ...
    @property
    def predicted_first_answer_s(self) -> float | None: ...


class MemoryCollector:
    """What all models have of the memory by its account, as of the moment of reading."""

    def __init__(self, by_kind: Callable[[], Mapping[str, int]]) -> None:
        self._by_kind = by_kind

    def collect(self) -> Iterator["Metric"]:
        """Prometheus's collector interface."""
        from prometheus_client.core import GaugeMetricFamily

        memory = GaugeMetricFamily(
            "edged_model_memory_bytes",
            "Memory of all models: anonymous, file_hot, file_cold (may go), in_flight (of loads under way),"
            " and spare (of a runner that waits for the next load).",
            labels=["kind"],
        )
        for kind, n_bytes in self._by_kind().items():
            memory.add_metric([kind], n_bytes)
        yield memory


class StatusCollector:
    """What models say of themselves."""

    def __init__(self, statuses: Callable[[], Sequence[Status]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator["Metric"]:
        """Prometheus's collector interface."""
        from prometheus_client.core import GaugeMetricFamily

        statuses = self._statuses()
        state = GaugeMetricFamily("edged_model_state", "1 for the state it is in.", labels=["model", "state"])
        for status in statuses:
            for name in _STATES:
                state.add_metric([status.model, name], float(status.state == name))
        yield state
        gauges: Iterable[tuple[str, str, Callable[[Status], float | None]]] = (
            ("edged_busy_slots", "Slots that compute.", lambda status: status.busy_slots),
            (
                "edged_queued_requests",
                "Requests that wait for a slot.",
                lambda status: status.queued_requests,
            ),
            (
                "edged_drafted_tokens",
                "Tokens computed ahead of their turn since the last load.",
                lambda status: status.drafted_tokens,
            ),
            (
                "edged_accepted_tokens",
                "Of the drafted tokens, those that were right.",
                lambda status: status.accepted_tokens,
            ),
            ("edged_ready_seconds", "Last load, measured.", lambda status: status.measured_ready_s),
            (
                "edged_predicted_ready_seconds",
                "Last load, predicted.",
                lambda status: status.predicted_ready_s,
            ),
            (
                "edged_first_answer_seconds",
                "First answer after the last load, measured.",
                lambda status: status.measured_first_answer_s,
            ),
            (
                "edged_predicted_first_answer_seconds",
                "First answer after the last load, predicted.",
                lambda status: status.predicted_first_answer_s,
            ),
        )
        for name, text, read in gauges:
            family = GaugeMetricFamily(name, text, labels=["model"])
            for status in statuses:
                value = read(status)
                if value is not None:
                    family.add_metric([status.model], value)
            yield family
