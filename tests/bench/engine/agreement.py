"""Correctness beside speed: the same words as llama-server's, and the same alone as in company."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.bench.engine import workload
from tests.bench.engine.clients import ask, together
from tests.bench.engine.contenders import Contender, edged, llama, same_threads
from tests.bench.engine.generation import both
from tests.bench.engine.rows import Row, Target
from tests.bench.engine.setup import Setup
from tests.bench.engine.wire import Connection
from tests.bench.models import BenchModel

_N_PROMPTS = 50
_N_TOKENS = 48
_N_TEXTS = 64
_BATCH = 32
_N_CLIENTS = 8
_CROWD = 16  # clients that embed at once
NEAR_TIE = 0.05  # of two logits: the order of additions, which a batch's size changes, decides between them
_vectors_from_json = msgspec.json.Decoder(dict[str, Any]).decode


def greedy(setup: Setup, model: BenchModel) -> list[Row]:
    """Answers of both, alone; and edged's answers to eight clients at once against those to one."""
    bodies = [_body(model, number) for number in range(_N_PROMPTS)]
    with both(setup, model) as (mine, theirs):
        alone, peers = [_texts(one, [bodies]) for one in (mine, theirs)]
        company, peers_company = (
            _texts(one, [bodies[client::_N_CLIENTS] for client in range(_N_CLIENTS)])
            for one in (mine, theirs)
        )
        ordered = [number for client in range(_N_CLIENTS) for number in range(client, _N_PROMPTS, _N_CLIENTS)]
        batched = dict(zip(ordered, company, strict=True))
        peers_batched = dict(zip(ordered, peers_company, strict=True))
        parted = _parted(theirs, model, list(zip(alone, peers, strict=True)))
        apart = _parted(theirs, model, [(batched[at], alone[at]) for at in range(_N_PROMPTS)])
        theirs_apart = sum(peers_batched[at] != peers[at] for at in range(_N_PROMPTS))
    what = f"{model.id}, {_N_PROMPTS} greedy answers of {_N_TOKENS} tokens"
    return [
        _agreeing(f"{what}, the same as the peer's", parted, f"{_N_PROMPTS - len(parted)} are equal"),
        _agreeing(
            f"{what}, the same in a batch of {_N_CLIENTS} as alone",
            apart,
            f"{_N_PROMPTS - len(apart)} are equal; of llama-server's own {_N_PROMPTS - theirs_apart}",
        ),
    ]


def _agreeing(what: str, parted: Sequence[tuple[int, float]], note: str) -> Row:
    """Answers that are equal, or part where the model finds two tokens equally likely."""
    far = [(number, gap) for number, gap in parted if gap > NEAR_TIE]
    shown = ", ".join(f"#{number} at a gap of {gap:.3f}" for number, gap in parted)
    return Row(
        what=what,
        unit="answers",
        edged=(float(_N_PROMPTS - len(far)),),
        peer=f"all, near ties (logits within {NEAR_TIE}) aside",
        peers=(float(_N_PROMPTS),),
        target=Target("at least", 1.0),
        note=f"{note}{'; parted: ' * bool(shown)}{shown}",
    )


def _body(model: BenchModel, number: int, **more: Any) -> bytes:
    return workload.chat(workload.question(number), _N_TOKENS, model=model.id, **more)


def _texts(contender: Contender, jobs: Sequence[Sequence[bytes]]) -> list[str]:
    return [said.text for said in together(contender.port, jobs, ask)[1]]


def _parted(judge: Contender, model: BenchModel, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, float]]:
    """Numbers of the prompts whose two answers differ, with the gap of log probabilities where they part."""
    found = []
    for number, (one, other) in enumerate(pairs):
        if one != other:
            same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            found.append((number, _gap(judge, model, number, other[:same])))
    return found


class _Top(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    top_logprobs: list[_Top]


class _Logprobs(msgspec.Struct):
    content: list[_Token]


class _Choice(msgspec.Struct):
    logprobs: _Logprobs


class _Judged(msgspec.Struct):
    choices: list[_Choice]


def _gap(judge: Contender, model: BenchModel, number: int, common: str) -> float:
    """How far the two likeliest tokens are apart after the common text, as llama-server sees it.

    Infinite when llama-server itself says something else before that.
    """
    with Connection(judge.port) as connection:
        raw = connection.post(workload.CHAT, _body(model, number, logprobs=True, top_logprobs=2))
    text = ""
    for token in msgspec.json.decode(raw, type=_Judged).choices[0].logprobs.content:
        text += token.token
        if len(text) > len(common) or not common.startswith(text):
            best, second = token.top_logprobs[:2]
            return best.logprob - second.logprob
    return math.inf


def vectors(setup: Setup, model: BenchModel) -> list[Row]:
    """Vectors of texts embedded alone, in batches and by many clients at once."""
    texts = [workload.sentence(number)[: 40 + 20 * (number % 12)] for number in range(_N_TEXTS)]
    single = [workload.embed([text], model=model.id) for text in texts]
    batches = [workload.embed(texts[at : at + _BATCH], model=model.id) for at in range(0, _N_TEXTS, _BATCH)]
    share = -(-_N_TEXTS // _CROWD)
    crowd = [single[at : at + share] for at in range(0, _N_TEXTS, share)]
    with edged([model], {}) as mine:
        plan = mine.plans[model.id]
        alone = _embedded(mine, [single])
        batched = _embedded(mine, [batches])
        crowded = _embedded(mine, crowd)
        with llama(setup.program, model, plan, *same_threads(plan)) as theirs:
            peers, peers_batched = (_embedded(theirs, [bodies]) for bodies in (single, batches))
    what = f"{model.id}, {_N_TEXTS} vectors, least cosine"
    return [
        _cosines(f"{what}, batch of {_BATCH}", "alone", batched, alone, 0.9999),
        _cosines(f"{what}, llama-server's batch of {_BATCH}", "alone", peers_batched, peers),
        _cosines(f"{what}, {_CROWD} clients", "alone", crowded, alone, 0.9999),
        _cosines(f"{what}, alone", "llama-server's", alone, peers, 0.999),
    ]


def _embedded(contender: Contender, jobs: Sequence[Sequence[bytes]]) -> list[list[float]]:
    def one(connection: Connection, body: bytes) -> list[list[float]]:
        data = _vectors_from_json(connection.post(workload.EMBED, body))["data"]
        return [entry["embedding"] for entry in data]

    return [vector for answer in together(contender.port, jobs, one)[1] for vector in answer]


def _cosines(
    what: str,
    peer: str,
    mine: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    least: float = 0.0,
) -> Row:
    found = min(cosine(a, b) for a, b in zip(mine, theirs, strict=True))
    return Row(
        what=what,
        unit="cosine",
        edged=(found,),
        peer=peer,
        peers=(1.0,),
        target=Target("at least", least) if least else None,
        note=f"{found:.6f}",
    )


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two vectors of any length."""
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))
