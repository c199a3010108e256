"""The size of micro-batches follows what was measured."""

from collections.abc import Callable

import pytest

from edged.runner.engine.batch_size import SIZES, BatchSize


def _run(sizes: BatchSize, seconds: Callable[[int], float], n_batches: int) -> list[int]:
    used = []
    for _ in range(n_batches):
        used.append(sizes.tokens)
        sizes.measured(sizes.tokens, seconds(sizes.tokens))
    return used


@pytest.mark.parametrize("fastest", SIZES)
def test_the_cheapest_size_per_token_is_found_and_kept(fastest: int) -> None:
    sizes = BatchSize(512)
    _run(sizes, lambda n: n * (1 + abs(SIZES.index(n) - SIZES.index(fastest))), 400)
    later = _run(sizes, lambda n: n * (1 + abs(SIZES.index(n) - SIZES.index(fastest))), 100)
    assert later.count(fastest) >= 95


def test_a_larger_size_must_be_worth_it() -> None:
    sizes = BatchSize(512)
    used = _run(sizes, lambda n: n * (1 - n * 1e-5), 500)
    assert max(set(used[-100:]), key=used.count) == min(SIZES)


def test_one_disturbed_batch_changes_nothing() -> None:
    sizes = BatchSize(512)
    _run(sizes, lambda n: n * (1.0 if n == 192 else 1.5), 200)
    while sizes.tokens != 192:
        sizes.measured(sizes.tokens, sizes.tokens * 1.5)
    sizes.measured(192, 192 * 50.0)
    assert sizes.tokens == 192 or _run(sizes, lambda n: n * (1.0 if n == 192 else 1.5), 2)[-1] == 192


def test_what_changes_later_is_noticed() -> None:
    sizes = BatchSize(512)
    _run(sizes, lambda n: n * (1.0 if n == 192 else 1.5), 200)
    _run(sizes, lambda n: n * (1.0 if n == 256 else 1.5), 600)
    assert _run(sizes, lambda n: n * (1.0 if n == 256 else 1.5), 50).count(256) >= 45


def test_part_batches_say_nothing() -> None:
    sizes = BatchSize(512)
    before = sizes.tokens
    for _ in range(100):
        sizes.measured(10, 99.0)
        sizes.measured(4000, 99.0)
    assert sizes.tokens == before


@pytest.mark.parametrize("most", [1, 5, 95, 96, 300, 8192])
def test_no_size_is_beyond_the_context(most: int) -> None:
    sizes = BatchSize(most)
    assert max(_run(sizes, lambda n: n * 1.0, 100)) <= most
