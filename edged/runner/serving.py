"""What a loaded runner does with the daemon's frames."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from edged.errors import InvalidRequest
from edged.runner import protocol
from edged.runner.drafting import Drafting, refusal
from edged.runner.engine.limit import GRAMMAR_S, GRAMMAR_TOO_SLOW, at_most
from edged.runner.loading import Prefetch
from edged.runner.mapping import Rows
from edged.runner.outbox import Outbox
from edged.runner.turns import Turns
from edged.runner.warmth import Warmth

if TYPE_CHECKING:
    from edged.runner.engine.engine import Engine
    from edged.runner.intake import Intake
    from edged.runner.model import Context, Model

_Asked = (
    protocol.Generate
    | protocol.Embed
    | protocol.Rank
    | protocol.Tokenize
    | protocol.Detokenize
    | protocol.Render
)


class Kept(NamedTuple):
    """What a context holds for later requests: `put_away` writes what is wanted again, `forget` drops all."""

    put_away: Callable[[], None] = lambda: None
    forget: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Loaded:
    """A loaded model with everything that serves it."""

    model: "Model"
    context: "Context"
    engine: "Engine[Any]"
    intake: "Intake"
    rows: Rows
    prefetch: Prefetch
    kept: Kept

    def forget(self) -> None:
        """Keep hot prefixes, and forget every sequence; on the engine's thread, while nothing runs."""
        self.kept.put_away()
        self.kept.forget()

    def stop(self) -> None:
        """Stop computing and keep hot prefixes. The memory goes with the process."""
        self.engine.stop()
        self.kept.put_away()


def asking(frames: Iterator[protocol.ToRunner], turns: Turns) -> Iterator[protocol.ToRunner]:
    """The same frames; requests hurry the reader."""
    for frame in frames:
        if isinstance(frame, protocol.Generate | protocol.Embed | protocol.Rank):
            turns.ask()
        yield frame


def serve(frames: Iterator[protocol.ToRunner], start: protocol.Start, loaded: Loaded, outbox: Outbox) -> None:
    """Pass requests on until Shutdown, or until the daemon closes the connection."""
    warmth = Warmth(start, loaded, outbox.send)
    requests = _Requests(start, loaded, outbox)
    for frame in frames:
        match frame:
            case protocol.Warmup():
                warmth.warm(frame.id)
            case protocol.Cool():
                warmth.cool(frame)
            case protocol.ReadAhead():
                warmth.read_ahead(allowed=frame.allowed)
            case protocol.Limit():
                loaded.engine.limit(frame)
                loaded.intake.max_answers = start.n_seq_max + frame.max_queue_requests
            case protocol.Ping():
                loaded.engine.ping()
            case protocol.Cancel():
                requests.cancel(frame.id)
            case protocol.Shutdown() | protocol.Start():
                return
            case _:
                requests.take(frame)


class _Requests:
    """Makes jobs for the engine of requests, or answers them."""

    def __init__(self, start: protocol.Start, loaded: Loaded, outbox: Outbox) -> None:
        self._kind = start.kind
        self._loaded = loaded
        self._outbox = outbox
        self._drafting = Drafting(self._made, loaded.engine, outbox.send)

    def take(self, frame: _Asked) -> None:
        """Pass it on, or refuse it; what needs the chat template goes its own way, so that others go on."""
        if isinstance(frame, protocol.Render) or (
            isinstance(frame, protocol.Generate) and frame.messages is not None
        ):
            self._drafting.ask(frame)
            return
        try:
            made = self._made(frame)
        except InvalidRequest as error:
            made = refusal(frame.id, error)
        if isinstance(made, protocol.FromRunner):
            self._outbox.send(made)
        else:
            self._loaded.engine.submit(made)

    def cancel(self, request: int) -> None:
        """Drop it."""
        self._drafting.cancel(request)

    def _made(self, frame: _Asked) -> Any:
        """A job, or the answer. Raises InvalidRequest."""
        intake = self._loaded.intake
        match frame:
            case protocol.Tokenize():
                return intake.tokens(frame)
            case protocol.Detokenize() | protocol.Render():
                return intake.text(frame)
        kind = frame.__struct_config__.tag
        if kind != self._kind:
            raise InvalidRequest(
                f"model: it is of kind {self._kind}, and this needs one of kind {kind}", "model"
            )
        if isinstance(frame, protocol.Generate):
            return self._sequence(frame)
        job = intake.embed_job(frame) if isinstance(frame, protocol.Embed) else intake.rank_job(frame)
        self._loaded.rows.want(job.inputs)
        return job

    def _sequence(self, frame: protocol.Generate) -> Any:
        intake = self._loaded.intake
        prompt = intake.prompt(frame)
        if frame.sampling.grammar is None:
            return intake.sequence(frame, prompt)
        too_slow = refusal(frame.id, InvalidRequest(GRAMMAR_TOO_SLOW, "grammar"))
        with at_most(GRAMMAR_S, lambda: self._outbox.send(too_slow)):
            return intake.sequence(frame, prompt)
