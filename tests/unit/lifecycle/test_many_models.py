"""More models than fit, asked for by many threads: never too much memory, nothing lost, nobody stuck."""

import random
import threading
import time

import pytest

from edged.errors import EdgedError, Replaced, RunnerFailed, Unavailable
from edged.lifecycle.pool import Pool
from edged.runner import protocol
from tests.unit.lifecycle.machine import MIB, Machine, no_thread_is_left, planned_of, pool_of
from tests.unit.lifecycle.scripted import PATIENCE_S

SIZES = {"a": 30 * MIB, "b": 40 * MIB, "c": 50 * MIB, "d": 60 * MIB, "e": 90 * MIB, "tiny": 5 * MIB}
N_THREADS, N_REQUESTS = 10, 40


def ask(pool: Pool, model: str) -> None:
    """One request, as the API makes it."""
    deadline = time.monotonic() + PATIENCE_S
    with pool.asking(model):
        while True:
            handle = pool.ensure_ready(model, deadline - time.monotonic())
            try:
                handle.embed(protocol.Embed(id=0, texts=("x",)), deadline)
                return
            except Replaced:
                continue


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pinned", [False, True])
def test_random_requests_from_many_threads(
    monkeypatch: pytest.MonkeyPatch, seed: int, *, pinned: bool
) -> None:
    before = threading.enumerate()
    machine = Machine(monkeypatch, seed)
    budget_bytes = 100 * MIB
    pool = pool_of(SIZES, budget_bytes, tiny={"pinned": pinned})
    answered: list[str] = []
    errors: list[EdgedError] = []

    def client(number: int) -> None:
        draw = random.Random(1000 * seed + number)
        for _ in range(N_REQUESTS):
            model = draw.choice(list(SIZES))
            try:
                ask(pool, model)
                answered.append(model)
            except EdgedError as error:
                errors.append(error)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(N_THREADS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(3 * PATIENCE_S)
    assert not any(each.is_alive() for each in clients)
    assert errors == []
    assert len(answered) == N_THREADS * N_REQUESTS
    assert machine.most_bytes <= budget_bytes
    if pinned:
        assert machine.loads.count("tiny") == 1
    pool.close()
    assert pool.admission.account.taken_bytes == 0
    assert no_thread_is_left(before)


def change(pool: Pool, model: str, draw: random.Random) -> None:
    """What else may happen to a model."""
    match draw.randrange(4):
        case 0:
            pool.unload(model)
        case 1:
            pool.load(model)
        case 2:
            pool.keep(model, draw.choice((0.0, 0.01, -1.0)))
        case _:
            pool.admission.relieve(draw.choice((1, 50)) * MIB, {})


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_besides_memory_is_never_overcommitted_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Models are unloaded and kept for no time, runners crash: requests may fail, but each hears it."""
    before = threading.enumerate()
    machine = Machine(monkeypatch, seed)
    chance = random.Random(seed)
    machine.crashes = lambda _model: chance.random() < 0.02
    budget_bytes = 100 * MIB
    pool = pool_of(SIZES, budget_bytes)
    over = threading.Event()
    heard: list[str] = []

    def client(number: int) -> None:
        draw = random.Random(1000 * seed + number)
        for _ in range(N_REQUESTS):
            try:
                ask(pool, draw.choice(list(SIZES)))
                heard.append("answer")
            except (RunnerFailed, Unavailable) as error:
                heard.append(str(error))

    def meddle() -> None:
        draw = random.Random(seed)
        while not over.wait(0.002):
            change(pool, draw.choice(list(SIZES)), draw)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(N_THREADS)]
    meddler = threading.Thread(target=meddle)
    for each in (*threads, meddler):
        each.start()
    for each in threads:
        each.join(3 * PATIENCE_S)
    over.set()
    meddler.join(PATIENCE_S)
    assert not any(each.is_alive() for each in (*threads, meddler))
    assert len(heard) == N_THREADS * N_REQUESTS
    assert heard.count("answer") > len(heard) / 2
    assert machine.most_bytes <= budget_bytes
    pool.close()
    assert pool.admission.account.taken_bytes == 0
    assert machine.held_bytes == 0
    assert no_thread_is_left(before)


@pytest.mark.parametrize("seed", range(3))
def test_reloads_meanwhile_lose_nothing_and_overcommit_nothing(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    before = threading.enumerate()
    machine = Machine(monkeypatch, seed)
    budget_bytes = 100 * MIB
    pool = pool_of(SIZES, budget_bytes)
    planned = planned_of(SIZES)
    over = threading.Event()
    heard: list[str] = []

    def client(number: int) -> None:
        draw = random.Random(1000 * seed + number)
        for _ in range(N_REQUESTS):
            ask(pool, draw.choice(list(SIZES)))
            heard.append("answer")

    def reload() -> None:
        draw = random.Random(seed)
        while not over.wait(0.02):
            kept = [model for model in SIZES if draw.random() < 0.5]
            pool.apply(pool.config, planned, kept).finish(PATIENCE_S)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(N_THREADS)]
    reloading = threading.Thread(target=reload)
    for each in (*threads, reloading):
        each.start()
    for each in threads:
        each.join(3 * PATIENCE_S)
    over.set()
    reloading.join(PATIENCE_S)
    assert not any(each.is_alive() for each in (*threads, reloading))
    assert len(heard) == N_THREADS * N_REQUESTS
    assert machine.most_bytes <= budget_bytes
    pool.close()
    assert pool.admission.account.taken_bytes == 0
    assert no_thread_is_left(before)
