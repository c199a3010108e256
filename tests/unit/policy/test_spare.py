"""Which machines can afford a runner that only waits."""

import pytest

from edged.config.schema import Bytes, Memory
from edged.hw.snapshot import MemoryFacts
from edged.policy.spare import SPARE_BYTES, capacity_bytes, is_small_share

MIB = 1 << 20


@pytest.mark.parametrize(
    ("total_mib", "limit_mib", "budget_mib", "affordable"),
    [
        (512, None, None, False),
        (430, None, None, False),  # a board of 512 MB whose graphics have some of it
        (900, None, None, True),
        (1024, None, None, True),
        (8192, 512, None, False),
        (8192, 1024, None, True),
        (8192, None, 256, False),
        (8192, None, 1024, True),
        (None, None, None, False),
    ],
)
def test_a_spare_is_a_small_part_of_what_models_may_have(
    total_mib: int | None, limit_mib: int | None, budget_mib: int | None, affordable: bool
) -> None:
    facts = MemoryFacts(
        total_bytes=None if total_mib is None else total_mib * MIB,
        cgroup_limit_bytes=None if limit_mib is None else limit_mib * MIB,
    )
    memory = Memory(budget="auto" if budget_mib is None else Bytes(budget_mib * MIB))
    assert is_small_share(SPARE_BYTES, capacity_bytes(facts, memory)) == affordable


def test_the_reserve_is_not_for_models() -> None:
    facts = MemoryFacts(total_bytes=1024 * MIB)
    assert capacity_bytes(facts, Memory(reserve=Bytes(24 * MIB))) == 1000 * MIB
    assert capacity_bytes(facts, Memory(reserve=Bytes(2048 * MIB))) == 0
