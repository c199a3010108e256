"""Few candidates decide as all of them would."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.runner.engine.candidates import Recent, candidates, likeliest


@given(st.integers(0, 2**32 - 1), st.sampled_from([64 * 100, 64 * 100 + 37, 49152]), st.integers(1, 60))
def test_the_likeliest_are_all_there(seed: int, n_vocab: int, count: int) -> None:
    logits = np.random.default_rng(seed).normal(size=n_vocab).astype(np.float32)
    found = likeliest(logits, count)
    if found is None:
        assert count > n_vocab // 64 // 4
        return
    assert set(np.argsort(-logits)[:count]) <= set(found)
    assert list(found) == sorted(found)


@pytest.mark.parametrize("value", [0.0, np.nan, -np.inf])
def test_where_nothing_stands_out_all_are_taken(value: float) -> None:
    assert likeliest(np.full(64 * 200, value, np.float32), 10) is None


@pytest.mark.parametrize("count", [0, 51, 10_000])
def test_counts_for_which_all_are_taken(count: int) -> None:
    assert likeliest(np.arange(64 * 200, dtype=np.float32), count) is None


def test_candidates_are_what_llama_cpp_takes() -> None:
    logits = np.array([5, 6, 7], np.float32)
    assert candidates(logits, np.array([0, 2])).tolist() == [(0, 5.0, 0.0), (2, 7.0, 0.0)]
    assert candidates(logits, None)["id"].tolist() == [0, 1, 2]
    assert candidates(logits, None).itemsize == 12


@given(st.integers(1, 6), st.lists(st.integers(0, 4)), st.lists(st.integers(0, 4)))
def test_recent_tokens_are_those_in_the_window(last_n: int, before: list[int], added: list[int]) -> None:
    recent = Recent(last_n, before)
    for token in added:
        recent.add(token)
    assert sorted(recent.tokens()) == sorted(set((before + added)[-last_n:]))
    assert len(recent) == len(recent.tokens())
