"""Clients that work side by side, each on a connection of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from tests.bench import web
from tests.bench.engine.wire import Connection
from tests.bench.engine.workload import CHAT, EMBED, Usage, answer_from_json
from tests.bench.process import BenchFailed

_Asked = TypeVar("_Asked")
_Got = TypeVar("_Got")


@dataclass(frozen=True)
class Said:
    """A chat answer; the times are monotonic, `tokens_at_s` those of a stream's pieces of text."""

    text: str
    usage: Usage
    sent_at_s: float
    tokens_at_s: Sequence[float] = ()

    @property
    def first_token_s(self) -> float:
        """Seconds from the request to the first text."""
        return self.tokens_at_s[0] - self.sent_at_s


def ask(connection: Connection, body: bytes) -> Said:
    """A chat answer in one piece."""
    sent_at_s = time.monotonic()
    answer = answer_from_json(connection.post(CHAT, body))
    if answer.usage is None:
        raise BenchFailed("the answer has no usage")
    return Said(answer.text, answer.usage, sent_at_s)


def ask_streamed(connection: Connection, body: bytes, seen: Callable[[float], None] | None = None) -> Said:
    """A chat answer as a stream; `seen` is told the time of each piece as it comes."""
    sent_at_s, times_s, texts, usage = time.monotonic(), [], [], None
    for now_s, event in connection.events(CHAT, body):
        answer = answer_from_json(event)
        usage = answer.usage or usage
        if answer.text:
            times_s.append(now_s)
            texts.append(answer.text)
            if seen is not None:
                seen(now_s)
    if usage is None or not times_s:
        raise BenchFailed(f"the stream ended without text and usage: {''.join(texts)!r}")
    return Said("".join(texts), usage, sent_at_s, times_s)


def embedded(connection: Connection, body: bytes) -> float:
    """Seconds that an embedding request took."""
    sent_at_s = time.monotonic()
    connection.post(EMBED, body)
    return time.monotonic() - sent_at_s


def together(
    port: int, jobs: Sequence[Sequence[_Asked]], one: Callable[[Connection, _Asked], _Got]
) -> tuple[float, list[_Got]]:
    """Each client works through its jobs: seconds from the common start to the last answer, and all."""
    start = threading.Barrier(len(jobs) + 1, timeout=web.TIMEOUT_S)

    def client(work: Sequence[_Asked]) -> list[_Got]:
        with Connection(port) as connection:
            start.wait()
            return [one(connection, job) for job in work]

    with ThreadPoolExecutor(len(jobs)) as threads:
        running = [threads.submit(client, work) for work in jobs]
        start.wait()
        began_s = time.monotonic()
        answers = [answer for future in running for answer in future.result()]
        return time.monotonic() - began_s, answers
