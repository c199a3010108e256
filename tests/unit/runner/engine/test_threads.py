"""The number of threads on simulated machines: right soon, back soon, cheap, and steady."""

import random
from collections.abc import Callable

import pytest

from edged.runner.engine.threads import Threads

StepTime = Callable[[int, float], float]  # seconds, by threads and time


class Run:
    """What a simulated run of steps was like."""

    def __init__(self) -> None:
        self.used: list[tuple[float, int]] = []
        self.taken_s = 0.0
        self.tokens = 0

    def at(self, begin_s: float, end_s: float) -> dict[int, int]:
        """How many steps had each number between two times."""
        counts: dict[int, int] = {}
        for now_s, number in self.used:
            if begin_s <= now_s < end_s:
                counts[number] = counts.get(number, 0) + 1
        return counts

    def mostly(self, begin_s: float, end_s: float) -> int:
        """The number of most steps between two times."""
        counts = self.at(begin_s, end_s)
        return max(counts, key=lambda number: counts[number])


def run(
    step_s: StepTime,
    until_s: float,
    idle: Callable[[int, float], float] = lambda *_: 0.0,
    most: int = 2,
    n_tokens: Callable[[], int] = lambda: 1,
) -> Run:
    """Steps on a machine that takes `step_s` a token, whose idle cores are seen four times a second."""
    threads, result = Threads(most), Run()
    now_s = looked_s = 0.0
    while now_s < until_s:
        size = n_tokens()
        number = threads.next(size, now_s)
        assert 1 <= number <= most
        result.used.append((now_s, number))
        taken_s = step_s(number, now_s) * size
        now_s += taken_s
        threads.record(size, taken_s, now_s)
        result.tokens += size
        if threads.below_most and now_s - looked_s > 0.25:
            looked_s = now_s
            threads.idle(idle(number, now_s))
    result.taken_s = now_s
    return result


def two_cores(busy: Callable[[float], bool], noise: random.Random) -> StepTime:
    """As measured with a small model: 5.5 ms with two threads alone, 33 ms beside a busy neighbour."""

    def step_s(threads: int, now_s: float) -> float:
        base_s = {1: 0.0065, 2: 0.033 if busy(now_s) else 0.0055}[threads]
        return base_s * noise.uniform(0.9, 1.1)

    return step_s


def idle_beside(busy: Callable[[float], bool]) -> Callable[[int, float], float]:
    """Idle cores of two."""
    return lambda threads, now_s: max(0.0, 2.0 - threads - busy(now_s))


@pytest.mark.parametrize("seed", range(20))
def test_alone_all_cores_and_trials_cost_next_to_nothing(seed: int) -> None:
    noise = random.Random(seed)
    alone = run(two_cores(lambda _: False, noise), 60)
    assert alone.mostly(0, 60) == 2
    assert alone.taken_s / alone.tokens < 0.0055 * 1.02


@pytest.mark.parametrize("seed", range(20))
def test_fewer_within_a_second_of_a_neighbour_and_back_within_a_second_of_its_end(seed: int) -> None:
    def busy(now_s: float) -> bool:
        return 10 <= now_s < 40

    found = run(two_cores(busy, random.Random(seed)), 60, idle_beside(busy))
    assert found.mostly(9, 10) == 2
    assert found.mostly(11, 12) == 1
    assert found.at(11, 40)[1] > 0.97 * sum(found.at(11, 40).values())
    assert found.mostly(41, 42) == 2


def test_beside_a_neighbour_from_the_start() -> None:
    found = run(two_cores(lambda _: True, random.Random(0)), 30, idle_beside(lambda _: True))
    assert found.mostly(1, 2) == 1
    assert found.tokens > 0.95 * 29 / 0.0065


def test_back_although_no_idle_core_is_seen() -> None:
    """A quota that was raised, or a kernel that hides the others."""
    found = run(two_cores(lambda now_s: now_s < 20, random.Random(1)), 60)
    assert found.mostly(19, 20) == 1
    assert found.mostly(30, 60) == 2


def test_idle_cores_that_cannot_be_used_are_tried_rarely() -> None:
    """Below a quota of one core the machine may idle: the second thread only gets the first one stopped."""
    found = run(lambda threads, _: {1: 0.01, 2: 0.05}[threads], 120, lambda *_: 1.0)
    assert found.taken_s / found.tokens < 0.01 * 1.04


