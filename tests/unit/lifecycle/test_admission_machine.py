"""Admission under threads, on a machine that counts: crashes, busy victims, and a neighbour that grows."""

import random
import threading
from collections import Counter
from collections.abc import Collection
from typing import cast

import pytest

from edged.config.schema import Bytes, Memory
from edged.errors import NoRoom
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle.admission import Admission
from edged.lifecycle.residence import Residence
from edged.lifecycle.status import UnloadCause
from edged.policy.account import claim_of
from edged.policy.demand import Demand
from edged.policy.types import LoadPlan
from tests.unit.lifecycle.machine import MIB, sized_plan
from tests.unit.lifecycle.scripted import PATIENCE_S
from tests.unit.policy.memory_machine import MemoryMachine

TOTAL_BYTES, RESERVE_BYTES = 200 * MIB, 40 * MIB
SIZES = {"a": 30 * MIB, "b": 40 * MIB, "c": 50 * MIB, "d": 60 * MIB, "e": 90 * MIB, "tiny": 5 * MIB}
N_ROUNDS = 40
N_GROWTHS, GROWTH_BYTES = 14, 5 * MIB


class Shared:
    """The machine, under a lock, and what was seen of it."""

    def __init__(self, seed: int) -> None:
        self.machine = MemoryMachine(TOTAL_BYTES)
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.models: list[str] = []  # by the number that stands in for the pid of their runners
        self.overcommitted: list[str] = []
        self.ends: Counter[str] = Counter()
        self._pause = threading.Event()

    def facts(self) -> MemoryFacts:
        self.dawdle()  # runners take memory between one look and the other
        with self.lock:
            return self.machine.facts()

    def held(self, pids: Collection[int]) -> int:
        self.dawdle()
        with self.lock:
            return self.machine.held_bytes([self.models[pid] for pid in pids])

    def count(self, end: str) -> None:
        with self.lock:
            self.ends[end] += 1

    def chance(self, share: float) -> bool:
        with self.lock:
            return self.random.random() < share

    def dawdle(self) -> None:
        with self.lock:
            pause_s = self.random.choice((0.0, 0.0, 0.0005, 0.002))
        self._pause.wait(pause_s)


class Guest:
    """Stands in for a model's `Residence`, and for the supervisor that asks for its room."""

    def __init__(self, shared: Shared, admission: Admission, plan: LoadPlan) -> None:
        self.shared = shared
        self.admission = admission
        self.plan = plan
        self.model = plan.model
        self.pid = len(shared.models)
        shared.models.append(self.model)
        self.is_pinned = self.model == "tiny"
        self.is_urgent = self.is_wanted = True
        self.demand = Demand()
        self.told_to_leave = threading.Event()

    @property
    def is_busy(self) -> bool:
        return self.shared.chance(0.3)

    def wait_for_room(self, why: str) -> None:
        """Now and then nobody wants it any more while it waits."""
        assert self.model in SIZES
        assert why
        if self.shared.chance(0.05):
            self.is_wanted = False

    def leave(self, cause: UnloadCause) -> None:
        assert cause == "evicted"
        assert not self.is_pinned
        self.told_to_leave.set()

    def stay(self) -> None:
        self.told_to_leave.clear()

    def rest(self) -> None: ...

    def live(self) -> None:
        """Be loaded, and end in one way or another, many times."""
        for _ in range(N_ROUNDS):
            self.is_wanted, self.is_urgent = True, self.shared.chance(0.8)
            self.shared.dawdle()
            with self.shared.lock:
                others_bytes = self.shared.machine.others_bytes
            try:
                admitted = self.admission.enter(cast(Residence, self), self.plan, "demand")
            except NoRoom:
                self.shared.count("refused")
                continue
            if admitted:
                self._run(others_bytes)
            else:
                self.shared.count("given up")

    def _run(self, others_bytes: int) -> None:
        """From the spawn of a runner until it is reaped. Others had taken so much when room was asked for."""
        claim = claim_of(self.plan)
        with self.shared.lock:
            machine = self.shared.machine
            machine.start(self.model, claim)
            promised_bytes = TOTAL_BYTES - machine.others_bytes - machine.spare_bytes
            if promised_bytes > TOTAL_BYTES - others_bytes - RESERVE_BYTES:
                self.shared.overcommitted.append(self.model)
        self.shared.count("admitted")
        for share in (0.3, 0.7, 1.0):
            self.shared.dawdle()
            with self.shared.lock:
                machine.grow(self.model, share)
        if self.shared.chance(0.8):  # else it crashes while it loads
            self.admission.ready(self.plan, None)
            while not self.told_to_leave.is_set() and self.shared.chance(0.7):
                self.shared.dawdle()
        if self.told_to_leave.is_set():
            self.shared.count("evicted")
        with self.shared.lock:
            machine.end(self.model)
        self.admission.leave(cast(Residence, self))
        self.told_to_leave.clear()


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_promised_that_a_growing_neighbour_has_taken(seed: int) -> None:
    """Others only grow here, so at any admission no less was taken than when that load asked for room."""
    shared = Shared(seed)
    admission = Admission(Memory(reserve=Bytes(RESERVE_BYTES)), shared.facts, shared.held)
    guests = [Guest(shared, admission, sized_plan(model, size)) for model, size in SIZES.items()]
    threads = [threading.Thread(target=guest.live, daemon=True) for guest in guests]
    for thread in threads:
        thread.start()
    for _ in range(N_GROWTHS):
        for _ in range(8):
            shared.dawdle()
        with shared.lock:
            shared.machine.others_bytes += min(GROWTH_BYTES, max(0, shared.machine.available_bytes))
    for thread in threads:
        thread.join(3 * PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
    assert shared.overcommitted == []
    assert admission.account.taken_bytes == 0
    ends = shared.ends
    assert ends["admitted"] + ends["refused"] + ends["given up"] == N_ROUNDS * len(SIZES)
    assert ends["admitted"] > N_ROUNDS
    assert ends["evicted"] > 0
