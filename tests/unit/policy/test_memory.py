"""How memory is divided."""

from hypothesis import given
from hypothesis import strategies as st

from edged.config.schema import Bytes, Memory
from edged.hw.snapshot import MemoryFacts
from edged.policy.memory import budget_of, divided
from tests.unit.policy.machines import MIB


@given(
    st.integers(min_value=0, max_value=10**12),
    st.lists(st.integers(min_value=0, max_value=10**12), max_size=6),
)
def test_division_is_fair_and_wastes_nothing(spare_bytes: int, wants_bytes: list[int]) -> None:
    parts = divided(spare_bytes, wants_bytes)
    assert sum(parts) <= spare_bytes
    assert all(0 <= part <= want for part, want in zip(parts, wants_bytes, strict=True))
    unmet = [part for part, want in zip(parts, wants_bytes, strict=True) if part < want]
    # Whoever gets less than wanted gets no less than anybody else, but for a byte of rounding.
    assert all(part + len(parts) >= max(parts) for part in unmet)
    assert not unmet or sum(parts) > spare_bytes - len(parts)


def test_division_by_hand() -> None:
    assert divided(100, [10, 200, 200]) == (10, 45, 45)
    assert divided(100, [200, 10, 30]) == (60, 10, 30)
    assert divided(0, [5, 5]) == (0, 0)
    assert divided(100, []) == ()


def test_the_budget_leaves_the_reserve() -> None:
    facts = MemoryFacts(available_bytes=500 * MIB)
    assert budget_of(facts, Memory()).total_bytes == 372 * MIB
    assert budget_of(facts, Memory(reserve=Bytes(0))).total_bytes == 500 * MIB
    assert budget_of(facts, Memory(reserve=Bytes(600 * MIB))).total_bytes == 0
    assert budget_of(facts, Memory(budget=Bytes(100 * MIB))).total_bytes == 100 * MIB
    assert budget_of(facts, Memory(budget=Bytes(800 * MIB))).total_bytes == 372 * MIB


def test_the_tightest_limit_counts() -> None:
    facts = MemoryFacts(available_bytes=900 * MIB, cgroup_limit_bytes=300 * MIB, cgroup_used_bytes=50 * MIB)
    assert budget_of(facts, Memory(reserve=Bytes(0))).total_bytes == 250 * MIB


def test_unknown_memory_has_no_number_of_its_own() -> None:
    assert not budget_of(MemoryFacts(), Memory()).is_known
    assert budget_of(MemoryFacts(), Memory(budget=Bytes(MIB))).total_bytes == MIB
