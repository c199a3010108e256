"""Generation and embedding workers on a decoder whose answers are arithmetic."""

import ctypes
import queue
import threading
from collections.abc import Sequence as Rows
from typing import Any

import numpy as np
import pytest

from edged.errors import ComputeFailed
from edged.runner.engine.batch_size import SIZES
from edged.runner.engine.candidates import Logits
from edged.runner.engine.embed import SCORES, EmbedJob, EmbedWorker
from edged.runner.engine.engine import Engine
from edged.runner.engine.generate import GenerateWorker
from edged.runner.engine.lease import Lease
from edged.runner.engine.pace import Pace
from edged.runner.engine.scheduler import Limits, Scheduler
from edged.runner.engine.sequence import Sequence
from edged.runner.engine.text import TextStream
from edged.runner.protocol import (
    Admitted,
    Embeddings,
    FromRunner,
    Gauges,
    Rejected,
    Scores,
    Step,
    TokenEvent,
    Warmed,
)

END = 0
NONE_POSSIBLE = 90


class Greedy:
    """Takes the likeliest token; there is one after which nothing is possible."""

    def choose(self, logits: Logits) -> int | None:
        token = int(logits.argmax())
        return None if token == NONE_POSSIBLE else token

    def close(self) -> None:
        return None


class CountingDecoder:
    """The next token is the last one less 1; token 0 ends. Remembers which cells each slot holds."""

    n_ctx = 16
    n_batch = 512
    n_seq_max = 4

    def __init__(self) -> None:
        self.cells: dict[int, list[int]] = {}
        self.outputs: list[int] = []
        self.copies: list[tuple[int, int]] = []
        self.finite = True
        self.settled = True
        self.fails = False
        self.interrupted = False
        self.entered = threading.Event()
        self.go_on: threading.Event | None = None
        self.flag = ctypes.c_int(0)

    def keep(self, sequence: int, n_tokens: int) -> int:
        self.cells[sequence] = self.cells.get(sequence, [])[:n_tokens]
        return len(self.cells[sequence])

    def compute(self, rows: Rows[tuple[int, int, list[int], bool]]) -> bool:
        self.entered.set()
        if self.go_on:
            assert self.go_on.wait(30)
        if self.flag.value:
            return False
        if self.fails:
            raise ComputeFailed("no room")
        self.outputs = []
        for sequence, first, tokens, _ in rows:
            cells = self.cells.setdefault(sequence, [])
            assert len(cells) == first, "positions continue where the cells end"
            cells += tokens
            self.outputs += tokens
        return True

    def holds(self, sequence: int, n_tokens: int) -> bool:
        return len(self.cells.get(sequence, [])) >= n_tokens

    def copy(self, source: int, target: int) -> None:
        self.cells[target] = list(self.cells[source])
        self.copies.append((source, target))

    def logits(self, index: int) -> Logits:
        row = np.zeros(100, np.float32)
        row[self.outputs[index] - 1] = 5
        row[70] = 2
        return row

    def logits_are_finite(self, index: int) -> bool:
        assert index < len(self.outputs)
        return self.finite

    def embedding(self, sequence: int) -> Any:
        return np.array([len(self.cells[sequence]), 0 if self.finite else np.nan], np.float32)

    def clear(self) -> None:
        self.cells.clear()


class Letters:
    def piece(self, token: int, *, control: bool = False) -> bytes:
        return bytes([(64 if control else 96) + token])

    def ends_generation(self, token: int) -> bool:
        return token == END


def _worker(decoder: CountingDecoder, sent: list[FromRunner], **changes: int) -> GenerateWorker:
    limits = {"n_slots": 2, "n_batch": 8, "max_queue_requests": 2, "max_queue_tokens": 100} | changes
    scheduler = Scheduler(Limits(**limits), decoder, Pace(0.1, 4))
    return GenerateWorker(scheduler, decoder, Letters(), Lease(None), sent.append)


def _sequence(number: int, tokens: list[int], max_tokens: int = 50, stop: tuple[str, ...] = ()) -> Sequence:
    return Sequence(number, list(tokens), len(tokens), max_tokens, Greedy(), TextStream(stop))


def _finish(worker: GenerateWorker) -> None:
    for _ in range(60):
        if worker.idle:
            return
        worker.step()
    raise AssertionError("the worker does not come to an end")


