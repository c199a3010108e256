"""Real models give memory back while nobody uses them, and answer the next request as before."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edged.config.schema import Config, Memory, Model, Storage
from edged.lifecycle.calibration import Calibration
from edged.lifecycle.planner import planner
from edged.lifecycle.pool import Pool
from edged.lifecycle.record import Record
from edged.runner import protocol
from tests.e2e.daemon import PATIENCE_S

_QUESTION = "Tell me about the sea and the ships that sail on it, and about the people who live by it."


@pytest.fixture
def pool(models: Path, tmp_path: Path) -> Iterator[Pool]:
    config = Config(
        models={
            "smollm2": Model(file="smollm2.gguf", n_ctx=2048, repack=False),
            "minilm": Model(file="minilm.gguf"),
        },
        storage=Storage(model_dir=str(models), state_dir=str(tmp_path / "state")),
        memory=Memory(),
    )
    record = Record(Calibration.load(tmp_path / "calibration.json"))
    running = Pool(config, planner(config, record.measured, record.planned_on), record)
    running.start()
    yield running
    running.close()
    record.close()


def _answer(pool: Pool) -> tuple[str, int]:
    """A greedy answer, and how much of its prompt was known."""
    message = protocol.Message("user", _QUESTION)
    handle = pool.ensure_ready("smollm2", PATIENCE_S)
    generation = handle.generate(
        protocol.Generate(id=0, messages=(message,), sampling=protocol.Sampling(temperature=0), max_tokens=12)
    )
    text = ""
    while not generation.finished:
        event = generation.poll(PATIENCE_S)
        text += event.text if event else ""
    return text, generation.n_cached_tokens or 0


def _resident_bytes(pool: Pool, model: str) -> tuple[int, int]:
    """Of files, and anonymous."""
    memory = psutil.Process(pool.status(model).pid).memory_full_info()
    return memory.rss - memory.data if False else memory.shared, memory.uss


@pytest.mark.parametrize("shrink", [False, True])
def test_a_cooled_generator_answers_as_before(pool: Pool, *, shrink: bool) -> None:
    import time

    before, _ = _answer(pool)
    again, cached = _answer(pool)
    assert again == before
    assert cached > 0
    r0 = psutil.Process(pool.status("smollm2").pid).memory_info()
    freed = pool.cool("smollm2", shrink=shrink)
    r1 = psutil.Process(pool.status("smollm2").pid).memory_info()
    print(shrink, freed, r0, r1)
    assert freed > 90 << 20
    t = time.time()
    text, cached = _answer(pool)
    print(time.time() - t, cached)
    assert text == before
    t = time.time()
    text, cached = _answer(pool)
    print(time.time() - t, cached)
