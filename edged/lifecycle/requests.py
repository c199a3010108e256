"""Requests in flight at one runner: each has a queue of its own, so no token can reach another's client."""

import queue
import threading
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from edged.errors import EdgedError, InvalidRequest, NotBegun, Overloaded, RunnerFailed, Unavailable
from edged.runner import protocol

Whole = protocol.Embeddings | protocol.Scores | protocol.Tokens | protocol.Text | protocol.Warmed
Answer = protocol.TokenEvent | protocol.Admitted | Whole
_Kind = TypeVar("_Kind", bound=Whole)

_ANSWERS: dict[type[protocol.Asked], tuple[type[Answer], ...]] = {
    protocol.Generate: (protocol.TokenEvent, protocol.Admitted),
    protocol.Embed: (protocol.Embeddings,),
    protocol.Rank: (protocol.Scores,),
    protocol.Tokenize: (protocol.Tokens,),
    protocol.Detokenize: (protocol.Text,),
    protocol.Render: (protocol.Text,),
    protocol.Warmup: (protocol.Warmed,),
}
_CHECK_EVERY_S = 0.25


class Pending:
    """One request in flight. Its answers come from the runner's reader; anybody may wait for them."""

    def __init__(self, number: int, asked: protocol.Asked) -> None:
        self.request = number
        self.n_left = asked.n if isinstance(asked, protocol.Generate) else 1
        self._asked = asked
        self._unfinished = set(range(self.n_left))
        self.has_begun = False  # something was said of it
        self._began_s = time.monotonic()
        self._first: dict[int, tuple[float, int]] = {}  # tokens of an answer, when the first of them came
        self._answers: queue.SimpleQueue[Answer | EdgedError] = queue.SimpleQueue()

    def put(self, answer: Answer | EdgedError) -> None:
        """Pass an answer on."""
        self.has_begun = True
        self._answers.put(answer)

    def pace(self, answer: Answer | EdgedError) -> tuple[int, float] | None:
        """When an answer ends: its tokens, and the seconds they took. Called with each, in their order."""
        match answer:
            case protocol.Embeddings():
                return sum(answer.n_tokens), time.monotonic() - self._began_s
            case protocol.Scores():
                return answer.n_tokens, time.monotonic() - self._began_s
            case protocol.TokenEvent(finish_reason=None):
                if answer.index not in self._first:
                    self._first[answer.index] = (time.monotonic(), answer.n_generated)
            case protocol.TokenEvent():
                began_s, n_before = self._first.pop(answer.index, (0.0, answer.n_generated))
                if answer.n_generated > n_before:
                    return answer.n_generated - n_before, time.monotonic() - began_s
        return None

    def check(self, answer: Answer | EdgedError) -> None:
        """Raises ProtocolError for an answer that was not asked for. Called with each, in their order."""
        if isinstance(answer, EdgedError):
            return
        if not isinstance(answer, _ANSWERS[type(self._asked)]):
            raise protocol.ProtocolError("the runner answered a request with something else")
        if isinstance(answer, protocol.TokenEvent):
            if answer.index not in self._unfinished:
                raise protocol.ProtocolError("the runner continued an answer that has ended, or never began")
            if answer.finish_reason:
                self._unfinished.remove(answer.index)
        _check_number(self._asked, answer)

    def next(self, deadline: float, check: Callable[[], None] = lambda: None) -> Answer:
        """The next answer. Raises what went wrong, and Unavailable when `deadline` (monotonic) passes.

        `check` is called now and then while there is none, and gives up by raising.
        """
        while (left_s := deadline - time.monotonic()) > 0:
            answer = self.take(min(left_s, _CHECK_EVERY_S))
            if answer is not None:
                return answer
            check()
        raise Unavailable(
            "it took longer than server.request_timeout allows: raise that, or ask for less", 1.0
        )

    def take(self, wait_s: float) -> Answer | None:
        """The next answer, or None when there is none for `wait_s`. Raises what went wrong."""
        try:
            answer = self._answers.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            return None
        if isinstance(answer, EdgedError):
            raise answer
        return answer

    def whole(self, kind: type[_Kind], deadline: float, check: Callable[[], None] = lambda: None) -> _Kind:
        """The one answer to what is answered at once. Raises as `next` does."""
        answer = self.next(deadline, check)
        assert isinstance(answer, kind), "it was checked as it came"
        return answer