def test_numbers_that_are_equally_fast_do_not_flap() -> None:
    noise = random.Random(3)
    found = run(lambda *_: 0.01 * noise.uniform(0.7, 1.3), 120)
    changes = sum(a[1] != b[1] for a, b in zip(found.used, found.used[1:], strict=False))
    assert changes < 0.05 * len(found.used)


def test_four_cores_find_the_three_that_are_free() -> None:
    noise = random.Random(4)

    def step_s(threads: int, now_s: float) -> float:
        slowed = 4.0 if threads == 4 else 1.0
        return 0.04 / threads * slowed * noise.uniform(0.9, 1.1)

    assert run(step_s, 30, most=4).mostly(5, 30) == 3


def test_prompts_and_answers_learn_apart() -> None:
    """Beside a neighbour prompts, with few barriers, may still gain by a second thread."""
    threads = Threads(2)
    now_s = 0.0
    used: dict[int, int] = {}
    for step in range(4000):
        size = 128 if step % 10 == 0 else 1
        number = threads.next(size, now_s)
        taken_s = {1: 0.4, 2: 0.25}[number] if size == 128 else {1: 0.0065, 2: 0.033}[number]
        now_s += taken_s
        threads.record(size, taken_s, now_s)
        used[size] = used.get(size, 0) + number
    assert used[128] > 1.8 * 400
    assert used[1] < 1.2 * 3600


def test_steps_of_changing_sizes_are_compared_only_with_their_like() -> None:
    noise = random.Random(5)
    found = run(two_cores(lambda _: True, noise), 60, n_tokens=lambda: noise.choice((1, 2, 5, 9)))
    assert found.mostly(5, 60) == 1


def test_one_core_leaves_no_choice() -> None:
    found = run(lambda *_: 0.01, 20, lambda *_: 3.0, most=1)
    assert found.mostly(0, 20) == 1


def test_prompts_are_left_alone_while_decoding_shows_that_all_cores_are_free() -> None:
    threads = Threads(2)
    now_s, tried = 0.0, 0
    for step in range(3000):
        size = 300 if step % 48 == 0 else 1
        number = threads.next(size, now_s)
        tried += size == 300 and number == 1
        taken_s = size * (0.0052 if size == 1 else 0.0013) * (1.0 if number == 2 else 1.9)
        now_s += taken_s
        threads.record(size, taken_s, now_s)
    assert tried == 0


def test_what_decoding_finds_is_tried_with_the_next_prompt() -> None:
    threads = Threads(2)
    now_s = 0.0
    prompts: list[int] = []
    for step in range(600):
        size = 300 if step % 48 == 47 else 1
        number = threads.next(size, now_s)
        if size == 300:
            prompts.append(number)
        taken_s = size * 0.005 * (4.0 if number == 2 else 1.2)  # a neighbour has one of the cores
        now_s += taken_s
        threads.record(size, taken_s, now_s)
    assert set(prompts[6:]) == {1}


def test_losses_are_paid_back_by_computing_not_by_waiting() -> None:
    threads = Threads(2)
    now_s, taken_by_trials_s, computed_s = 0.0, 0.0, 0.0
    for _ in range(400):  # prompts only, as an encoder has them, each after an idle second
        number = threads.next(300, now_s)
        taken_s = 0.2 if number == 2 else 0.4
        taken_by_trials_s += taken_s - 0.2
        computed_s += taken_s
        now_s += taken_s + 1.0
        threads.record(300, taken_s, now_s)
    assert taken_by_trials_s < 0.04 * computed_s


@pytest.mark.parametrize("lasts_s", [0.6, 1.5, 3.0, 10.0])
def test_after_a_short_collapse_all_cores_are_used_again_soon(lasts_s: float) -> None:
    """A trial in the midst of it loses seconds, which are not paid back while the cores stand idle."""

    def taken_beside(number: int, now_s: float) -> float:
        collapses = 5.0 <= now_s < 5.0 + lasts_s
        return 0.028 if number == 1 else 0.6 if collapses else 0.019

    def idle(number: int, now_s: float) -> float:
        return 0.2 if 5.0 <= now_s < 5.0 + lasts_s else 0.95

    found = run(taken_beside, 60.0, idle)
    assert found.mostly(15.0 + lasts_s, 60.0) == 2
    assert found.at(15.0 + lasts_s, 60.0).get(1, 0) < 60