def _texts(sent: list[FromRunner]) -> dict[int, tuple[str, str | None, int]]:
    texts: dict[int, tuple[str, str | None, int]] = {}
    for frame in sent:
        for event in frame.events if isinstance(frame, Step) else ():
            before = texts.get(event.id, ("", None, 0))[0]
            texts[event.id] = (before + event.text, event.finish_reason, event.n_generated)
    return texts


def test_sequences_side_by_side_answer_as_alone() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    worker.add(_sequence(1, [9, 5]))
    worker.add(_sequence(2, [7, 8, 9, 9, 9, 9, 9, 9, 9, 3]))
    _finish(worker)
    assert _texts(sent) == {1: ("dcba", "stop", 4), 2: ("ba", "stop", 2)}


def test_who_asks_for_it_gets_the_text_of_control_tokens_and_hears_that_its_prompt_opens_reasoning() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    sequence = _sequence(1, [3])
    sequence.control_pieces = sequence.opens_reasoning = True
    worker.add(sequence)
    worker.add(_sequence(2, [3]))
    _finish(worker)
    assert {number: text for number, (text, _, _) in _texts(sent).items()} == {1: "BA", 2: "ba"}
    admitted = [frame for frame in sent if isinstance(frame, Admitted)]
    assert [(frame.id, frame.opens_reasoning) for frame in admitted] == [(1, True), (2, False)]


def test_one_frame_carries_all_sequences_of_a_step() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    worker.add(_sequence(1, [5]))
    worker.add(_sequence(2, [6]))
    worker.step()
    assert sent[-1] == Step((TokenEvent(1, "d", 1), TokenEvent(2, "e", 1)))


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (_sequence(1, [9], max_tokens=3), ("hgf", "length", 3)),
        (_sequence(1, [20]), ("srqponmlkjihgfe", "length", 15)),  # n_ctx is 16
        (_sequence(1, [9], stop=("fe",)), ("hg", "stop", 4)),
        (_sequence(1, [9], max_tokens=4, stop=("ed",)), ("hgfe", "length", 4)),
        (_sequence(1, [1]), ("", "stop", 0)),
    ],
)
def test_why_a_sequence_ends(sequence: Sequence, expected: tuple[str, str, int]) -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    worker.add(sequence)
    _finish(worker)
    assert _texts(sent)[1] == expected


def test_an_abandoned_request_leaves_nothing_to_the_next() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    worker = _worker(decoder, sent, n_slots=1)
    worker.add(_sequence(1, [4, 9]))
    worker.step()
    worker.step()
    worker.cancel(1)
    sent.clear()
    worker.add(_sequence(2, [4, 9, 8, 3]))
    _finish(worker)
    assert _texts(sent)[2] == ("ba", "stop", 2)
    assert Admitted(2, 4, 3) in sent, "4, 9 and the generated 8 are what both have in common"
    assert set(_texts(sent)) == {2}


def test_a_full_queue_says_when_to_come_back() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    for number in range(5):
        worker.add(_sequence(number, [5]))
    rejected = sent[-1]
    assert isinstance(rejected, Rejected)
    assert (rejected.id, rejected.kind) == (4, "full")
    assert rejected.retry_after_s >= 1


def test_a_request_whose_deadline_has_passed_is_told_when_to_come_back_and_never_computed() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    worker = _worker(decoder, sent, n_slots=1, max_queue_requests=9)
    worker.add(_sequence(1, [9, 9, 9, 9, 8]))
    worker.step()
    first, second = _sequence(2, [30]), _sequence(2, [30])
    first.deadline_s = second.deadline_s = 0.0
    second.index, first.siblings = 1, (second,)
    worker.add(first)
    worker.add(_sequence(3, [4]))
    _finish(worker)
    late = [frame for frame in sent if isinstance(frame, Rejected)]
    assert [(frame.id, frame.kind) for frame in late] == [(2, "late")], "once, whatever n is"
    assert late[0].retry_after_s is not None
    assert late[0].retry_after_s >= 1
    assert set(_texts(sent)) == {1, 3}
    assert not any(30 in cells for cells in decoder.cells.values())


def test_retry_after_grows_with_the_work_that_is_ahead() -> None:
    """Here 100 prompt tokens a second, and what a slot needs for the answers."""
    waits_s = []
    for n_waiting in (1, 4):
        sent: list[FromRunner] = []
        decoder, pace = CountingDecoder(), Pace(0.1, 4)
        pace.measured(0, 1000, 10.0)
        scheduler = Scheduler(Limits(1, 8, n_waiting - 1, 100_000), decoder, pace)
        worker = GenerateWorker(scheduler, decoder, Letters(), Lease(None), sent.append)
        for number in range(n_waiting + 1):
            worker.add(_sequence(number, [9] * 200, max_tokens=10))
        (rejected,) = sent
        assert isinstance(rejected, Rejected)
        assert (rejected.id, rejected.kind) == (n_waiting, "full")
        waits_s.append(rejected.retry_after_s)
    assert waits_s == [pytest.approx(2.1), pytest.approx(8.4)]


