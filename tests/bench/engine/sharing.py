"""What happens beside others: a second model, busy neighbours, a long prompt."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from tests.bench.engine import workload
from tests.bench.engine.clients import embedded
from tests.bench.engine.contenders import Contender, edged, llama, same_threads
from tests.bench.engine.rows import Row, Target, percentile
from tests.bench.engine.setup import Setup
from tests.bench.engine.streams import Streams
from tests.bench.engine.wire import Connection
from tests.bench.models import BenchModel

_PEER = "llama-server"
_MIXED_S = 4.0
_SPUN_TOKENS = 48
_SPUN_S = 10.0  # then what has come counts: who collapses beside others takes minutes
_N_STREAMS = 7
_LONG_WORDS = 1960  # 2,000 tokens with the template's
_UNDER_WAY = 8  # tokens that each stream has got before the long prompt comes
_ATTEMPT = 10_000  # between the numbers of questions of repeated tries
_LONG = 1_000_000  # numbers of prompts that nothing else asks


def embedding_beside_chat(setup: Setup, embeds: BenchModel, talks: BenchModel) -> list[Row]:
    """One client embeds text after text while another one's answer is generated."""
    sides: list[list[_Mixed]] = [[], []]
    with ExitStack() as stack:
        mine = stack.enter_context(edged([embeds, talks], {"n_ctx": 4096, "n_seq_max": 4}))
        plans = mine.plans
        servers = [
            stack.enter_context(llama(setup.program, model, plans[model.id], *same_threads(plans[model.id])))
            for model in (embeds, talks)
        ]
        pairs = [(mine.port, mine.port), (servers[0].port, servers[1].port)]
        for repetition in range(-1, setup.repetitions):  # the first is to warm up
            for side, ports in enumerate(pairs):
                found = setup.turns.take(partial(_mixed, ports, (embeds, talks), repetition))
                if repetition >= 0:
                    sides[side].append(found)
    what = f"{embeds.id} while {talks.id} generates"
    peer = f"two {_PEER}s"
    return [
        _row(f"{what}, p50", "ms", [[one.p50_ms for one in side] for side in sides], peer),
        _row(f"{what}, p95", "ms", [[one.p95_ms for one in side] for side in sides], peer,
             Target("at most", 0.35)),
        _row(f"{talks.id} while {embeds.id} embeds", "tokens/s",
             [[one.tokens_per_s for one in side] for side in sides], peer, Target("at least", 1.2)),
    ]  # fmt: skip


@dataclass(frozen=True)
class _Mixed:
    p50_ms: float
    p95_ms: float
    tokens_per_s: float


def _mixed(
    ports: tuple[int, int], models: tuple[BenchModel, BenchModel], repetition: int, attempt: int
) -> _Mixed:
    embeds, talks = models
    body = workload.streamed_chat(
        workload.question(repetition + 1 + attempt * _ATTEMPT), 3000, model=talks.id
    )
    times_s: list[float] = []
    with Streams(ports[1], [body]) as streams:
        streams.wait_for(_UNDER_WAY)
        began_s = time.monotonic()
        number = 10_000 * (repetition + 1)
        with Connection(ports[0]) as connection:
            while time.monotonic() < began_s + _MIXED_S:
                text = workload.sentence(number + len(times_s))
                times_s.append(embedded(connection, workload.embed([text], model=embeds.id)))
        ended_s = time.monotonic()
        n_tokens = sum(began_s < at_s <= ended_s for at_s in streams.times_s()[0])
    p50, p95 = (1000 * percentile(times_s, share) for share in (0.5, 0.95))
    return _Mixed(p50, p95, n_tokens / (ended_s - began_s))


