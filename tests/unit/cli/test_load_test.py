"""What many clients saw, as a few numbers."""

from itertools import count

import pytest

from edged.cli.bench import table
from edged.cli.load_test import Sample, measure, percentile, summary, words
from edged.errors import EdgedError


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(each) for each in range(1, 101)]
    assert [percentile(values[::-1], share) for share in (50, 95, 99)] == [50, 95, 99]
    assert percentile([7.0], 99) == 7
    assert percentile([], 50) is None


def test_a_summary_leaves_the_first_token_out_of_the_pace() -> None:
    samples = [Sample(0.5, 1.5, 11), Sample(1.0, 2.0, 21), Sample(0.2, 0.2, 1)]
    found = summary(3, samples, ["no room"], elapsed_s=2.0)
    assert (found.answers, found.failures, found.first_failure) == (3, 1, "no room")
    assert (found.first_p50_s, found.answer_p95_s) == (0.5, 2.0)
    assert found.each_per_s == pytest.approx(10)
    assert found.all_per_s == pytest.approx(33 / 2)


def test_nothing_answered_is_shown_as_such() -> None:
    found = summary(1, [], ["no room"], elapsed_s=2.0)
    [_, generated] = table([found], embedded=False).splitlines()
    [_, embedded] = table([found], embedded=True).splitlines()
    assert generated.split() == ["1", "0", "1", *["-"] * 6, "0.0"]
    assert embedded.split() == ["1", "0", "1", *["-"] * 3, "0.0"]


def test_times_have_their_unit() -> None:
    [_, line] = table([summary(2, [Sample(0.0125, 1.5, 3)], [], 1.0)], embedded=False).splitlines()
    assert line.split()[3:5] == ["12.5", "ms"]
    assert "1.50 s" in line


def test_each_request_is_another_one_and_failures_are_counted() -> None:
    asked: list[int] = []

    def ask(number: int) -> Sample:
        asked.append(number)
        if number % 2:
            raise EdgedError("odd")
        return Sample(0.1, 0.1, 1)

    found = measure(ask, 2, 0.05, count(4))
    assert len(set(asked)) == len(asked) == found.answers + found.failures
    assert min(asked) == 4
    assert found.first_failure == "odd"
    assert words(1, 8) != words(2, 8)
    assert words(1, 8) == words(1, 8)
    assert len(words(1, 8).split()) == 8
