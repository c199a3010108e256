"""What measured steps say about the next one."""

import pytest

from edged.runner.engine.pace import Pace


def test_chunks_fill_the_bound_beside_the_time_that_decoding_takes() -> None:
    pace = Pace(0.1, 64)
    assert pace.chunk_tokens == 64
    pace.measured(0, 100, 0.2)
    assert pace.chunk_tokens == 50
    pace.measured(4, 0, 0.02)
    assert pace.chunk_tokens == 40
    pace.measured(4, 40, 0.02 + 40 * 0.002)
    assert pace.chunk_tokens == pytest.approx(40, abs=1)


def test_chunks_follow_a_machine_that_becomes_slower() -> None:
    pace = Pace(0.1, 64)
    pace.measured(0, 100, 0.1)
    for _ in range(20):
        pace.measured(0, 100, 0.4)
    assert 24 <= pace.chunk_tokens <= 26


def test_prompts_do_not_starve_where_decoding_alone_is_over_the_bound() -> None:
    pace = Pace(0.1, 64)
    pace.measured(0, 100, 1.0)
    pace.measured(1, 0, 0.5)
    assert pace.chunk_tokens == 50
    pace.measured(0, 100, 1000.0)
    assert pace.chunk_tokens == 16


def test_a_few_tokens_of_a_prompt_say_nothing_about_its_pace() -> None:
    pace = Pace(0.1, 64)
    pace.measured(0, 3, 1.0)
    assert pace.chunk_tokens == 64
    assert pace.work_s(10, 10, 1) is None


def test_answers_share_their_steps() -> None:
    pace = Pace(0.1, 64)
    pace.measured(0, 100, 1.0)
    pace.measured(4, 0, 0.05)
    assert pace.work_s(200, 400, 4) == pytest.approx(2.0 + 5.0)
