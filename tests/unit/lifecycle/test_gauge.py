"""What models may take is what is there, and while runners end what will be there in a moment."""

from collections.abc import Collection

from edged.config.schema import Bytes, Memory
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle.gauge import MemoryGauge

MIB = 1 << 20


class Machine:
    """Memory in MiB, and the time."""

    def __init__(self, *, reserve: int = 0, budget: int | None = None) -> None:
        self.available, self.held, self.now_s = 100, 0, 0.0
        memory = Memory(
            reserve=Bytes(reserve * MIB), budget="auto" if budget is None else Bytes(budget * MIB)
        )
        self.gauge = MemoryGauge(memory, self._facts, self._held_bytes, lambda: self.now_s)

    def _facts(self) -> MemoryFacts:
        return MemoryFacts(available_bytes=self.available * MIB)

    def _held_bytes(self, _pids: Collection[int]) -> int:
        return self.held * MIB

    def read(self, *, ending: bool = False, as_planned: bool = False) -> int:
        """The budget in MiB."""
        return self.gauge.read([1], ending=ending, as_planned=as_planned) // MIB

    @property
    def settled(self) -> int:
        """The budget in a moment, in MiB."""
        return self.gauge.settled_bytes // MIB


def test_what_models_hold_is_theirs() -> None:
    machine = Machine()
    machine.available, machine.held = 40, 60
    assert machine.read() == 100


def test_what_a_runner_gives_back_will_be_there_in_a_moment() -> None:
    machine = Machine()
    machine.available, machine.held = 40, 60
    assert (machine.read(), machine.settled) == (100, 100)
    machine.held = 0  # its pages are not free yet
    assert (machine.read(), machine.settled) == (40, 40)
    assert (machine.read(ending=True), machine.settled) == (40, 100)
    machine.gauge.ended()
    machine.now_s = 0.5
    assert machine.gauge.settles
    assert (machine.read(), machine.settled) == (40, 100)
    machine.available = 100
    machine.now_s = 1.5
    assert not machine.gauge.settles
    assert (machine.read(), machine.settled) == (100, 100)


def test_what_others_take_while_a_runner_ends_is_noticed_all_the_same() -> None:
    machine = Machine()
    machine.read()
    machine.available = 30
    machine.now_s = 2.0
    assert (machine.read(ending=True), machine.settled) == (30, 100)
    machine.now_s = 3.5
    assert (machine.read(ending=True), machine.settled) == (30, 30)


def test_half_of_the_reserve_is_for_what_changes_after_planning() -> None:
    machine = Machine(reserve=20)
    machine.gauge.planned_bytes = 80 * MIB
    for available, budget in ((100, 80), (95, 80), (90, 80), (85, 75), (120, 100)):
        machine.available = available
        assert machine.read() == budget
    machine.available = 85
    assert machine.read(as_planned=True) == 80


def test_memory_beyond_the_budget_keeps_files_cached() -> None:
    machine = Machine(budget=30)
    assert machine.read() == 30
    assert machine.gauge.cache_bytes == 70 * MIB
    assert Machine().read() == 100