def beside_spinners(setup: Setup, model: BenchModel, n_spinners: int) -> list[Row]:
    """Tokens per second of one client beside processes that compute without end."""
    sizes = {"n_ctx": 2048, "n_seq_max": 4}
    with ExitStack() as stack:
        mine = stack.enter_context(edged([model], sizes))
        plan = mine.plans[model.id]
        programs = [mine, stack.enter_context(llama(setup.program, model, plan))]
        for n_threads in range(1, plan["n_threads"] + 1):
            name = f"edged, n_threads {n_threads}"
            programs.append(stack.enter_context(edged([model], {**sizes, "n_threads": n_threads}, name)))
        stack.enter_context(_spinners(n_spinners))
        rates: dict[str, list[float]] = {program.name: [] for program in programs}
        for repetition in range(setup.repetitions):
            for program in programs:
                rates[program.name].append(setup.turns.take(partial(_spun, program, model, repetition)))
    what = f"chat {model.id}, 1 client, {n_spinners} spinning beside"
    fixed = [program.name for program in programs[2:]]
    best = max(fixed, key=lambda name: statistics.median(rates[name]))
    rows = [_row(what, "tokens/s", [rates["edged"], rates[_PEER]], _PEER, Target("at least", 2.5))]
    for name in fixed:
        target = Target("at least", 0.9) if name == best else None
        rows.append(_row(what, "tokens/s", [rates["edged"], rates[name]], name, target))
    return rows


def _spun(program: Contender, model: BenchModel, repetition: int, attempt: int) -> float:
    """The first answer lets the program notice its neighbours again, the second one counts."""
    rate = 0.0
    first = 2 * repetition + attempt * _ATTEMPT
    for number in (first, first + 1):
        body = workload.streamed_chat(workload.question(number), _SPUN_TOKENS, model=model.id)
        began_s = time.monotonic()
        with Streams(program.port, [body]) as streams:
            streams.wait_at_most(_SPUN_S)
            [times_s] = streams.times_s()
            is_complete = len(times_s) >= _SPUN_TOKENS
            ended_s = times_s[-1] if is_complete else time.monotonic()
        rate = len(times_s) / (ended_s - began_s)
    return rate


@contextmanager
def _spinners(count: int) -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    # each a session of its own, as what is measured (`start_here` says why)
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def long_prompt(setup: Setup, model: BenchModel) -> list[Row]:
    """How long tokens of running streams keep their readers waiting while a long prompt is taken in."""
    gaps: list[list[float]] = [[], []]
    firsts: list[list[float]] = [[], []]
    n_tokens = 0
    with ExitStack() as stack:
        mine = stack.enter_context(edged([model], {"n_ctx": 4096, "n_seq_max": _N_STREAMS + 1}))
        plan = mine.plans[model.id]
        theirs = stack.enter_context(llama(setup.program, model, plan, *same_threads(plan)))
        for repetition in range(setup.repetitions):
            for side, contender in enumerate((mine, theirs)):
                found = setup.turns.take(partial(_admitted, contender, model, repetition))
                gaps[side].append(1000 * percentile(found.gaps_s, 0.99))
                firsts[side].append(found.first_token_s)
                n_tokens = found.n_prompt_tokens
    what = f"{model.id}, {_N_STREAMS} streams while a prompt of {n_tokens} tokens is admitted"
    return [
        _row(f"{what}: inter-token p99", "ms", gaps, _PEER, Target("at most", 0.5)),
        _row(f"{what}: its first token", "s", firsts, _PEER),
    ]


@dataclass(frozen=True)
class _Admission:
    gaps_s: Sequence[float]
    first_token_s: float
    n_prompt_tokens: int


def _admitted(contender: Contender, model: BenchModel, repetition: int, attempt: int) -> _Admission:
    number = _N_STREAMS * repetition + attempt * _ATTEMPT
    bodies = [
        workload.streamed_chat(workload.question(number + stream), 1500, model=model.id)
        for stream in range(_N_STREAMS)
    ]
    prompt = f"{_LONG + number}. {workload.words(_LONG + number, _LONG_WORDS)}"
    with Streams(contender.port, bodies) as streams:
        streams.wait_for(_UNDER_WAY)
        with Streams(contender.port, [workload.streamed_chat(prompt, 1, model=model.id)]) as long:
            long.wait_for(1)
            [said] = long.finished()
        first_at_s = said.tokens_at_s[0]
        streams.wait_until(first_at_s)
        gaps = [
            after - before
            for times in streams.times_s()
            for before, after in pairwise(times)
            if after > said.sent_at_s and before < first_at_s
        ]
    return _Admission(gaps, said.first_token_s, said.usage.prompt_tokens)


def _row(
    what: str, unit: str, sides: Sequence[Sequence[float]], peer: str, target: Target | None = None
) -> Row:
    mine, theirs = (tuple(side) for side in sides)
    return Row(what=what, unit=unit, edged=mine, peer=peer, peers=theirs, target=target)