def test_a_failed_batch_fails_its_requests_and_frees_their_cells() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    worker = _worker(decoder, sent)
    worker.add(_sequence(1, [5]))
    decoder.fails = True
    worker.step()
    assert isinstance(sent[-1], Rejected)
    assert worker.idle
    assert decoder.cells[0] == []
    decoder.fails = False
    worker.add(_sequence(2, [3]))
    _finish(worker)
    assert _texts(sent)[2] == ("ba", "stop", 2)


def test_a_damaged_model_is_refused_instead_of_answering_nonsense() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    decoder.finite = False
    worker = _worker(decoder, sent)
    worker.add(_sequence(1, [5]))
    worker.step()
    assert isinstance(sent[-1], Rejected)
    assert "damaged" in sent[-1].message
    with pytest.raises(ComputeFailed, match="damaged"):
        worker.warm()
    embedder = EmbedWorker(decoder, Lease(None), sent.append, 9, 999)
    embedder.add(EmbedJob(2, [[1, 2]], []))
    embedder.step()
    assert isinstance(sent[-1], Rejected)
    assert embedder.idle


def test_embeddings_are_batched_across_requests_and_keep_their_order() -> None:
    sent: list[FromRunner] = []
    batches: list[int] = []

    class Watching(CountingDecoder):
        def compute(self, rows: Rows[tuple[int, int, list[int], bool]]) -> bool:
            batches.append(len(rows))
            return super().compute(rows)

    worker = EmbedWorker(Watching(), Lease(None), sent.append, 9, 9999)
    worker.add(EmbedJob(1, [[1], [1, 1], [1] * 3, [1] * 4, [1] * 5], []))
    worker.add(EmbedJob(2, [[1] * 6], []))
    while not worker.idle:
        worker.step()
    assert batches == [4, 2]
    answers = [frame for frame in sent if isinstance(frame, Embeddings)]
    assert [(answer.id, answer.n_tokens) for answer in answers] == [(1, (1, 2, 3, 4, 5)), (2, (6,))]
    rows = np.frombuffer(answers[0].vectors, "<f4").reshape(-1, 2)
    assert np.allclose(rows, [[1, 0]] * 5), "unit vectors"


@pytest.mark.parametrize(
    ("whole", "told"), [(False, [(4,), (3,), (2,), (1,), ()]), (True, [(4,), (3, 2, 1)])]
)
def test_tokens_are_told_once_where_that_is_asked_for(whole: bool, told: list[tuple[int, ...]]) -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    sequence = _sequence(1, [5])
    sequence.whole, sequence.tell_tokens = whole, True
    worker.add(sequence)
    _finish(worker)
    events = [event for frame in sent if isinstance(frame, Step) for event in frame.events]
    assert [event.tokens for event in events] == told


def test_scores_are_told_as_they_are() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    worker = EmbedWorker(decoder, Lease(None), sent.append, 9, 9999, SCORES)
    worker.add(EmbedJob(7, [[1], [1] * 3], []))
    worker.step()
    assert sent[-1] == Scores(id=7, scores=(1.0, 3.0), n_tokens=4)
    decoder.finite = False
    worker.add(EmbedJob(8, [[1]], []))
    worker.step()
    assert isinstance(sent[-1], Rejected)
    assert "damaged" in sent[-1].message


def test_a_batch_never_exceeds_the_contexts_own_limit() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    decoder.n_batch = 5
    worker = EmbedWorker(decoder, Lease(None), sent.append, 9, 9999)
    worker.add(EmbedJob(1, [[1, 1], [1, 1], [1, 1]], []))
    worker.step()
    assert len(decoder.outputs) == 4


def test_a_long_input_makes_a_batch_alone() -> None:
    sent: list[FromRunner] = []
    worker = EmbedWorker(CountingDecoder(), Lease(None), sent.append, 9, 9999)
    worker.add(EmbedJob(1, [[1] * (SIZES[-1] + 1), [1]], []))
    worker.step()
    assert not worker.idle
    worker.step()
    assert worker.idle


