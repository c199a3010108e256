"""A week of requests to ten models from three kinds of people: generated, the same for the same seed."""

import random
from collections.abc import Callable, Iterator, Mapping

import msgspec

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86400.0
_WORKING_DAYS = 5

MODELS = (
    *("minilm", "notes-embed", "docs-embed", "rerank", "intent"),
    *("chat-small", "chat", "coder", "summary", "translate"),
)


class Turn(msgspec.Struct, frozen=True):
    """One request of a session: sent `pause_s` after the answer before it, then work of `work_s`."""

    model: str
    work_s: float
    pause_s: float = 0.0


class Session(msgspec.Struct, frozen=True):
    """Somebody who asks, waits for the answer, and asks again: nobody sends the second message of a chat
    while the first is not answered, so a slow load moves everything that follows it."""

    at_s: float
    turns: tuple[Turn, ...]


def household(rng: random.Random, day: int) -> Iterator[Session]:
    """A home with a morning and an evening, whose automation embeds a sentence every minute, all day long.

    Voice commands while people are up, a chat or two in the evening (more at weekends), a search in notes
    now and then, a summary of the news at seven, and what the day brought is embedded at three at night.
    """
    weekend = day % 7 >= _WORKING_DAYS
    yield from _every(rng, MINUTE_S, 0.0, DAY_S, "minilm", 0.05)
    for begin_s, end_s, pause_s in (
        (6.5 * HOUR_S, 8.5 * HOUR_S, 6 * MINUTE_S),
        (8.5 * HOUR_S, 17 * HOUR_S, (25 if weekend else 90) * MINUTE_S),
        (17 * HOUR_S, 22.5 * HOUR_S, 6 * MINUTE_S),
    ):
        for at_s in _poisson(rng, pause_s, begin_s, end_s):
            yield _talk(rng, at_s, 2, 12.0, ("intent", 2.0))
    for _ in range(rng.randint(1, 2) + 2 * weekend):
        yield _talk(rng, rng.uniform(18, 22.5) * HOUR_S, 8, 50.0, ("chat", 15.0))
    if rng.random() < 0.7:
        yield _talk(rng, rng.uniform(14, 18) * HOUR_S, 10, 30.0, ("chat-small", 6.0))
    for at_s in _poisson(rng, 4 * HOUR_S, 8 * HOUR_S, 22 * HOUR_S):
        yield _talk(rng, at_s, 3, 20.0, ("notes-embed", 0.1), ("rerank", 0.5))
    yield _batch(rng, rng.uniform(6.9, 7.1) * HOUR_S, "summary", 12, 18.0)
    yield _batch(rng, rng.uniform(3.0, 3.1) * HOUR_S, "docs-embed", 200, 1.0)
    for at_s in _poisson(rng, 7 * HOUR_S, 8 * HOUR_S, 22 * HOUR_S):
        yield _talk(rng, at_s, 3, 25.0, ("translate", 5.0))
    if rng.random() < 0.3:
        yield _talk(rng, rng.uniform(19, 21) * HOUR_S, 12, 90.0, ("coder", 20.0))


def office(rng: random.Random, day: int) -> Iterator[Session]:
    """A small office that asks its documents: embed, rerank, answer, often with another question after it.

    Imports come in bursts, mail is sorted all day, two developers have an assistant, meetings are summed up;
    a help desk answers at all hours, and the index is rebuilt at two at night.
    """
    working = day % 7 < _WORKING_DAYS
    yield from _every(rng, 15 * MINUTE_S, 0.0, DAY_S, "minilm", 0.1)
    for at_s in _poisson(rng, 40 * MINUTE_S, 0.0, DAY_S):
        yield _talk(rng, at_s, 3, 40.0, ("chat-small", 6.0))
    yield _batch(rng, 2.0 * HOUR_S, "notes-embed", 600, 0.6)
    if not working:
        return
    yield from _every(rng, 3 * MINUTE_S, 8 * HOUR_S, 18 * HOUR_S, "minilm", 0.1)
    for begin_s, end_s, pause_s in (
        (8 * HOUR_S, 12 * HOUR_S, 5 * MINUTE_S),
        (12 * HOUR_S, 13 * HOUR_S, 25 * MINUTE_S),
        (13 * HOUR_S, 18 * HOUR_S, 5 * MINUTE_S),
    ):
        for at_s in _poisson(rng, pause_s, begin_s, end_s):
            yield _talk(rng, at_s, 2, 60.0, ("docs-embed", 0.1), ("rerank", 0.5), ("chat", 12.0))
    for _ in range(rng.randint(2, 4)):
        yield _batch(rng, rng.uniform(8.5, 17) * HOUR_S, "docs-embed", rng.randint(50, 400), 1.0)
    for _ in range(rng.randint(2, 4)):
        yield _talk(rng, rng.uniform(8.5, 17) * HOUR_S, 20, 90.0, ("coder", 12.0))
    for _ in range(rng.randint(2, 5)):
        at_s = rng.randint(9, 17) * HOUR_S + rng.uniform(0, 10) * MINUTE_S
        yield _batch(rng, at_s, "summary", 2, 40.0)
    for _ in range(rng.randint(4, 9)):
        yield _talk(rng, rng.uniform(8, 18) * HOUR_S, 3, 30.0, ("translate", 5.0))


