"""What Prometheus reads from /metrics: an object with its own registry, nothing global."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from edged.telemetry.collectors import MemoryCollector, Status, StatusCollector

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Cause = Literal["boot", "demand", "evicted", "crash", "hung", "reload"]
Phase = Literal["mapped", "ready", "first_token"]
Foreseen = Literal["ready", "first_answer"]

_REQUEST_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LOAD_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 900)
_READ_BYTES = (0, *(mib << 20 for mib in (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)))
_MAJOR_FAULTS = (0, 10, 100, 1000, 10_000, 100_000)


class Metrics:
    """Counters and histograms, told by whoever acts; thread-safe.

    Prometheus's client is imported here, not with the module: it takes 40 ms that liveness cannot wait for.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        from prometheus_client.gc_collector import GCCollector
        from prometheus_client.process_collector import ProcessCollector

        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "edged_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self._request_s = Histogram(
            "edged_request_duration_seconds",
            "From request to last byte.",
            ["endpoint"],
            buckets=_REQUEST_S,
            registry=registry,
        )
        self._first_token_s = Histogram(
            "edged_time_to_first_token_seconds",
            "From request to the first token, loading included.",
            ["model"],
            buckets=_REQUEST_S,
            registry=registry,
        )
        self._tokens = Counter(
            "edged_tokens", "Tokens: prompt, cached (of the prompt) and generated.", ["model", "kind"],
            registry=registry,
        )  # fmt: skip
        self._working = Gauge("edged_requests_working", "Requests being worked on.", registry=registry)
        self._restarts = Counter(
            "edged_restarts", "Runners restarted after they died.", ["model"], registry=registry
        )
        self._unloads = Counter(
            "edged_unloads",
            "Models unloaded: asked, idle, evicted (for another model), pressure, reload or closing.",
            ["model", "cause"],
            registry=registry,
        )
        self._cold_starts = _ColdStarts(registry)
        self._pressure = _Pressure(registry)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    def request_began(self) -> None:
        """A request took one of the places of server.max_requests."""
        self._working.inc()

    def request_ended(self) -> None:
        """It gave the place back."""
        self._working.dec()

    def answered(self, endpoint: str, status: int, duration_s: float) -> None:
        """A request was answered to the last byte. `endpoint` is a route, never a path of the client's."""
        self._requests.labels(endpoint, str(status)).inc()
        self._request_s.labels(endpoint).observe(duration_s)

    def first_token(self, model: str, wait_s: float) -> None:
        """The first token of an answer has come."""
        self._first_token_s.labels(model).observe(wait_s)

    def tokens(self, model: str, *, prompt: int, cached: int = 0, generated: int = 0) -> None:
        """A request used these tokens."""
        for kind, count in (("prompt", prompt), ("cached", cached), ("generated", generated)):
            self._tokens.labels(model, kind).inc(count)

    def cold_start(self, model: str, cause: Cause, phase: Phase, duration_s: float) -> None:
        """A load has reached a phase, so long after it began."""
        self._cold_starts.seconds.labels(model, cause, phase).observe(duration_s)

    def read(self, model: str, cause: Cause, phase: Phase, read_bytes: int | None, major_faults: int) -> None:
        """Until a phase, a load has fetched so much (None: unknown) and waited so often for storage."""
        if read_bytes is not None:
            self._cold_starts.read_bytes.labels(model, cause, phase).observe(read_bytes)
        self._cold_starts.major_faults.labels(model, cause, phase).observe(major_faults)

    def foreseen(self, model: str, kind: Foreseen, predicted_s: float, measured_s: float) -> None:
        """A load took `measured_s` where its plan said `predicted_s`, which is not 0."""
        self._cold_starts.prediction_error.labels(model, kind).set(measured_s / predicted_s - 1)

    def restarted(self, model: str) -> None:
        """A runner is started again after it died."""
        self._restarts.labels(model).inc()

    def unloaded(self, model: str, cause: str) -> None:
        """A model's memory was freed."""
        self._unloads.labels(model, cause).inc()

    def strained(self, step: str, level: int, *, risen: bool) -> None:
        """Another step against memory pressure is in force."""
        self._pressure.level.set(level)
        if risen:
            self._pressure.steps.labels(step).inc()

    def pressed(self, stalled_share: float, short_bytes: int) -> None:
        """What was last seen of memory pressure."""
        self._pressure.stalled_share.set(stalled_share)
        self._pressure.short_bytes.set(short_bytes)

    def watch(self, statuses: Callable[[], Sequence[Status]]) -> None:
        """Ask `statuses` for the state of every model whenever metrics are read. Call once."""
        self._registry.register(StatusCollector(statuses))

    def watch_memory(self, by_kind: Callable[[], Mapping[str, int]]) -> None:
        """Ask `by_kind` for what the models have of the memory whenever metrics are read. Call once."""
        self._registry.register(MemoryCollector(by_kind))

    def render(self) -> tuple[bytes, str]:
        """Everything, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _ColdStarts:
    """What the loads cost, from spawning a runner on, by what caused them.

    boot: at edged's start; demand: a request for it; evicted: one after it had made room for others; crash:
    its runner had ended; reload: by a changed configuration.
    """

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Gauge, Histogram

        labels = ("model", "cause", "phase")
        self.seconds = Histogram(
            "edged_cold_start_seconds",
            "From spawning a runner until its model was mapped, was ready, gave the first token or vector.",
            labels,
            buckets=_LOAD_S,
            registry=registry,
        )
        self.read_bytes = Histogram(
            "edged_cold_start_read_bytes",
            "Bytes that its runner really fetched from storage until then; the probe's share is not in it.",
            labels,
            buckets=_READ_BYTES,
            registry=registry,
        )
        self.major_faults = Histogram(
            "edged_cold_start_major_faults",
            "Page faults that waited for storage until then.",
            labels,
            buckets=_MAJOR_FAULTS,
            registry=registry,
        )
        self.prediction_error = Gauge(
            "edged_prediction_error_ratio",
            "Measured over predicted, minus 1, of the last load that a plan was made for.",
            ("model", "kind"),
            registry=registry,
        )


class _Pressure:
    """Memory pressure, and how far edged gives way to it."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge

        self.level = Gauge(
            "edged_pressure_level",
            "Steps in force: 0 none, 1 read less, 2 cool, 3 shrink, 4 unload, 5 refuse loads.",
            registry=registry,
        )
        self.steps = Counter(
            "edged_pressure_steps", "Steps taken as memory became short.", ["step"], registry=registry
        )
        self.stalled_share = Gauge(
            "edged_memory_stalled_ratio",
            "Of the last second, the share in which some task waited for memory.",
            registry=registry,
        )
        self.short_bytes = Gauge(
            "edged_memory_short_bytes",
            "What models hold beyond what there is for them; below 0: room.",
            registry=registry,
        )