class InFlight:
    """The requests that a runner works on, by number. For any thread."""

    def __init__(self, when_none_left: Callable[[], None] = lambda: None) -> None:
        """`when_none_left` is called after the last answer of the last request."""
        self.none_since_s = 0.0  # when that was (monotonic)
        self._when_none_left = when_none_left
        self._lock = threading.Lock()
        self._none_left = threading.Condition(self._lock)
        self._pending: dict[int, Pending] = {}
        self._last = 0

    def __bool__(self) -> bool:
        return bool(self._pending)

    def begin(self, asked: protocol.Asked) -> Pending:
        """A new request; it is over when all its answers have ended."""
        with self._lock:
            self._last += 1
            self._pending[self._last] = pending = Pending(self._last, asked)
            return pending

    def forget(self, pending: Pending) -> bool:
        """Take no more answers for it; False when it was over already."""
        with self._lock:
            known = self._drop(pending.request)
        if known and not self._pending:
            self._when_none_left()
        return known

    def answer(self, request: int, answer: Answer | EdgedError, *, last: bool) -> tuple[int, float] | None:
        """Pass an answer on, unless nobody waits for it any more; its pace, if it has come to its end.

        Raises as `Pending.check` does.
        """
        with self._lock:
            pending = self._pending.get(request)
            over = False
            if pending is not None:
                pending.check(answer)
            if pending is not None and last:
                pending.n_left -= 1
                if pending.n_left <= 0 or isinstance(answer, EdgedError):
                    over = self._drop(request)
        if pending is None:
            return None
        pending.put(answer)
        if over and not self._pending:
            self._when_none_left()
        return pending.pace(answer)

    def abandon(self, why: str, begun: Collection[int] | None = ()) -> None:
        """End every request: its runner has ended. `begun`: those it was computing (None: it may be any)."""
        with self._lock:
            pending, self._pending = self._pending, {}
            self.none_since_s = time.monotonic()
            self._none_left.notify_all()
        for number, request in pending.items():
            has_begun = request.has_begun or begun is None or number in begun
            request.put(RunnerFailed(why) if has_begun else NotBegun(why))

    def wait_until_none(self, deadline: float | None = None) -> bool:
        """Return when every request has its last answer; False if `deadline` (monotonic) passes before."""
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        with self._lock:
            return self._none_left.wait_for(lambda: not self._pending, left_s)

    def _drop(self, request: int) -> bool:
        """Forget a request, under the lock; False when it was over already."""
        known = self._pending.pop(request, None) is not None
        if not self._pending:
            self.none_since_s = time.monotonic()
            self._none_left.notify_all()
        return known


class Generation:
    """A generation request: the tokens of its answers, one after the other, and a way to give up.

    Where a runner died before it began, the next one is asked, once: nobody notices but by the time.
    """

    def __init__(
        self,
        pending: Pending | None,
        n_answers: int,
        cancel: Callable[[Pending], None],
        ask_again: Callable[[float], Pending | None],
    ) -> None:
        """`ask_again` waits so many seconds for the next runner, and submits the request to it (or None).

        Without `pending` that is done at the first `poll`.
        """
        self._pending = pending
        self._cancel = cancel
        self._ask_again: Callable[[float], Pending | None] | None = ask_again
        self.n_prompt_tokens: int | None = None
        self.n_cached_tokens: int | None = None
        self.opens_reasoning = False  # the answers begin with what the model thinks
        self._unfinished = set(range(n_answers))

    @property
    def finished(self) -> bool:
        """Whether every answer has come to its end."""
        return not self._unfinished

    def poll(self, wait_s: float) -> protocol.TokenEvent | None:
        """The next token, or None when there is none for `wait_s` or it has just been admitted.

        For callers that look after their client meanwhile; `cancel` is theirs. Raises InvalidRequest,
        Overloaded, RunnerFailed, and Unavailable when the next runner is not to be waited for.
        """
        answer = self._next(wait_s)
        if isinstance(answer, protocol.Admitted):
            self.n_prompt_tokens, self.n_cached_tokens = answer.n_prompt_tokens, answer.n_cached_tokens
            self.opens_reasoning = answer.opens_reasoning
            return None
        if answer is None:
            return None
        assert isinstance(answer, protocol.TokenEvent), "it was checked as it came"
        if answer.finish_reason:
            self._unfinished.remove(answer.index)
        return answer

    def _next(self, wait_s: float) -> Answer | None:
        if self._pending is not None:
            try:
                return self._pending.take(wait_s)
            except NotBegun:
                if self._ask_again is None:
                    raise
                self._pending = None
        elif self._ask_again is not None and (pending := self._ask_again(wait_s)) is not None:
            self._pending, self._ask_again = pending, None
        return None

    def cancel(self) -> None:
        """Free the slot. Safe at any time, and again."""
        if self._pending is not None:
            self._cancel(self._pending)


def _check_number(asked: protocol.Asked, answer: Answer) -> None:
    """Raises ProtocolError where inputs and what was said of each are not as many."""
    n_inputs = n_answered = 0
    match asked, answer:
        case protocol.Embed(), protocol.Embeddings():
            n_inputs, n_answered = len(asked.texts) + len(asked.token_lists), len(answer.n_tokens)
        case protocol.Rank(), protocol.Scores():
            n_inputs, n_answered = len(asked.documents), len(answer.scores)
        case protocol.Tokenize(), protocol.Tokens() if asked.pieces:
            n_inputs, n_answered = len(answer.tokens), len(answer.pieces)
    if n_inputs != n_answered:
        raise protocol.ProtocolError(f"the runner answered {n_inputs} inputs with {n_answered} results")


def error_of(rejected: protocol.Rejected) -> EdgedError:
    """A runner's refusal as the error that the caller raises."""
    if rejected.kind == "invalid":
        return InvalidRequest(rejected.message, rejected.param)
    if rejected.kind == "full":
        return Overloaded(rejected.message, rejected.retry_after_s)
    if rejected.kind == "late":
        return Unavailable(rejected.message, rejected.retry_after_s)
    return RunnerFailed(rejected.message)