def tinkerer(rng: random.Random, day: int) -> Iterator[Session]:
    """Somebody who tries models: the same question to some of them in turn, in the evening and at weekends.

    A script embeds something every five minutes, an agent asks twice an hour, and at half past one at night
    documents are embedded, summed up and translated, one job after the other.
    """
    weekend = day % 7 >= _WORKING_DAYS
    yield from _every(rng, 5 * MINUTE_S, 0.0, DAY_S, "minilm", 0.05)
    yield from _every(rng, 30 * MINUTE_S, 0.0, DAY_S, "chat-small", 8.0)
    at_s = 1.5 * HOUR_S
    for model, n_requests, every_s in (
        ("docs-embed", 500, 0.5),
        ("summary", 80, 12.0),
        ("translate", 100, 6.0),
    ):
        yield _batch(rng, at_s, model, n_requests, every_s)
        at_s += n_requests * every_s * 1.1 + MINUTE_S
    for _ in range(rng.randint(3, 5) if weekend else rng.randint(1, 2)):
        at_s = rng.uniform(10 if weekend else 18, 23) * HOUR_S
        tried = rng.sample(MODELS, rng.randint(2, 5)) * rng.randint(3, 12)
        turns = (
            Turn(model, 0.3 if "embed" in model else rng.uniform(3.0, 12.0), rng.expovariate(1 / 40.0))
            for model in tried
        )
        yield Session(at_s, tuple(turns))
    if rng.random() < 0.6:
        yield _talk(rng, rng.uniform(19, 22) * HOUR_S, 25, 60.0, ("coder", 15.0))


TRACES: Mapping[str, Callable[[random.Random, int], Iterator[Session]]] = {
    "household": household,
    "office": office,
    "tinkerer": tinkerer,
}


def trace(name: str, n_days: int, seed: int) -> list[Session]:
    """The sessions of so many days, the first a Monday, in the order of their beginnings."""
    rng = random.Random(f"{name} {seed}")
    found = [
        msgspec.structs.replace(session, at_s=day * DAY_S + session.at_s)
        for day in range(n_days)
        for session in TRACES[name](rng, day)
    ]
    return sorted(found, key=lambda session: session.at_s)


def _poisson(rng: random.Random, pause_s: float, begin_s: float, end_s: float) -> Iterator[float]:
    at_s = begin_s + rng.expovariate(1 / pause_s)
    while at_s < end_s:
        yield at_s
        at_s += rng.expovariate(1 / pause_s)


def _every(
    rng: random.Random, pause_s: float, begin_s: float, end_s: float, model: str, work_s: float
) -> Iterator[Session]:
    """Like a clock, give or take a second."""
    for number in range(int((end_s - begin_s) / pause_s)):
        at_s = begin_s + number * pause_s + rng.uniform(0.0, 2.0)
        yield Session(at_s, (Turn(model, work_s),))


def _talk(rng: random.Random, at_s: float, n_mean: int, pause_s: float, *steps: tuple[str, float]) -> Session:
    """A conversation of some turns, each a chain of steps (model, mean work) one after the other."""
    turns: list[Turn] = []
    while True:
        for index, (model, work_s) in enumerate(steps):
            waits_s = rng.expovariate(1 / pause_s) if turns and not index else 0.0
            turns.append(Turn(model, work_s * rng.uniform(0.5, 1.5), waits_s))
        if rng.random() < 1 / n_mean:
            return Session(at_s, tuple(turns))


def _batch(rng: random.Random, at_s: float, model: str, n_requests: int, every_s: float) -> Session:
    """A job: the next as soon as the last is done."""
    turns = (Turn(model, every_s * rng.uniform(0.7, 1.1), 0.1 * every_s) for _ in range(n_requests))
    return Session(at_s, tuple(turns))
