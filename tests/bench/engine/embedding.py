"""MiniLM: texts per second against llama-server and onnxruntime."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from tests.bench.engine import workload
from tests.bench.engine.clients import embedded, together
from tests.bench.engine.contenders import edged, llama, same_threads
from tests.bench.engine.rows import Row, Target
from tests.bench.engine.setup import Setup
from tests.bench.models import BenchModel
from tests.bench.peers import onnx

Work = list[list[list[str]]]  # texts by batch, batches by client

_SHAPES = {  # clients, requests of each, texts in each
    "1 client, 1 text": (1, 160, 1),
    "16 clients, 1 text": (16, 16, 1),
    "1 client, batch of 32": (1, 8, 32),
}
_TARGETS = {
    "llama-server": dict.fromkeys(_SHAPES, 1.3),
    "onnxruntime in-process": {**dict.fromkeys(_SHAPES, 1.0), "1 client, batch of 32": 1.2},
    "onnxruntime over HTTP": {},
}


def texts_per_s(setup: Setup, model: BenchModel) -> list[Row]:
    """All shapes, all programs by turns."""
    rates: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        mine = stack.enter_context(edged([model], {}))
        plan = mine.plans[model.id]
        theirs = stack.enter_context(llama(setup.program, model, plan, *same_threads(plan)))
        other = stack.enter_context(onnx.running(model.file))
        programs: dict[str, Callable[[Work], float]] = {
            "edged": _over_http(mine.port, model),
            "llama-server": _over_http(theirs.port, model),
            "onnxruntime in-process": other.seconds,
            "onnxruntime over HTTP": _over_http(other.port, model),
        }
        for repetition in range(-1, setup.repetitions):  # the first is to warm up
            for shape in _SHAPES:
                work = _work(shape, repetition)
                n_texts = sum(len(texts) for batches in work for texts in batches)
                for name, seconds in programs.items():
                    rate = n_texts / setup.turns.take(partial(_timed, seconds, work))
                    if repetition >= 0:
                        rates.setdefault((shape, name), []).append(rate)
    return [
        _row(model, shape, name, rates[shape, "edged"], rates[shape, name])
        for shape in _SHAPES
        for name in _TARGETS
    ]


def _timed(seconds: Callable[[Work], float], work: Work, attempt: int) -> float:
    """Nothing here is cached, so every attempt is the same."""
    return seconds(work)


def _work(shape: str, repetition: int) -> Work:
    n_clients, n_requests, n_texts = _SHAPES[shape]
    first = repetition * n_clients * n_requests * n_texts
    numbers = iter(range(first, first + n_clients * n_requests * n_texts))
    return [
        [[workload.sentence(next(numbers)) for _ in range(n_texts)] for _ in range(n_requests)]
        for _ in range(n_clients)
    ]


def _over_http(port: int, model: BenchModel) -> Callable[[Work], float]:
    def seconds(work: Work) -> float:
        bodies = [[workload.embed(texts, model=model.id) for texts in batches] for batches in work]
        return together(port, bodies, embedded)[0]

    return seconds


def _row(model: BenchModel, shape: str, peer: str, mine: Sequence[float], theirs: Sequence[float]) -> Row:
    wanted = _TARGETS[peer].get(shape)
    return Row(
        what=f"{model.id}, {shape}",
        unit="texts/s",
        edged=tuple(mine),
        peer=peer,
        peers=tuple(theirs),
        target=Target("at least", wanted) if wanted else None,
    )
