"""The weight format of a converted model follows from what was measured."""

import pytest

from edged.policy.weights import choose_weights

_FAST_BF16 = {"q8_0": 2e-4, "f16": 1.9e-4, "bf16": 1.25e-4}


def test_the_fastest_is_taken_and_the_numbers_said() -> None:
    weights, reason = choose_weights("q8_0", _FAST_BF16, "ssd")
    assert weights == "bf16"
    assert reason == (
        "weights bf16: 1.60 times as fast as q8_0 on this CPU (q8_0 5000, f16 5263, bf16 8000 tokens/s)"
    )


@pytest.mark.parametrize("kind", ["ssd", None, "sd"])
def test_twice_the_bytes_must_be_worth_it(kind: str | None) -> None:
    weights, reason = choose_weights("q8_0", {"q8_0": 2e-4, "f16": 1.9e-4}, kind)
    assert weights == "q8_0"
    assert "as fast as any" in reason


def test_an_sd_card_keeps_the_small_file() -> None:
    weights, reason = choose_weights("q8_0", _FAST_BF16, "sd")
    assert weights == "q8_0"
    assert "SD card" in reason
