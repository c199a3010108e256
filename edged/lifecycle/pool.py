"""All models: who may load, who waits, who is asked for what."""

import os
import threading
import time
from collections.abc import Callable

from edged.config.paths import model_path
from edged.config.schema import Config
from edged.errors import Unavailable, UnknownModel
from edged.hw.memory import memory_facts
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.model_file import check_file
from edged.lifecycle.planner import Planned
from edged.lifecycle.prefixes import prefix_folder
from edged.lifecycle.repack_gain import Work
from edged.lifecycle.spares import Ahead, Spares, how_many, imports_are_cached
from edged.lifecycle.start import awaited, failure
from edged.lifecycle.status import Cause, ModelStatus
from edged.lifecycle.supervision import Observer, Supervision
from edged.policy.types import LoadPlan
from edged.runner import protocol


class Pool:
    """The configured models and their runners."""

    def __init__(
        self, config: Config, planner: Callable[[Ahead | None], Planned], observer: Observer
    ) -> None:
        """Plans at once, by calling `planner`, and again when a model is asked for whose file was missing.

        The first time runners may have been started ahead of their plans, and `planner` is told so.
        """
        self._config = config
        self._planner = planner
        self._observer = observer
        self._lease_fd = os.memfd_create("edged-compute-lease")
        self._board_fd = os.memfd_create("edged-reading-turns")
        self._replanning = threading.Lock()
        self._handles: dict[str, RunnerHandle] = {}
        self._problems: dict[str, str] = {}  # why there was no plan; of no meaning once there is a handle
        self._refused: set[str] = set()  # models whose problem is memory
        self._announcing = threading.Lock()
        self._when_started: Callable[[], None] | None = None
        self.when_wanted: Callable[[], None] = lambda: None  # called when somebody asks for a model
        self.draining = False
        ahead = Ahead(memory=memory_facts())
        n_spares = self._how_many_spares(ahead)
        self._spares = Spares(n_spares, (self._lease_fd, self._board_fd))
        try:
            planned = planner(ahead if n_spares else None)
            self.snapshot = planned.snapshot
            self._repack_gains_wanted = planned.repack_gains_wanted
            for model in config.models:
                self._adopt(model, planned)
        except BaseException:
            self.close()
            raise

    @property
    def plans(self) -> tuple[LoadPlan, ...]:
        """The plans in force, in the order of the configuration."""
        return tuple(self._handles[model].plan for model in self._config.models if model in self._handles)

    @property
    def problems(self) -> dict[str, str]:
        """Why a model has no plan, by model."""
        return {model: why for model, why in self._problems.items() if model not in self._handles}

    def start(self) -> None:
        """Load what is to be loaded at start, the least to read first; returns at once."""
        at_start = [handle for handle in self._handles.values() if handle.plan.load_at_start]
        at_start.sort(key=lambda handle: sum(piece.length for piece in handle.plan.prefetch))
        self._spares.keep(len(at_start))
        for handle in at_start:
            handle.load("boot")

    def when_started(self, announce: Callable[[], None]) -> None:
        """Call `announce` once, when every model that is loaded at start answers, or has been given up
        while another is there.
        """
        self._when_started = announce
        self._announce_if_started()

    @property
    def is_starting(self) -> bool:
        """Whether the start goes on, or has failed."""
        return self._when_started is not None

    @property
    def is_supervised(self) -> bool:
        """Whether every runner is looked after."""
        return all(handle.is_supervised for handle in list(self._handles.values()))

    def repack_work(self) -> Work:
        """What to measure of repacking when nothing else happens."""
        return Work(
            weight_types=self._repack_gains_wanted,
            n_threads=max((plan.n_threads for plan in self.plans), default=1),
            lease_fd=self._lease_fd,
            is_idle=self._is_idle,
        )

    def _is_idle(self) -> bool:
        """Whether nothing is being loaded, read or computed."""
        return not any(
            each.state in ("loading", "unloading")
            or (each.state == "ready" and bool(each.bytes_total) and not each.prefetch_done)
            or each.busy_slots
            or each.queued_requests
            for each in self.statuses()
        )

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model's status, in the order of the configuration."""
        return tuple(self.status(model) for model in self._config.models)

    def status(self, model: str) -> ModelStatus:
        """One model's status. Raises UnknownModel."""
        self._check_known(model)
        handle = self._handles.get(model)
        if handle is not None:
            return handle.status()
        settings = self._config.models[model]
        return ModelStatus(
            model=model,
            state="failed",
            kind=None if settings.kind == "auto" else settings.kind,
            strategy="refused",
            load_at_start=settings.preload,
            reason=self._problems[model],
            given_up="memory" if model in self._refused else "file",
        )

    def ensure_ready(self, model: str, wait_s: float) -> RunnerHandle:
        """The model's handle once it answers; loads it on demand, and waits with whoever else asked.

        Raises UnknownModel, or Unavailable with the predicted time.
        """
        handle = self._handle(model)
        self._check_open()
        self.when_wanted()
        self._check_room(handle)
        handle.ensure_ready(wait_s)
        return handle

    def load(self, model: str) -> None:
        """Begin to load; returns at once. A model that could not be planned is planned anew.

        Raises UnknownModel or Unavailable.
        """
        self._check_known(model)
        self._check_open()
        self.when_wanted()
        with self._replanning:
            if model not in self._handles:
                self._adopt(model, self._planner(None))
        self._check_open()  # again: planning takes its time, and `close` knows only the models that it saw
        handle = self._handle(model)
        self._check_room(handle)
        handle.load("demand")

    def _check_room(self, handle: RunnerHandle) -> None:
        """Refuse to load what does not fit beside what is loaded: the kernel would end one of them.

        Raises Unavailable.
        """
        if handle.status().state != "unloaded":
            return
        for other in self._handles.values():
            clash = handle.plan.alone or other.plan.alone
            if other is not handle and clash and other.status().state != "unloaded":
                wanted, there = handle.plan.model, other.plan.model
                raise Unavailable(
                    f"model {wanted} does not fit into memory beside {there}; unload that first:"
                    f" POST /edged/v1/models/{there}/unload",
                    30.0,
                )

    def unload(self, model: str) -> None:
        """Give the model's memory back; the next request for it loads it again. Raises UnknownModel."""
        self._check_known(model)
        handle = self._handles.get(model)
        if handle is not None:
            handle.unload()

    def warmup(self, model: str, wait_s: float) -> float:
        """Load if needed, read the whole file, run a batch; returns the seconds the batch took."""
        deadline = time.monotonic() + wait_s
        return self.ensure_ready(model, wait_s).warmup(deadline)

    def close(self) -> None:
        """Stop every runner for good, all at the same time."""
        self.draining = True
        self._spares.close()
        stops = [threading.Thread(target=handle.close) for handle in list(self._handles.values())]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        if self._lease_fd >= 0:
            os.close(self._lease_fd)
            os.close(self._board_fd)
            self._lease_fd = -1

    # ---- the observer of every runner ----

    def ready(self, plan: LoadPlan, cause: Cause, ready: protocol.Ready, ready_s: float) -> None:
        """Pass it on, and announce the start when this was the last model of it."""
        self._observer.ready(plan, cause, ready, ready_s)
        self._announce_if_started()

    def first_answer(self, plan: LoadPlan, first_answer_s: float) -> None:
        """Pass it on."""
        self._observer.first_answer(plan, first_answer_s)

    def reads(self, plan: LoadPlan, reads: protocol.Reads) -> None:
        """Pass it on."""
        self._observer.reads(plan, reads)

    def failed(self, plan: LoadPlan, reason: str) -> None:
        """Pass it on; nobody need wait any longer for a model that has been given up."""
        self._observer.failed(plan, reason)
        self._announce_if_started()

    def _announce_if_started(self) -> None:
        if self._when_started is None:
            return
        statuses = self.statuses()
        if awaited(statuses) or failure(statuses) is not None:
            return
        with self._announcing:  # several supervisors may come here at once
            announce, self._when_started = self._when_started, None
        if announce is not None:
            announce()

    def _adopt(self, model: str, planned: Planned) -> None:
        plan = next((plan for plan in planned.plans if plan.model == model), None)
        if plan is None or plan.strategy == "refused":
            self._problems[model] = planned.problems.get(model) or " ".join(plan.reasons if plan else ())
            (self._refused.add if plan else self._refused.discard)(model)
            return
        self._handles[model] = RunnerHandle(
            plan, self._supervision(model), self, check_file, self._spares.take
        )

    def _how_many_spares(self, ahead: Ahead) -> int:
        if not imports_are_cached():
            return 0
        wanted = [model for model, settings in self._config.models.items() if settings.preload]
        there = sum(model_path(self._config, model).is_file() for model in wanted)
        return how_many(there, ahead.memory, len(os.sched_getaffinity(0)))

    def _supervision(self, model: str) -> Supervision:
        loading, settings = self._config.loading, self._config.models[model]
        return Supervision(
            load_timeout_s=loading.load_timeout,
            hang_timeout_s=loading.hang_timeout,
            backoff_s=loading.restart_backoff,
            backoff_max_s=loading.restart_backoff_max,
            max_queue_requests=settings.max_queue_requests,
            max_queue_tokens=settings.max_queue_tokens,
            step_s=float(settings.step_time),
            speculate=settings.speculation == "auto",
            prefix_dir=str(prefix_folder(self._config, model)),
            prefix_bytes=int(settings.prefix_cache),
            lease_fd=self._lease_fd,
            board_fd=self._board_fd,
            number=list(self._config.models).index(model),
        )

    def _check_open(self) -> None:
        if self.draining:
            raise Unavailable("edged is shutting down", 5.0)

    def _check_known(self, model: str) -> None:
        if model not in self._config.models:
            known = ", ".join(self._config.models) or "none"
            raise UnknownModel(f"model {model!r} is not configured; configured models: {known}")

    def _handle(self, model: str) -> RunnerHandle:
        self._check_known(model)
        handle = self._handles.get(model)
        if handle is None:
            raise Unavailable(f"model {model} cannot be loaded: {self._problems[model]}", 60.0)
        return handle
