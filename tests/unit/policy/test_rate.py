import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.snapshot import StorageFacts
from edged.policy.rate import Rate, rate_of
from edged.policy.types import Measured
from tests.unit.policy.machines import machine, model, plan_one

MB = 1_000_000


def storage(bytes_per_s: float | None, measured_bytes: int = 0) -> StorageFacts:
    return StorageFacts(
        path="/m", device="mmcblk0", sequential_bytes_per_s=bytes_per_s, measured_bytes=measured_bytes
    )


def loads_got(bytes_per_s: float) -> Measured:
    return Measured(bytes_per_s={"mmcblk0": bytes_per_s})


@pytest.mark.parametrize(
    ("probed", "probe_bytes", "loaded", "believed", "words"),
    [
        (40e6, 8 * MB, 42e6, 40e6, ""),
        (40e6, 8 * MB, 30e6, 30e6, "it read for longer"),
        (40e6, 8 * MB, 60e6, 60e6, "it read for longer"),
        (40e6, 8 * MB, 20e6, 40e6, "too different"),  # two loads shared it, or it was busy
        (20e6, 4 * MB, 90e6, 20e6, "too different"),  # another card
        (1e9, 30 * MB, 400e6, 400e6, "it read for longer"),  # a burst hid the limit
        (1e9, 30 * MB, 2.8e9, 2.8e9, "it read for longer"),
        (1e9, 30 * MB, 20e6, 1e9, "too different"),
    ],
)
def test_which_rate_is_believed(
    probed: float, probe_bytes: int, loaded: float, believed: float, words: str
) -> None:
    found = rate_of(storage(probed, probe_bytes), loads_got(loaded))

    assert found.bytes_per_s == believed
    assert words in found.reason
    assert bool(found.reason) == bool(words)


def test_one_of_them_or_none() -> None:
    assert rate_of(storage(40e6), Measured()) == Rate(bytes_per_s=40e6)
    assert rate_of(storage(None), Measured()) == Rate(bytes_per_s=None)
    assert rate_of(None, loads_got(40e6)) == Rate(bytes_per_s=None)
    only_loaded = rate_of(storage(None), loads_got(40e6))
    assert only_loaded.bytes_per_s == 40e6
    assert "not measured now" in only_loaded.reason


def test_another_device_says_nothing() -> None:
    measured = Measured(bytes_per_s={"sda": 30e6})
    assert rate_of(storage(40e6, 8 * MB), measured) == Rate(bytes_per_s=40e6)


def test_no_load_is_believed_beyond_a_limit() -> None:
    limited = msgspec.structs.replace(storage(40e6, 8 * MB), limit_bytes_per_s=40_000_000)
    assert rate_of(limited, loads_got(70e6)) == Rate(bytes_per_s=40e6)


rates = st.floats(1.0, 1e12)


@given(rates, rates, st.integers(0, 32 * MB))
def test_it_is_always_one_of_the_two(probed: float, loaded: float, probe_bytes: int) -> None:
    found = rate_of(storage(probed, probe_bytes), loads_got(loaded))

    assert found.bytes_per_s in (probed, loaded)
    assert math.isfinite(found.bytes_per_s or math.nan)


def test_the_plan_says_which_rate_it_rests_on_where_something_must_be_read() -> None:
    snapshot, measured = machine(bytes_per_s=40e6), loads_got(30e6)

    plan = plan_one(snapshot, model("smollm2"), measured=measured)

    assert any("it read for longer" in reason for reason in plan.reasons)
    cached = plan_one(machine(bytes_per_s=40e6, cached_share=1.0), model("smollm2"), measured=measured)
    assert not any("it read for longer" in reason for reason in cached.reasons)
