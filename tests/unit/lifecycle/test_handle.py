"""A model's life, with runners that do as the test says."""

import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edged.errors import Replaced, RunnerFailed, Unavailable
from edged.lifecycle import events
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.requests import Pending
from edged.lifecycle.runs import Means
from edged.lifecycle.supervision import Supervision
from edged.policy.types import LoadPlan
from edged.runner import protocol
from tests.plans import fake_plan
from tests.unit.lifecycle.scripted import (
    PATIENCE_S,
    READY,
    Noted,
    Runners,
    Scripted,
    eventually,
    in_background,
    unlimited,
)


class Model:
    """A handle and everything around it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runners = Runners(monkeypatch)
        self.noted = Noted()
        self.check: Callable[[LoadPlan], None] = lambda _plan: None
        self.handle = self.with_times()

    def with_times(
        self,
        *,
        load_timeout_s: float = PATIENCE_S,
        hang_timeout_s: float = PATIENCE_S,
        backoff_s: float = 0.01,
        backoff_max_s: float = 0.02,
    ) -> RunnerHandle:
        supervision = Supervision(
            load_timeout_s=load_timeout_s,
            hang_timeout_s=hang_timeout_s,
            backoff_s=backoff_s,
            backoff_max_s=backoff_max_s,
            max_queue_requests=4,
            max_queue_tokens=100,
            lease_fd=None,
        )
        means = Means(unlimited(), lambda plan: self.check(plan))
        self.handle = RunnerHandle(fake_plan(), supervision, self.noted, means)
        return self.handle

    def loaded(self) -> Scripted:
        """Load; returns the process."""
        self.handle.load("boot")
        process = self.runners.next()
        process.say(READY)
        self.handle.ensure_ready(PATIENCE_S)
        return process

    def unload(self, process: Scripted) -> None:
        """Unload; the process ends as it is told to."""
        process.end()
        self.handle.unload()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    return Model(monkeypatch)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(PATIENCE_S)
    assert not [thread for thread in left if thread.is_alive()]


def test_a_model_asked_for_while_it_is_unloaded_is_loaded_anew_and_has_not_failed(model: Model) -> None:
    process = model.loaded()
    unloading = in_background(model.handle.unload)
    process.next_sent(protocol.Shutdown)
    model.handle.load("demand")
    process.end()
    unloading.join(PATIENCE_S)
    assert not unloading.is_alive()
    again = model.runners.next()
    again.say(READY)
    model.handle.ensure_ready(PATIENCE_S)
    assert model.noted.failures.empty()
    assert model.handle.status().restarts == 0
    model.unload(again)


def test_an_unload_during_the_check_of_the_file_ends_that_load_even_if_another_follows(model: Model) -> None:
    checking, go_on = threading.Event(), threading.Event()

    def check(_plan: LoadPlan) -> None:
        checking.set()
        assert go_on.wait(PATIENCE_S)

    model.check = check
    model.handle.load("boot")
    assert checking.wait(PATIENCE_S)
    unloading = in_background(model.handle.unload)
    assert eventually(lambda: model.handle.status().state == "unloading")
    model.handle.load("demand")
    go_on.set()
    unloading.join(PATIENCE_S)
    assert not unloading.is_alive()
    process = model.runners.next()
    process.say(READY)
    model.handle.ensure_ready(PATIENCE_S)
    model.unload(process)


def test_a_model_whose_runner_has_ended_is_not_taken_for_ready(model: Model) -> None:
    process = model.loaded()
    reaping, reaped = threading.Event(), threading.Event()

    def wait() -> None:
        reaping.set()
        assert reaped.wait(PATIENCE_S)

    process.before_reaping = wait
    process.end(-9)
    assert reaping.wait(PATIENCE_S)
    with pytest.raises(Unavailable):
        model.handle.ensure_ready(0.0)
    reaped.set()
    assert "SIGKILL" in model.noted.next_failure()
    again = model.runners.next()
    again.say(READY)
    model.handle.ensure_ready(PATIENCE_S)
    model.unload(again)


def test_what_a_dead_runner_was_busy_with_is_not_shown(model: Model) -> None:
    process = model.loaded()
    process.say(protocol.Gauges(busy_slots=2, queued_requests=3, queued_tokens=4, drafted_tokens=7))
    assert eventually(lambda: model.handle.status().busy_slots == 2)
    assert model.handle.status().drafted_tokens == 7
    model.unload(process)
    status = model.handle.status()
    assert (status.state, status.busy_slots, status.queued_requests) == ("unloaded", 0, 0)


def test_an_unforeseen_error_is_a_failed_load_that_is_tried_again(model: Model) -> None:
    def check(_plan: LoadPlan) -> None:
        model.check = lambda _plan: None
        raise ZeroDivisionError("never foreseen")

    model.check = check
    model.handle.load("boot")
    assert "never foreseen" in model.noted.next_failure()
    process = model.runners.next()
    process.say(READY)
    model.handle.ensure_ready(PATIENCE_S)
    model.unload(process)


@pytest.mark.parametrize("second", [READY, protocol.LoadFailed("too late")])
def test_a_runner_that_breaks_the_order_of_frames_is_killed(
    model: Model, second: protocol.FromRunner
) -> None:
    process = model.loaded()
    process.say(second)
    assert "after Ready" in model.noted.next_failure()
    assert process.kills == 1
    again = model.runners.next()
    again.say(READY)
    model.handle.ensure_ready(PATIENCE_S)
    model.unload(again)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            protocol.Embeddings(id=1, n_embd=1, n_tokens=(1, 1), vectors=bytes(8)),
            "answered 1 inputs with 2 results",
        ),
        (protocol.Warmed(1, 0.1), "answered a request with something else"),
        (protocol.Admitted(1, 3, 0), "answered a request with something else"),
    ],
)
def test_a_runner_that_answers_what_was_not_asked_is_replaced(
    model: Model, answer: protocol.FromRunner, why: str
) -> None:
    process = model.loaded()
    errors: list[str] = []

    def embed() -> None:
        try:
            model.handle.embed(protocol.Embed(id=0, texts=("a",)), time.monotonic() + PATIENCE_S)
        except RunnerFailed as error:
            errors.append(str(error))

    asking = in_background(embed)
    request = process.next_sent(protocol.Embed)
    assert isinstance(request, protocol.Embed)
    process.at_work = frozenset({request.id})
    process.say(answer)
    asking.join(PATIENCE_S)
    assert errors == [f"m: the runner {why}; the model is being restarted"]
    assert process.kills == 1
    model.handle.unload()


def test_what_needs_no_slot_is_asked_and_answered(model: Model) -> None:
    process = model.loaded()
    assert model.handle.chat == READY.chat
    answers: list[object] = []
    deadline = time.monotonic() + PATIENCE_S

    def ask() -> None:
        answers.append(model.handle.tokenize(protocol.Tokenize(id=0, text="ab"), deadline))
        answers.append(model.handle.text(protocol.Detokenize(id=0, tokens=(7,)), deadline))
        answers.append(model.handle.rank(protocol.Rank(id=0, query="a", documents=("b",)), deadline))

    asking = in_background(ask)
    process.next_sent(protocol.Tokenize)
    process.say(protocol.Tokens(id=1, tokens=(5, 6)))
    process.next_sent(protocol.Detokenize)
    process.say(protocol.Text(2, "c"))
    process.next_sent(protocol.Rank)
    process.say(protocol.Scores(id=3, scores=(0.5,), n_tokens=4))
    asking.join(PATIENCE_S)
    assert answers == [
        protocol.Tokens(id=1, tokens=(5, 6)),
        "c",
        protocol.Scores(id=3, scores=(0.5,), n_tokens=4),
    ]
    model.unload(process)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (
            protocol.Rank(id=0, query="a", documents=("b", "c")),
            protocol.Scores(id=1, scores=(1.0,), n_tokens=1),
        ),
        (protocol.Tokenize(id=0, text="a", pieces=True), protocol.Tokens(id=1, tokens=(1,))),
    ],
)
def test_answers_to_other_numbers_than_were_asked_end_their_runner(
    asked: protocol.Asked, answer: protocol.Scores | protocol.Tokens
) -> None:
    with pytest.raises(protocol.ProtocolError, match="results"):
        Pending(1, asked).check(answer)


def test_an_answer_that_goes_on_after_its_end_is_the_end_of_its_runner(model: Model) -> None:
    process = model.loaded()
    generation = model.handle.generate(protocol.Generate(id=0, text="a", n=2))
    last = protocol.TokenEvent(1, "word", 1, "stop")
    process.say(protocol.Step((last, last)))
    assert generation.poll(PATIENCE_S) == last
    with pytest.raises(RunnerFailed, match="continued an answer that has ended"):
        generation.poll(PATIENCE_S)
    model.handle.unload()


def test_a_load_that_goes_on_and_on_has_failed_though_it_gives_signs_of_life(model: Model) -> None:
    handle = model.with_times(load_timeout_s=0.3)
    handle.load("boot")
    process = model.runners.next()
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.01):
            process.say("still here")

    talking = in_background(talk)
    assert "loading.load_timeout (0.3 s)" in model.noted.next_failure()
    stop.set()
    talking.join()
    assert process.kills == 1
    handle.close()


def test_nobody_loads_a_closed_model(model: Model) -> None:
    handle = model.handle
    handle.load("boot")
    process = model.runners.next()
    refused: list[Unavailable] = []

    def wait() -> None:
        try:
            handle.ensure_ready(PATIENCE_S)
        except Unavailable as error:
            refused.append(error)

    waiting = in_background(wait)
    handle.close()
    waiting.join(PATIENCE_S)
    assert "shutting down" in str(refused[0])
    assert model.runners.none_left()
    assert process.kills == 0
    with pytest.raises(Unavailable):
        handle.load("demand")


def test_a_load_that_is_asked_for_during_a_back_off_is_waited_for(model: Model) -> None:
    handle = model.with_times(backoff_s=600, backoff_max_s=600)
    handle.load("boot")
    first = model.runners.next()
    first.say(protocol.LoadFailed("the file is damaged"))
    first.end(1)
    model.noted.next_failure()
    with pytest.raises(Unavailable, match="damaged"):
        handle.ensure_ready(PATIENCE_S)
    handle.load("demand")
    again = model.runners.next()
    again.say(READY)
    handle.ensure_ready(PATIENCE_S)
    model.unload(again)


def test_an_unload_ends_a_back_off(model: Model) -> None:
    handle = model.with_times(backoff_s=600, backoff_max_s=600)
    handle.load("boot")
    model.runners.next().end(1)
    model.noted.next_failure()
    handle.unload()
    assert handle.status().state == "unloaded"


def test_a_runner_that_hangs_is_replaced_and_its_requests_hear_it(model: Model) -> None:
    model.with_times(hang_timeout_s=0.1)
    process = model.loaded()
    generation = model.handle.generate(protocol.Generate(id=0, text="a"))
    process.at_work = frozenset({1})
    process.next_sent(protocol.Ping)
    assert model.noted.failures.empty()
    process.hangs = True
    assert "no sign of life for 0.1 s (loading.hang_timeout)" in model.noted.next_failure()
    assert process.kills == 1
    with pytest.raises(RunnerFailed, match="hangs"):
        generation.poll(PATIENCE_S)
    again = model.runners.next()
    again.say(READY)
    model.handle.ensure_ready(PATIENCE_S)
    assert model.noted.next_cause() == "boot"
    assert model.noted.next_cause() == "hung"
    model.unload(again)


def test_a_load_that_hangs_is_tried_again_and_given_up_after_three(model: Model) -> None:
    model.with_times(hang_timeout_s=0.1)
    model.handle.load("boot")
    for attempt in range(3):
        assert model.handle.status().given_up is None, attempt
        process = model.runners.next()
        process.hangs = True
        assert "while it was loading" in model.noted.next_failure()
    assert eventually(lambda: model.handle.status().given_up == "crashes")
    process = model.runners.next()
    process.say(READY)
    assert eventually(lambda: model.handle.status().state == "ready")
    assert model.handle.status().given_up is None
    model.unload(process)


def test_how_long_a_runner_has_been_silent_is_shown(model: Model) -> None:
    process = model.loaded()
    assert model.handle.is_supervised
    assert model.handle.status().silent_s < PATIENCE_S
    model.unload(process)
    assert model.handle.status().silent_s == 0.0
    assert model.handle.is_supervised


def test_requests_hear_that_their_model_was_unloaded(model: Model) -> None:
    process = model.loaded()
    generation = model.handle.generate(protocol.Generate(id=0, text="a"))
    model.unload(process)
    with pytest.raises(RunnerFailed, match="was unloaded"):
        generation.poll(PATIENCE_S)


def test_a_runner_that_the_kernel_took_for_memory_is_told_from_one_that_was_killed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter([3, 3, 3, 4])
    monkeypatch.setattr(events, "oom_kills", lambda: next(kills))
    model.with_times(backoff_s=0.01, backoff_max_s=0.01)
    model.loaded().end(-9)
    assert model.noted.next_failure() == "the runner was ended by SIGKILL while ready"
    again = model.runners.next()
    again.say(READY)
    model.handle.ensure_ready(PATIENCE_S)
    monkeypatch.setattr(events, "oom_kills", lambda: 4)
    again.end(-9)
    assert "no memory left" in model.noted.next_failure()
    model.runners.next().end()
    model.handle.unload()


def test_a_retired_model_answers_what_it_took_and_takes_nothing_more(model: Model) -> None:
    process = model.loaded()
    answers: list[int] = []

    def embed() -> None:
        frame = model.handle.embed(protocol.Embed(id=0, texts=("a",)), time.monotonic() + PATIENCE_S)
        answers.append(frame.n_embd)

    asking = in_background(embed)
    asked = process.next_sent(protocol.Embed)
    assert isinstance(asked, protocol.Embed)
    model.handle.retire()
    assert not model.handle.drain(time.monotonic())
    for refused in (
        lambda: model.handle.embed(protocol.Embed(id=0, texts=("b",)), time.monotonic() + PATIENCE_S),
        lambda: model.handle.load("demand"),
    ):
        with pytest.raises(Replaced):
            refused()
    process.say(protocol.Embeddings(id=asked.id, n_embd=4, n_tokens=(1,), vectors=b"\0" * 16))
    assert model.handle.drain(time.monotonic() + PATIENCE_S)
    asking.join(PATIENCE_S)
    assert answers == [4]
    process.end()
    model.handle.close()


def test_who_waits_for_a_load_is_sent_elsewhere_when_the_model_is_retired(model: Model) -> None:
    model.handle.load("boot")
    process = model.runners.next()
    sent_away = threading.Event()

    def wait() -> None:
        with pytest.raises(Replaced):
            model.handle.ensure_ready(PATIENCE_S)
        sent_away.set()

    waiting = in_background(wait)
    model.handle.retire()
    assert sent_away.wait(PATIENCE_S)
    waiting.join(PATIENCE_S)
    process.end()
    model.handle.close()


def test_limits_follow_the_start_and_the_plan_stays_the_same_object(model: Model) -> None:
    process = model.loaded()
    plan = model.handle.plan
    limits = Supervision(
        load_timeout_s=1, backoff_s=0.5, backoff_max_s=1, max_queue_requests=7, max_queue_tokens=8,
        step_s=0.1, lease_fd=None,
    )  # fmt: skip
    model.handle.supervise(limits, at_start=True)
    frame = process.next_sent(protocol.Limit)
    assert frame == protocol.Limit(max_queue_tokens=8, max_queue_requests=7, step_s=0.1)
    assert model.handle.plan is plan
    model.handle.supervise(limits, at_start=False)
    assert not model.handle.status().load_at_start
    model.unload(process)


def _answer_all(process: Scripted) -> None:
    """Answer the generation that comes next with one word."""
    frame = process.next_sent(protocol.Generate)
    assert isinstance(frame, protocol.Generate)
    token = protocol.TokenEvent(frame.id, "word", 1, "stop")
    process.say(protocol.Admitted(frame.id, 3, 0), protocol.Step((token,)))


def test_a_request_that_had_not_begun_is_asked_of_the_next_runner(model: Model) -> None:
    first = model.loaded()
    begun = model.handle.generate(protocol.Generate(id=0, text="a"))
    waiting = model.handle.generate(protocol.Generate(id=0, text="b"))
    first.say(protocol.Admitted(1, 3, 0))
    while begun.n_prompt_tokens is None:
        begun.poll(PATIENCE_S)
    first.end(-9)
    with pytest.raises(RunnerFailed, match="SIGKILL"):
        begun.poll(PATIENCE_S)
    second = model.runners.next()
    second.say(READY)
    assert waiting.poll(PATIENCE_S) is None, "its runner has gone"
    assert waiting.poll(PATIENCE_S) is None, "the next one has it"
    _answer_all(second)
    assert waiting.poll(PATIENCE_S) is None
    assert waiting.n_prompt_tokens == 3
    event = waiting.poll(PATIENCE_S)
    assert event is not None
    assert event.text == "word"
    assert waiting.finished
    model.unload(second)


def test_it_is_asked_of_the_next_runner_only_once(model: Model) -> None:
    process = model.loaded()
    generation = model.handle.generate(protocol.Generate(id=0, text="a"))
    process.end(-9)
    process = model.runners.next()
    process.say(READY)
    assert generation.poll(PATIENCE_S) is None
    assert generation.poll(PATIENCE_S) is None
    process.end(-11)
    with pytest.raises(RunnerFailed, match="SIGSEGV"):
        generation.poll(PATIENCE_S)
    model.handle.unload()


def test_embeddings_are_asked_for_again_unless_their_batch_ended_the_runner(model: Model) -> None:
    first = model.loaded()
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def embed(text: str) -> None:
        try:
            answers.put(
                model.handle.embed(protocol.Embed(id=0, texts=(text,)), time.monotonic() + PATIENCE_S)
            )
        except RunnerFailed as error:
            answers.put(error)

    asking = [in_background(lambda text=text: embed(text)) for text in ("a", "b")]  # type: ignore[misc]
    frames = [first.next_sent(protocol.Embed) for _ in asking]
    assert isinstance(frames[0], protocol.Embed)
    first.at_work = frozenset({frames[0].id})
    first.end(-11)
    assert isinstance(answers.get(timeout=PATIENCE_S), RunnerFailed)
    second = model.runners.next()
    second.say(READY)
    frame = second.next_sent(protocol.Embed)
    assert isinstance(frame, protocol.Embed)
    second.say(protocol.Embeddings(id=frame.id, n_embd=1, n_tokens=(1,), vectors=struct.pack("<f", 1.0)))
    assert isinstance(answers.get(timeout=PATIENCE_S), protocol.Embeddings)
    for each in asking:
        each.join()
    assert second.sent.empty() or not isinstance(second.sent.get(), protocol.Embed)
    model.unload(second)


def test_what_is_unloaded_is_not_loaded_again_for_what_waited(model: Model) -> None:
    process = model.loaded()
    generation = model.handle.generate(protocol.Generate(id=0, text="a"))
    model.unload(process)
    with pytest.raises(RunnerFailed, match="was unloaded"):
        generation.poll(PATIENCE_S)
    assert model.runners.none_left()


def test_cooling_returns_what_the_runner_gave_back(model: Model) -> None:
    process = model.loaded()
    freed: queue.SimpleQueue[int] = queue.SimpleQueue()
    cooling = in_background(lambda: freed.put(model.handle.cool(time.monotonic() + PATIENCE_S)))
    process.next_sent(protocol.Cool)
    process.say(protocol.Cooled(done=True, freed_bytes=7))
    assert freed.get(timeout=PATIENCE_S) == 7
    cooling.join()
    assert model.handle.status().cooled == "pages"
    generation = model.handle.generate(protocol.Generate(id=0, text="a"))
    assert model.handle.status().cooled is None
    generation.cancel()
    model.unload(process)


def test_a_runner_that_ends_while_it_cools_is_not_waited_for(model: Model) -> None:
    process = model.loaded()
    failed = threading.Event()

    def cool() -> None:
        with pytest.raises(Unavailable):
            model.handle.cool(time.monotonic() + PATIENCE_S)
        failed.set()

    cooling = in_background(cool)
    process.next_sent(protocol.Cool)
    process.end(-9)
    assert failed.wait(PATIENCE_S)
    cooling.join()
    model.handle.unload()
