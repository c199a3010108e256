"""Real models give memory back while nobody uses them, and answer the next request as before."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edged.config.schema import Config, Model, Storage
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
    )
    record = Record(Calibration.load(tmp_path / "calibration.json"))
    running = Pool(config, planner(config, record.measured, record.planned_on), record)
    running.start()
    yield running
    running.close()
    record.close()


def _answer(pool: Pool) -> tuple[str, int]:
    """A greedy answer, and how many tokens of its prompt were known."""
    message = protocol.Message("user", _QUESTION)
    request = protocol.Generate(
        id=0, messages=(message,), sampling=protocol.Sampling(temperature=0), max_tokens=12
    )
    generation = pool.ensure_ready("smollm2", PATIENCE_S).generate(request)
    text = ""
    while not generation.finished:
        event = generation.poll(PATIENCE_S)
        text += event.text if event else ""
    return text, generation.n_cached_tokens or 0


def _resident_bytes(pool: Pool, model: str) -> int:
    return int(psutil.Process(pool.status(model).pid).memory_info().rss)


@pytest.mark.parametrize("shrink", [False, True])
def test_a_generator_that_was_cooled_answers_as_before(pool: Pool, *, shrink: bool) -> None:
    first, _ = _answer(pool)
    assert _answer(pool)[0] == first
    before_bytes = _resident_bytes(pool, "smollm2")
    freed_bytes = pool.cool("smollm2", shrink=shrink)
    assert freed_bytes >= (200 if shrink else 80) << 20
    assert _resident_bytes(pool, "smollm2") <= before_bytes - freed_bytes + (1 << 20)
    assert pool.status("smollm2").cooled == ("context" if shrink else "pages")
    text, n_known_tokens = _answer(pool)
    assert text == first
    assert n_known_tokens > 32, "what was asked for twice is kept on the shelf when the context goes"
    assert pool.status("smollm2").cooled is None


@pytest.mark.parametrize("shrink", [False, True])
def test_an_encoder_that_was_cooled_gives_the_same_vectors(pool: Pool, *, shrink: bool) -> None:
    request = protocol.Embed(id=0, texts=(_QUESTION,))

    def embed() -> bytes:
        handle = pool.ensure_ready("minilm", PATIENCE_S)
        return handle.embed(request, time.monotonic() + PATIENCE_S).vectors

    before = embed()
    assert pool.cool("minilm", shrink=shrink) > 8 << 20
    assert embed() == before


def test_who_is_at_work_is_not_cooled(pool: Pool) -> None:
    handle = pool.ensure_ready("smollm2", PATIENCE_S)
    request = protocol.Generate(
        id=0, text="Once", sampling=protocol.Sampling(temperature=0, ignore_eos=True), max_tokens=1000
    )
    generation = handle.generate(request)
    while generation.n_prompt_tokens is None:
        generation.poll(PATIENCE_S)
    assert pool.cool("smollm2", shrink=True) == 0
    assert pool.status("smollm2").cooled is None
    generation.cancel()
