"""How long it takes to bring a model back."""

import msgspec
import pytest

from edged.policy.reload_time import reload_s, wanted_bytes
from edged.policy.types import ByteRange, LoadPlan
from tests.plans import fake_plan


def plan(prefetch_bytes: int, started_s: float, bytes_per_s: float | None) -> LoadPlan:
    """A plan for a file of 100 bytes."""
    found = fake_plan()
    predicted = msgspec.structs.replace(
        found.predicted, file_bytes=100, started_s=started_s, read_bytes_per_s=bytes_per_s
    )
    prefetch = (ByteRange(0, prefetch_bytes),) if prefetch_bytes else ()
    return msgspec.structs.replace(found, predicted=predicted, prefetch=prefetch)


def test_reading_and_starting_go_on_at_the_same_time() -> None:
    assert reload_s(plan(80, 0.5, 20.0)) == pytest.approx(4.0)
    assert reload_s(plan(80, 5.0, 20.0)) == pytest.approx(5.0)


def test_what_is_cached_is_not_read() -> None:
    assert reload_s(plan(80, 0.5, 20.0), cached_bytes=40) == pytest.approx(2.0)
    assert reload_s(plan(80, 0.5, 20.0), cached_bytes=1000) == pytest.approx(0.5)


def test_without_reading_ahead_all_that_is_used_is_read() -> None:
    assert wanted_bytes(plan(80, 0.5, None)) == 80
    assert wanted_bytes(plan(0, 0.5, None)) == 100


def test_an_unknown_rate_leaves_the_reading_out() -> None:
    assert reload_s(plan(80, 0.5, None)) == pytest.approx(0.5)
