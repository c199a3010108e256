"""What the runner without a model answers, exactly: so that tests can say what must come out. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from edged.runner import protocol
from edged.runner.engine.text import HeldLogprobs, TextStream


def unit_vector(length: int, n_embd: int) -> list[float]:
    """The embedding of an input of `length` characters (or tokens): its length, then ones, made a unit."""
    norm = math.sqrt(length**2 + n_embd - 1)
    return [length / norm] + [1 / norm] * (n_embd - 1)


def logprob(piece: bytes, position: int, n_top: int) -> protocol.TokenLogprob:
    """The log probability of a word: less by an eighth with each one before it, and by one with each rank."""
    best = -position / 8
    others = tuple((b" other%d" % rank, best - rank) for rank in range(1, n_top))
    return protocol.TokenLogprob(piece, best, ((piece, best), *others)[:n_top], tuple(range(n_top + 1)))


@dataclass(slots=True)
class Job:
    """A generation request on its way."""

    request: protocol.Generate
    words: list[str]
    n_prompt_tokens: int
    text: TextStream
    index: int = 0
    logprobs: HeldLogprobs = field(default_factory=HeldLogprobs)
    n_generated: int = 0
    n_told: int = 0


def prompt(request: protocol.Generate) -> tuple[list[str], int]:
    """The words to answer with, and the length of the prompt in tokens (words)."""
    if request.messages is not None:
        said = [message.content for message in request.messages if message.role == "user"]
        return (said[-1].split() if said else []), sum(len(m.content.split()) for m in request.messages)
    if request.tokens is not None:
        return [f"t{token}" for token in request.tokens], len(request.tokens)
    words = (request.text or "").split()
    return words, len(words)


def jobs(request: protocol.Generate, longest: int | None) -> Iterator[Job]:
    """One for each answer, which has `longest` tokens at most: a context ends every answer at last."""
    if longest is not None:
        request = replace(request, max_tokens=min(request.max_tokens or longest, longest))
    words, n_prompt_tokens = prompt(request)
    for index in range(request.n):
        yield Job(request, words, n_prompt_tokens, TextStream(request.stop), index)


def next_event(job: Job) -> protocol.TokenEvent:
    """One more token of a job: a word, or the end."""
    request, words = job.request, job.words
    if not words or (job.n_generated >= len(words) and not request.sampling.ignore_eos):
        return _said(job, job.text.finish(), "stop")
    word = words[job.n_generated % len(words)]
    piece = (" " + word if job.n_generated else word).encode()
    if request.top_logprobs is not None:
        job.logprobs.add(job.text.n_characters, logprob(piece, job.n_generated, request.top_logprobs))
    text = job.text.push(piece)
    job.n_generated += 1
    if job.text.stopped:
        return _said(job, text, "stop")
    if request.max_tokens is not None and job.n_generated >= request.max_tokens:
        return _said(job, text + job.text.finish(), "length")
    return _said(job, text, None)


def _said(job: Job, text: str, reason: Literal["stop", "length"] | None) -> protocol.TokenEvent:
    entries = job.logprobs.release(job.text, ended=reason is not None)
    stopped_by = job.text.stopped_by if reason else ""
    tokens = tuple(range(job.n_told, job.n_generated)) if job.request.tell_tokens else ()
    job.n_told += len(tokens)
    return protocol.TokenEvent(
        job.request.id, text, job.n_generated, reason, job.index, entries, stopped_by, tokens
    )


def told(asked: protocol.Tokenize | protocol.Detokenize | protocol.Render) -> protocol.FromRunner:
    """The answer to what needs no slot."""
    match asked:
        case protocol.Tokenize():
            tokens = asked.text.encode()
            pieces = tuple(bytes((each,)) for each in tokens) if asked.pieces else ()
            return protocol.Tokens(id=asked.id, tokens=tuple(tokens), pieces=pieces)
        case protocol.Detokenize():
            if any(token > 255 for token in asked.tokens):
                return _invalid(asked.id, "tokens: one is outside the vocabulary (0 to 255)", "tokens")
            return protocol.Text(asked.id, bytes(asked.tokens).decode("utf-8", "replace"))
        case protocol.Render():
            lines = [f"tool: {tool.name}" for tool in asked.tools]
            lines += [f"{message.role}: {message.content}" for message in asked.messages]
            return protocol.Text(asked.id, "\n".join([*lines, *["assistant:"] * asked.add_generation_prompt]))


def scores(asked: protocol.Rank) -> protocol.Scores:
    """How many of the query's words each document has."""
    wanted = set(asked.query.split())
    return protocol.Scores(
        id=asked.id,
        scores=tuple(float(len(wanted & set(document.split()))) for document in asked.documents),
        n_tokens=sum(len((asked.query + " " + document).split()) for document in asked.documents),
    )


def _invalid(request: int, message: str, param: str) -> protocol.Rejected:
    return protocol.Rejected(id=request, kind="invalid", message=message, param=param)


def too_long(request: int, param: str, n_tokens: int, n_ctx: int) -> protocol.Rejected | None:
    """The refusal of an input that leaves no room for an answer."""
    if n_tokens < n_ctx:
        return None
    message = f"{param}: {n_tokens} tokens do not fit the model's context of {n_ctx}"
    return _invalid(request, message, param.partition("[")[0])
