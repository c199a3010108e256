"""Clients that ask a server again and again, and what they saw."""

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import msgspec

from edged.cli.client import Client
from edged.cli.conversation import PATH as CHAT
from edged.errors import EdgedError

EMBEDDINGS = "/v1/embeddings"
_COMMON = """
about after again all always animal answer around ask away because been before began below between big book
both boy but call came can car carry change child city close come could country cut day did different do does
door down each earth eat end enough even every example eye face family far father feel few find first follow
food form found four from get girl give go good great group grow had hand hard has have he head hear help her
here high him his home house how idea important in into it just keep kind know land large last later learn
"""
_WORDS = _COMMON.split()


class Sample(msgspec.Struct, frozen=True):
    """One answer, as its client saw it."""

    first_s: float  # until its first piece; of what comes in one piece, until that
    elapsed_s: float
    n_tokens: int  # generated; of an embedding, 1: the text


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What so many clients saw at once. Percentiles are of all answers; None where there was none."""

    clients: int
    answers: int
    failures: int
    first_failure: str | None
    first_p50_s: float | None
    first_p95_s: float | None
    first_p99_s: float | None
    answer_p50_s: float | None
    answer_p95_s: float | None
    each_per_s: float | None  # tokens of one answer after its first, in the middle
    all_per_s: float  # tokens (or texts) of all clients together


Ask = Callable[[int], Sample]  # the request of this number; raises EdgedError


def chats(client: Client, model: str, n_words: int, max_tokens: int) -> Ask:
    """Streamed chat completions, each of another question."""

    def ask(number: int) -> Sample:
        question = f"{number}. Write a story about: {words(number, n_words)}"
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return _streamed(client, body)

    return ask


def embeddings(client: Client, model: str, n_words: int) -> Ask:
    """Embeddings of one text each."""

    def ask(number: int) -> Sample:
        began_s = time.monotonic()
        client.post(EMBEDDINGS, {"model": model, "input": words(number, n_words)})
        elapsed_s = time.monotonic() - began_s
        return Sample(elapsed_s, elapsed_s, 1)

    return ask


def words(number: int, n_words: int) -> str:
    """A text of common words, another one for each number: no server has computed it before."""
    chosen = random.Random(number)
    return " ".join(chosen.choice(_WORDS) for _ in range(n_words))


def measure(ask: Ask, n_clients: int, duration_s: float, numbers: "count[int]") -> Measured:
    """Have so many clients ask for so long; what is under way then is answered."""
    samples: list[Sample] = []
    failures: list[str] = []
    enough = threading.Event()
    began_s = time.monotonic()

    def work() -> None:
        while not enough.is_set():
            try:
                samples.append(ask(next(numbers)))
            except EdgedError as error:
                failures.append(str(error))
                enough.wait(min(1.0, duration_s))  # a server that refuses is not to be flooded

    threads = [threading.Thread(target=work, daemon=True) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    try:
        enough.wait(duration_s)
    finally:
        enough.set()
    for thread in threads:
        thread.join()
    return summary(n_clients, samples, failures, time.monotonic() - began_s)


def summary(n_clients: int, samples: Sequence[Sample], failures: Sequence[str], elapsed_s: float) -> Measured:
    """Samples by their percentiles."""
    firsts = [sample.first_s for sample in samples]
    wholes = [sample.elapsed_s for sample in samples]
    paces = [
        (sample.n_tokens - 1) / (sample.elapsed_s - sample.first_s)
        for sample in samples
        if sample.n_tokens > 1 and sample.elapsed_s > sample.first_s
    ]
    return Measured(
        clients=n_clients,
        answers=len(samples),
        failures=len(failures),
        first_failure=failures[0] if failures else None,
        first_p50_s=percentile(firsts, 50),
        first_p95_s=percentile(firsts, 95),
        first_p99_s=percentile(firsts, 99),
        answer_p50_s=percentile(wholes, 50),
        answer_p95_s=percentile(wholes, 95),
        each_per_s=percentile(paces, 50),
        all_per_s=sum(sample.n_tokens for sample in samples) / elapsed_s,
    )


def percentile(values: Sequence[float], share: int) -> float | None:
    """The least value that so many of a hundred do not exceed; None of nothing."""
    if not values:
        return None
    return sorted(values)[math.ceil(share / 100 * len(values)) - 1]


def _streamed(client: Client, body: dict[str, Any]) -> Sample:
    began_s = time.monotonic()
    first_s, n_pieces, n_tokens = None, 0, None
    for told in client.stream(CHAT, body):
        if isinstance(told, str):
            continue
        if usage := told.get("usage"):
            n_tokens = usage.get("completion_tokens")
        delta = (told.get("choices") or [{}])[0].get("delta") or {}
        if delta.get("content") or delta.get("reasoning_content"):
            n_pieces += 1
            first_s = first_s or time.monotonic() - began_s
    elapsed_s = time.monotonic() - began_s
    # a server that does not count has sent a piece for each token
    return Sample(first_s or elapsed_s, elapsed_s, n_pieces if n_tokens is None else n_tokens)
