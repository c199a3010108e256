"""The one owner of the memory account: who may load, who waits for room, and who leaves for it.

A load is admitted before its process is spawned, and has its whole claim from then until its process has been
reaped. So whatever happens in between, what is admitted never adds up to more than there is. Loads wait in
the order in which they came; a later one goes first only where it takes nothing that an earlier one needs.
Others leave only for a load that somebody waits for: what is loaded at start, or again after a crash, takes
what is there.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from edged.config.schema import Memory
from edged.errors import NoRoom
from edged.hw.memory import held_bytes, memory_facts
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle.feed import Eviction, Notice
from edged.lifecycle.gauge import MemoryGauge
from edged.lifecycle.residence import Residence
from edged.lifecycle.status import JUST_PLANNED, Cause, UnloadCause
from edged.policy.account import Account, claim_of, measured_claim
from edged.policy.demand import SOON_S, use_probability
from edged.policy.evict import Candidate, victims, why_leaving
from edged.policy.reload_time import reload_s, wanted_bytes
from edged.policy.room import Scene, Wish, decide, why_refused, why_waiting
from edged.policy.types import LoadPlan

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0  # at what other processes take
_LOOK_SOON_S = 0.03  # at what a runner that has ended gives back


class _Load:
    """A load that waits for room. Compared by identity."""

    def __init__(self, residence: Residence, plan: LoadPlan, *, as_planned: bool) -> None:
        self.residence = residence
        self.plan = plan
        self.model = plan.model
        self.claim = claim_of(plan)
        self.as_planned = as_planned  # by plans that were made just now, for all at once
        self.made_leave: list[str] = []


class Admission:
    """For any thread, but none that holds a model's condition: models are asked under the lock of this."""

    def __init__(
        self,
        memory: Memory,
        facts: Callable[[], MemoryFacts] = memory_facts,
        held: Callable[[Collection[int]], int] = held_bytes,
        publish: Callable[[Notice], None] = lambda _notice: None,
    ) -> None:
        """`facts` and `held` say what there is on this machine, and what processes hold of it.

        `publish` is called under the lock, and must not wait.
        """
        self._gauge = MemoryGauge(memory, facts, held)
        self._publish = publish
        self._changed = threading.Condition()
        self._account = Account(budget_bytes=0)
        self._inside: dict[str, _Load] = {}
        self._leaving: set[str] = set()
        self._waiting: list[_Load] = []  # in the order in which they came
        self._closed_because: str | None = None
        self.spare_pid: Callable[[], int | None] = lambda: None  # of one that gives way to loads

    def plan_for(self, memory: Memory, planned_bytes: int) -> None:
        """Go on by other settings, and plans that share `planned_bytes`."""
        with self._changed:
            self._gauge.memory, self._gauge.planned_bytes = memory, planned_bytes
            self._changed.notify_all()

    @property
    def account(self) -> Account:
        """Who has what."""
        return self._account

    def room_bytes(self) -> int:
        """What models leave of the memory now, those that wait for room included."""
        with self._changed:
            self._look()
            return self._account.room_bytes - sum(load.claim.need_bytes for load in self._waiting)

    def look_again(self) -> None:
        """Something has changed that loads may wait for."""
        with self._changed:
            self._changed.notify_all()

    def look(self) -> Account:
        """Who has what, and what there is for them beside `reserve_bytes`.

        That is less strict than what loads are admitted by: a model that turns out to take some MiB more
        than had been planned does not make memory short.
        """
        with self._changed:
            self._look()
            return msgspec.structs.replace(self._account, budget_bytes=self._gauge.there_bytes)

    @property
    def reserve_bytes(self) -> int:
        """What is to be left to everything else, whatever happens."""
        return int(self._gauge.memory.reserve) // 2

    def relieve(self, lacking_bytes: int, given_back: Mapping[str, int]) -> tuple[str, ...]:
        """Make models leave that hold so many bytes together, or all that may; returns them.

        `given_back`: what some do not hold of their claims at present. What those hold who leave already
        counts.
        """

        def held_bytes(model: str) -> int:
            return self._account.loaded[model].need_bytes - given_back.get(model, 0)

        with self._changed:
            candidates = [
                msgspec.structs.replace(each, frees_bytes=held_bytes(each.model))
                for each in self._candidates()
            ]
            lacking_bytes -= sum(
                held_bytes(model) for model in self._leaving if model in self._account.loaded
            )
            chosen = victims(candidates, lacking_bytes)
            models = chosen if chosen is not None else tuple(each.model for each in candidates)
            for model in models:
                self._make_leave(model, "pressure")
            return models

    def refuse_loads(self, why: str | None) -> None:
        """Admit nothing but pinned models for now, or everything again."""
        with self._changed:
            self._closed_because = why
            self._changed.notify_all()

    # ---- a model's supervisor ----

    def enter(self, residence: Residence, plan: LoadPlan, cause: Cause) -> bool:
        """Return when there is room for a load, and keep it; False when it is not wanted any more.

        Raises NoRoom where there is none and none can be made.
        """
        load = _Load(residence, plan, as_planned=cause in JUST_PLANNED)
        with self._changed:
            self._waiting.append(load)
            try:
                while residence.is_wanted:
                    if self._admit(load):
                        return True
                    self._changed.wait(_LOOK_SOON_S if self._gauge.settles else _LOOK_EVERY_S)
                return False
            finally:
                self._waiting.remove(load)
                self._let_stay(load)
                self._changed.notify_all()

    def ready(self, plan: LoadPlan, anon_bytes: int | None) -> None:
        """A load is ready, with so much anonymous memory by now (None: unknown)."""
        claim = measured_claim(plan, anon_bytes)
        with self._changed:
            load = self._inside.get(plan.model)
            if load is None:
                return
            self._account = self._account.settle(plan.model, claim)
            self._look()
            self._changed.notify_all()
        load.residence.rest()

    def leave(self, residence: Residence) -> None:
        """The model's process has been reaped."""
        with self._changed:
            self._account = self._account.without(residence.model)
            del self._inside[residence.model]
            self._leaving.discard(residence.model)
            self._gauge.ended()
            self._changed.notify_all()

    # ---- under the lock ----

    def _admit(self, load: _Load) -> bool:
        """Admit a load, or see to it that others leave for it. Raises NoRoom."""
        self._look(as_planned=load.as_planned)
        if self._closed_because is not None and not load.residence.is_pinned:
            raise NoRoom(self._closed_because)
        # a pinned model that has crashed comes back, whoever has come in meanwhile
        is_urgent = load.residence.is_urgent or load.residence.is_pinned
        wish = Wish(model=load.model, claim=load.claim, is_urgent=is_urgent)
        scene = self._scene(load, wish)
        if decide(wish, scene).verdict == "admitted":
            self._account = self._account.begin(load.model, load.claim)
            self._inside[load.model] = load
            return True
        # admitted by what is there, but refused and made room for by what will be there in a moment
        scene = msgspec.structs.replace(scene, account=self._account_in_a_moment)
        decision = decide(wish, scene)
        if decision.verdict == "refused":
            raise NoRoom(why_refused(wish, scene, self._gauge.memory), scene.most_bytes if is_urgent else 0)
        for each in scene.candidates:
            if each.model in decision.leave:
                self._make_leave(each.model, "evicted", load.model)
                load.made_leave.append(each.model)
                why = why_leaving(each)
                fields = {"EVENT": "model_evicted", "MODEL": each.model}
                log.info("%s: makes room for %s: %s", *(each.model, load.model, why), extra=fields)
        scene = msgspec.structs.replace(scene, leaving=frozenset(self._leaving))
        load.residence.wait_for_room(why_waiting(wish, scene))
        return False

    def _scene(self, load: _Load, wish: Wish) -> Scene:
        before = self._waiting[: self._waiting.index(load)]
        may_stay = frozenset() if wish.is_urgent else frozenset(load.made_leave)  # when this is given up
        return Scene(
            account=self._account,
            leaving=self._leaving - may_stay,
            pinned=[model for model, inside in self._inside.items() if inside.residence.is_pinned],
            candidates=self._candidates(),
            ahead_bytes=sum(other.claim.need_bytes for other in before),
        )

    @property
    def _account_in_a_moment(self) -> Account:
        return msgspec.structs.replace(self._account, budget_bytes=self._gauge.settled_bytes)

    def _candidates(self) -> list[Candidate]:
        """The loaded models that may be made to leave."""
        now_s = time.time()
        return [
            _candidate(self._inside[model], claim.need_bytes, self._gauge.cache_bytes, now_s)
            for model, claim in self._account.loaded.items()
            if model not in self._leaving and not self._inside[model].residence.is_pinned
        ]

    def _make_leave(self, model: str, cause: UnloadCause, makes_room_for: str | None = None) -> None:
        self._leaving.add(model)
        self._inside[model].residence.leave(cause)
        frees_bytes = self._account.loaded[model].need_bytes
        self._publish(Eviction(model=model, makes_room_for=makes_room_for, frees_bytes=frees_bytes))

    def _let_stay(self, load: _Load) -> None:
        """Who still serves requests need not leave for a load that is over or has found room elsewhere."""
        for model in load.made_leave:
            if model in self._leaving:
                self._leaving.discard(model)
                self._inside[model].residence.stay()

    def _look(self, *, as_planned: bool = False) -> None:
        """See what models may take now."""
        spare_pid = self.spare_pid()
        pids = [inside.residence.pid for inside in self._inside.values()] + [spare_pid]
        budget_bytes = self._gauge.read(
            [pid for pid in pids if pid is not None],
            ending=not all(inside.residence.is_wanted for inside in self._inside.values()),
            as_planned=as_planned,
        )
        spare_bytes = 0 if spare_pid is None else self._gauge.held([spare_pid])
        self._account = msgspec.structs.replace(
            self._account, budget_bytes=budget_bytes, spare_bytes=spare_bytes
        )


def _candidate(inside: _Load, frees_bytes: int, cache_bytes: int, now_s: float) -> Candidate:
    """What it would cost that a model leaves, if so many bytes of its file stay cached in any case."""
    return Candidate(
        model=inside.model,
        frees_bytes=frees_bytes,
        reload_s=reload_s(inside.plan, cache_bytes),
        use_probability=use_probability(inside.residence.demand, now_s, SOON_S),
        busy=inside.residence.is_busy,
        pages_bytes=wanted_bytes(inside.plan),
        warm_reload_s=inside.plan.predicted.started_s,
    )