def test_a_huge_request_does_not_hold_up_a_small_one_nor_small_ones_the_huge_one() -> None:
    sent: list[FromRunner] = []
    worker = EmbedWorker(CountingDecoder(), Lease(None), sent.append, 99, 99_999)
    full = [1] * SIZES[-1]
    worker.add(EmbedJob(1, [full] * 8, []))
    answered: list[list[int]] = []
    for number in range(2, 18):  # a flood: one more with each micro-batch
        worker.add(EmbedJob(number, [full], []))
        worker.step()
        answered.append([frame.id for frame in sent if isinstance(frame, Embeddings)])
    assert answered[1] == [2], "the second micro-batch is the small request's"
    assert 1 in answered[15], "and every other one is the huge one's"
    assert worker.gauges().queued_tokens == 8 * SIZES[-1]


class _Running:
    """An engine over a decoder that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.sent: list[FromRunner] = []
        self.arrived = threading.Condition()
        self.decoder = CountingDecoder()
        self.decoder.go_on = threading.Event()
        self.engine = Engine(_worker(self.decoder, self.sent), self.decoder.flag, self.send)

    def send(self, frame: FromRunner) -> None:
        with self.arrived:
            self.sent.append(frame)
            self.arrived.notify_all()

    def wait_for(self, kind: type) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(isinstance(frame, kind) for frame in self.sent), 30)


def test_cancel_interrupts_a_computation_that_serves_nobody_else() -> None:
    running = _Running()
    running.engine.start()
    running.engine.submit(_sequence(1, [5]))
    assert running.decoder.entered.wait(30)  # the first step admits; a second one computes for request 1 only
    running.decoder.entered.clear()
    assert running.decoder.go_on is not None
    running.decoder.go_on.set()
    running.engine.cancel(1)
    running.engine.warm(9)
    running.wait_for(Warmed)
    running.engine.stop()
    assert running.decoder.cells[0] in ([], [5])  # whole steps only


def test_an_interrupted_warm_up_looks_at_no_results() -> None:
    """There are none: llama.cpp answers NULL, and the process would end."""
    decoder = CountingDecoder()
    decoder.flag.value = 1
    sent: list[FromRunner] = []
    for worker in (_worker(decoder, sent), EmbedWorker(decoder, Lease(None), sent.append, 9, 999)):
        with pytest.raises(ComputeFailed, match="interrupted"):
            worker.warm()


def test_an_interruption_ends_with_its_step() -> None:
    """The flag of a cancelled computation also stopped the warm-up that came after it."""

    class UntilInterrupted(CountingDecoder):
        def compute(self, rows: Rows[tuple[int, int, list[int], bool]]) -> bool:
            if rows[0][1] == 0:  # a prompt, or the warm-up
                return super().compute(rows)
            self.second_step.set()
            pause = threading.Event()
            assert any(self.flag.value or pause.wait(0.001) for _ in range(30_000))
            return False

        second_step = threading.Event()

    decoder = UntilInterrupted()
    answers: queue.SimpleQueue[FromRunner] = queue.SimpleQueue()
    worker = GenerateWorker(
        Scheduler(Limits(1, 8, 2, 100), decoder, Pace(0.1, 4)), decoder, Letters(), Lease(None), answers.put
    )
    engine = Engine(worker, decoder.flag, answers.put)
    engine.start()
    engine.submit(_sequence(1, [15]))
    assert decoder.second_step.wait(30)
    engine.warm(9)
    engine.cancel(1)
    while not isinstance(answer := answers.get(timeout=30), Warmed | Rejected):
        continue
    assert isinstance(answer, Warmed)
    engine.stop()


def test_stop_ends_the_thread_while_it_computes() -> None:
    running = _Running()
    running.engine.start()
    running.engine.submit(_sequence(1, [5]))
    assert running.decoder.entered.wait(30)
    stopper = threading.Thread(target=running.engine.stop)
    stopper.start()
    assert running.decoder.go_on is not None
    running.decoder.go_on.set()
    stopper.join(30)
    assert not stopper.is_alive()


def test_gauges_tell_when_the_engine_falls_idle() -> None:
    running = _Running()
    assert running.decoder.go_on is not None
    running.decoder.go_on.set()
    running.engine.start()
    running.engine.submit(_sequence(1, [2]))
    running.wait_for(Step)
    running.engine.stop()
    shown = [frame for frame in running.sent if isinstance(frame, Gauges)]
    assert not shown or shown[-1].queued_requests == 0
