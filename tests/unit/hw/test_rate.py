import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.rate import TimedRead, is_settled, random_latency_s, sequential_bytes_per_s

MIB = 1 << 20
FAST = 1e9  # bytes/s of the disk behind a limit


def even(n_bytes: int, seconds: float, count: int) -> list[TimedRead]:
    """Reads that each take the same time."""
    return [TimedRead(i * seconds, (i + 1) * seconds, n_bytes) for i in range(count)]


def limited(
    bytes_per_s: float, until_bytes: int, until_s: float, slice_age_s: float = 0.0
) -> list[TimedRead]:
    """Reads of 1 MiB as blk-throttle lets them through: slices of 0.1 s, the first one begun earlier."""
    reads: list[TimedRead] = []
    now, dispatched = slice_age_s, 0.0
    while dispatched < until_bytes and now - slice_age_s < until_s:
        start = now
        slices = math.ceil(round(now / 0.1, 9)) or 1
        over = dispatched + MIB - bytes_per_s * slices * 0.1
        if over > 0:
            now = slices * 0.1 + over / bytes_per_s
        now += MIB / FAST
        dispatched += MIB
        reads.append(TimedRead(start, now, MIB))
    return reads


def test_none_without_reads() -> None:
    assert sequential_bytes_per_s([], 0.0) is None
    assert random_latency_s([]) is None


def test_even_reads() -> None:
    assert sequential_bytes_per_s(even(MIB, 0.05, 5), 0.0) == pytest.approx(MIB / 0.05)


def test_the_waiting_that_readahead_hides_is_taken_off() -> None:
    assert sequential_bytes_per_s(even(MIB, 0.025, 8), 0.005) == pytest.approx(MIB / 0.02)


def test_a_latency_longer_than_the_reads_does_not_explode() -> None:
    assert sequential_bytes_per_s(even(MIB, 0.01, 8), 0.02) == pytest.approx(MIB / 0.005)


@pytest.mark.parametrize("megabytes", [12, 20, 42, 94])
@pytest.mark.parametrize("slice_age_s", [0.0, 0.03, 0.09])
def test_a_limit_shows_behind_its_bursts(megabytes: int, slice_age_s: float) -> None:
    reads = limited(megabytes * 1e6, 31_500_000, 0.25, slice_age_s)

    assert sequential_bytes_per_s(reads, 0.0001) == pytest.approx(megabytes * 1e6, rel=0.15)


def test_one_stall_is_enough_when_the_slice_began_with_the_reads() -> None:
    reads = limited(300e6, 30_500_000, 0.25)

    assert sum(read.n_bytes for read in reads) < 32e6
    assert sequential_bytes_per_s(reads, 0.0) == pytest.approx(300e6, rel=0.15)


def test_one_stall_in_a_slice_that_others_began_is_counted_for_a_whole_one() -> None:
    reads = limited(250e6, 31_500_000, 0.25, slice_age_s=0.05)

    assert sequential_bytes_per_s(reads, 0.0) == pytest.approx(250e6, rel=0.15)


@pytest.mark.parametrize("megabytes", [20, 40, 90, 100])
def test_a_limit_up_to_100_mb_is_settled_within_bytes_and_time(megabytes: int) -> None:
    reads = limited(megabytes * 1e6, 31_500_000, 0.25)
    settled = next(count for count in range(1, len(reads) + 1) if is_settled(reads[:count]))

    assert sequential_bytes_per_s(reads[:settled], 0.0) == pytest.approx(megabytes * 1e6, rel=0.15)


@pytest.mark.parametrize("stalled", [0, 2])
def test_a_hiccup_is_no_limit(stalled: int) -> None:
    reads, now = [], 0.0
    for index in range(30):
        took = 0.05 if index == stalled else 0.01
        reads.append(TimedRead(now, now + took, MIB))
        now += took

    assert sequential_bytes_per_s(reads, 0.0) == pytest.approx(30 * MIB / now)


def test_settled_after_a_slice_of_even_reads() -> None:
    assert not is_settled(even(MIB, 0.02, 5))
    assert is_settled(even(MIB, 0.02, 7))


def test_settled_after_the_second_stall() -> None:
    reads = limited(20e6, 32 * MIB, 0.25)
    stalls = [index for index, read in enumerate(reads) if read.took_s > 0.05]

    assert not is_settled(reads[: stalls[1]])
    assert is_settled(reads[: stalls[1] + 1])


def test_a_burst_is_not_settled() -> None:
    assert not is_settled(limited(314e6, 16 * MIB, 0.25))


def test_the_first_random_read_does_not_move_the_median() -> None:
    assert random_latency_s([0.05, 0.001, 0.001]) == 0.001


reads_of_any_kind = st.lists(
    st.tuples(st.floats(0, 10), st.integers(1, 1 << 30)), min_size=1, max_size=50
).map(
    lambda pairs: [
        TimedRead(sum(p[0] for p in pairs[:i]), sum(p[0] for p in pairs[: i + 1]), pairs[i][1])
        for i in range(len(pairs))
    ]
)


@given(reads_of_any_kind, st.floats(0, 1))
def test_never_raises_and_never_invents(reads: list[TimedRead], overhead_s: float) -> None:
    rate = sequential_bytes_per_s(reads, overhead_s)
    is_settled(reads)

    assert rate is None or (math.isfinite(rate) and rate > 0)
