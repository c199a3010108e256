"""All models: who may load, who waits, who is asked for what."""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager

from edged.config.schema import Config
from edged.errors import Replaced, Unavailable
from edged.hw.memory import held_bytes, memory_facts, without
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle.admission import Admission
from edged.lifecycle.feed import Feed
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.handover import Handover
from edged.lifecycle.idle import Idle
from edged.lifecycle.maker import Maker
from edged.lifecycle.opening import Opening
from edged.lifecycle.planner import Planned
from edged.lifecycle.repack_gain import Work
from edged.lifecycle.served import Served, adopted
from edged.lifecycle.spares import Ahead, how_many_now
from edged.lifecycle.standby import Standby
from edged.lifecycle.status import Cause, ModelStatus, what_goes_on
from edged.lifecycle.supervision import Observer
from edged.policy.memory import budget_of
from edged.policy.replan import as_loaded
from edged.policy.types import LoadPlan

_COOL_S = 30.0  # for its prefixes to be written, and one chunk of its file to be read


class Pool:
    """The configured models and their runners."""

    def __init__(
        self,
        config: Config,
        planner: Callable[[Ahead | None], Planned],
        observer: Observer,
        replan: Callable[[Config, MemoryFacts], Planned] | None = None,
    ) -> None:
        """Plans at once, by calling `planner`: runners may have been started ahead of that, as it is told.

        `replan` does when a model is asked for whose file was missing (None: `planner` again).
        """
        self._now = Served(config=config)
        self._replan = replan or (lambda _config, _memory: planner(None))
        self.feed = Feed()
        self.admission = Admission(config.memory, publish=self.feed.publish)
        self._opening = Opening(observer, self.admission, self.statuses)
        self._idle = idle = Idle(lambda: [handle.residence for handle in self._now.handles.values()])
        self._lease_fd = os.memfd_create("edged-compute-lease")
        self._board_fd = os.memfd_create("edged-reading-turns")
        self._changing = threading.Lock()  # held while a change of what is served is worked out
        self._swap = threading.Lock()  # held while it is put in force
        self._handover: Handover | None = None
        self.when_wanted: Callable[[], None] = lambda: None  # called when somebody asks for a model
        self.draining = False
        ahead = Ahead(memory=memory_facts())
        n_spares = how_many_now(config, ahead.memory)
        shared = (self._lease_fd, self._board_fd)
        self.standby = Standby(n_spares, shared, lambda: self._now, self.admission.room_bytes)
        self._maker = Maker(
            observer=self._opening, admission=self.admission, feed=self.feed, idle=idle,
            standby=self.standby, lease_fd=self._lease_fd, board_fd=self._board_fd,
        )  # fmt: skip
        self.admission.spare_pid = lambda: self.standby.pid
        try:
            planned = planner(ahead if n_spares else None)
            self._plan_for(config, planned)
            self._repack_gains_wanted = planned.repack_gains_wanted
            self._now = self._adopted(config, planned, {})
        except BaseException:
            self.close()
            raise

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._now.config

    @property
    def plans(self) -> tuple[LoadPlan, ...]:
        """The plans in force, in the order of the configuration."""
        return self._now.plans

    @property
    def handles(self) -> Mapping[str, RunnerHandle]:
        """The ways to the models that have a plan."""
        return self._now.handles

    @property
    def problems(self) -> dict[str, str]:
        """Why a model has no plan, by model."""
        return dict(self._now.unplanned)

    def start(self) -> None:
        """Load what is to be loaded at start, the least to read first; returns at once."""
        at_start = [plan for plan in self.plans if plan.load_at_start]
        self.standby.begin(len(at_start))
        self.load_all([plan.model for plan in at_start], "boot")

    def load_all(self, models: Collection[str], cause: Cause) -> None:
        """Load what has a plan of these, the least to read first; returns at once. Raises Unavailable."""
        served = self._now
        handles = [served.handles[model] for model in models if model in served.handles]
        for handle in sorted(handles, key=lambda each: sum(piece.length for piece in each.plan.prefetch)):
            handle.load(cause)

    def when_started(self, announce: Callable[[], None]) -> None:
        """Call `announce` once, when every model that is loaded at start answers, or has been given up
        while another is there.
        """
        self._opening.when_started(announce)

    @property
    def is_starting(self) -> bool:
        """Whether the start goes on, or has failed."""
        return self._opening.is_awaited

    @property
    def is_supervised(self) -> bool:
        """Whether every runner is looked after."""
        return all(handle.is_supervised for handle in self._now.handles.values())

    def repack_work(self) -> Work:
        """What to measure of repacking when nothing else happens."""
        return Work(
            weight_types=self._repack_gains_wanted,
            n_threads=max((plan.n_threads for plan in self.plans), default=1),
            lease_fd=self._lease_fd,
            is_idle=lambda: what_goes_on(self.statuses()) is None,
        )

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model's status, in the order of the configuration."""
        return self._now.statuses()

    def status(self, model: str) -> ModelStatus:
        """One model's status. Raises UnknownModel."""
        return self._now.status(model)

    def ensure_ready(self, model: str, wait_s: float) -> RunnerHandle:
        """The model's handle once it answers; loads it on demand, and waits with whoever else asked.

        Raises UnknownModel, or Unavailable with the predicted time.
        """
        deadline = time.monotonic() + wait_s
        while True:
            served = self._now
            handle = served.handle(model)
            self._check_open()
            self.when_wanted()
            try:
                handle.ensure_ready(deadline - time.monotonic())
            except Replaced:
                continue
            return handle

    def load(self, model: str) -> None:
        """Begin to load; returns at once. A model that could not be planned is planned anew.

        Raises UnknownModel or Unavailable.
        """
        self._now.check_known(model)
        self._check_open()
        self.when_wanted()
        with self._changing:
            served = self._now
            if model in served.unplanned:
                as_they_are = as_loaded(served.config, {plan.model: plan for plan in served.plans})
                planned = self._replan(as_they_are, self.freed_memory())
                self._put_in_force(self._adopted(served.config, planned, served.handles))
            self._now.handle(model).load("demand")

    def asking(self, model: str) -> AbstractContextManager[None]:
        """Within this, somebody is about to submit a request to a model: one that comes up stays until then.

        Raises UnknownModel, or Unavailable where there is no plan for it.
        """
        return self._now.handle(model).residence.asking()

    def keep(self, model: str, keep_alive_s: float) -> None:
        """Unload the model when it had no request for so long (0: as soon as its requests are answered, below
        0: only to make room), until it is unloaded. Raises UnknownModel, Unavailable as `asking` does.
        """
        self._now.handle(model).residence.keep(keep_alive_s)

    def unload(self, model: str) -> None:
        """Give the model's memory back; the next request for it loads it again. Raises UnknownModel."""
        served = self._now
        served.check_known(model)
        if model in served.handles:
            served.handles[model].unload("asked")

    def freed_memory(self) -> MemoryFacts:
        """The memory that there would be if edged had no runners."""
        pids = [status.pid for status in self.statuses()] + [self.standby.pid]
        # before the facts: what is taken in between must not count as available, too
        held = held_bytes(pid for pid in pids if pid is not None)
        return without(memory_facts(), held)

    def warmup(self, model: str, wait_s: float) -> float:
        """Load if needed, read the whole file, run a batch; returns the seconds the batch took."""
        deadline = time.monotonic() + wait_s
        while True:
            with self.asking(model):
                handle = self.ensure_ready(model, deadline - time.monotonic())
                try:
                    return handle.warmup(deadline)
                except Replaced:
                    continue

    def cool(self, model: str, *, shrink: bool = False) -> int:
        """Have its runner give memory back until the next request; returns how many bytes.

        Raises UnknownModel, and Unavailable where it is not loaded.
        """
        return self._now.handle(model).cool(time.monotonic() + _COOL_S, shrink=shrink)

    def apply(self, config: Config, planned: Planned | None, kept: Collection[str]) -> Handover:
        """Put a configuration in force: `kept` models go on, by their new limits; the others by new plans.

        The caller finishes the handover; until then the others wait. `planned` is None where all are kept.
        Raises Unavailable when edged is shutting down.
        """
        with self._changing:
            self._check_open()
            before = self._now
            going_on = {model: before.handles[model] for model in kept}
            handover = Handover(handle for model, handle in before.handles.items() if model not in kept)
            self._put_in_force(self._adopted(config, planned, going_on, handover.wait), handover)
            if planned is not None:
                self._plan_for(config, planned)
            for model, handle in going_on.items():
                preload = config.models[model].preload
                changed = preload != before.config.models[model].preload
                at_start = preload if changed else handle.plan.load_at_start
                handle.supervise(self._maker.supervision(config, model), at_start=at_start)
            handover.retire()
        return handover

    def _put_in_force(self, served: Served, handover: Handover | None = None) -> None:
        """Raises Unavailable when edged is shutting down: `close` knows only the models that it saw."""
        with self._swap:
            self._check_open()
            self._now = served
            self._handover = handover or self._handover

    def close(self) -> None:
        """Stop every runner for good, all at the same time."""
        with self._swap:
            self.draining = True
            served, handover = self._now, self._handover
        self.feed.close()
        self.standby.close()
        self._idle.close()
        stops = [threading.Thread(target=handle.close) for handle in served.handles.values()]
        if handover is not None:
            stops.append(threading.Thread(target=handover.abandon))
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        if self._lease_fd >= 0:
            os.close(self._lease_fd)
            os.close(self._board_fd)
            self._lease_fd = -1

    def _adopted(
        self,
        config: Config,
        planned: Planned | None,
        going_on: Mapping[str, RunnerHandle],
        wait: Callable[[], None] = lambda: None,
    ) -> Served:
        """What is served by plans: the models that go on, and for the others new ways to runners."""
        before = self._now.handles

        def made(plan: LoadPlan, planned: Planned) -> RunnerHandle:
            handle = self._maker.handle(config, plan, planned, wait)
            if plan.model in before:
                handle.residence.inherit(before[plan.model].residence)
            return handle

        return adopted(config, planned, going_on, made)

    def _plan_for(self, config: Config, planned: Planned) -> None:
        """Go on by the facts that the plans rest on."""
        self.snapshot = planned.snapshot
        budget = budget_of(planned.snapshot.memory, config.memory)
        self.admission.plan_for(config.memory, budget.total_bytes)

    def _check_open(self) -> None:
        if self.draining:
            raise Unavailable("edged is shutting down", 5.0)
