"""What several prompts begin with is computed once, also over an unload; damaged files are not believed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon

SYSTEM = "You answer questions about a harbour town. " + " ".join(
    f"House number {number} belongs to the {trade}."
    for number, trade in enumerate(["baker", "smith", "fisher", "tailor", "carpenter", "teacher"] * 3)
)
QUESTIONS = ("Who lives in house 3?", "Name a trade.", "What is a harbour?", "Who bakes the bread?")


def _ask(daemon: Daemon, *turns: str) -> tuple[str, int]:
    """The greedy answer after a conversation, and how many tokens of it had not to be computed."""
    roles = ["system", *["user", "assistant"] * len(turns)]
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, (SYSTEM, *turns), strict=False)]
    body = {"model": "smollm2", "messages": messages, "temperature": 0, "max_tokens": 24}
    status, answer = daemon.call("POST", "/v1/chat/completions", body)
    assert status == 200, answer
    cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return answer["choices"][0]["message"]["content"], cached


@pytest.fixture
def fresh(start: Callable[..., Daemon]) -> Daemon:
    daemon = start("models.smollm2.n_seq_max=4", "models.minilm.preload=false")
    daemon.wait_ready()
    return daemon


def test_a_shared_system_prompt_is_computed_once_for_all_slots(fresh: Daemon) -> None:
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda question: _ask(fresh, question), QUESTIONS))
    assert sorted(cached > 100 for _, cached in together) == [False, True, True, True]
    assert all(text for text, _ in together)


def test_the_second_turn_computes_only_what_is_new(fresh: Daemon) -> None:
    text, _ = _ask(fresh, QUESTIONS[0])
    before = _ask(fresh, QUESTIONS[0])[1]
    assert _ask(fresh, QUESTIONS[0], text, "Why?")[1] > before + 3


def test_a_prefix_survives_an_unload_but_not_a_damaged_file(fresh: Daemon) -> None:
    """Answers are compared where prompts are cut alike: other cuts round differently."""
    whole, continued = _ask(fresh, QUESTIONS[0]), _ask(fresh, QUESTIONS[1])
    assert (whole[1], continued[1] > 100) == (0, True)
    fresh.call("POST", "/edged/v1/models/smollm2/unload")
    (file,) = _shelved(fresh)
    assert file.stat().st_mode & 0o777 == 0o600
    assert _ask(fresh, QUESTIONS[1]) == continued

    fresh.call("POST", "/edged/v1/models/smollm2/unload")
    (file,) = _shelved(fresh)
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)
    assert _ask(fresh, QUESTIONS[0]) == whole
    assert not file.exists()


def _shelved(daemon: Daemon) -> list[Path]:
    arguments = daemon.process.args
    assert isinstance(arguments, list)
    (folder,) = [part.split("=", 1)[1] for part in arguments if str(part).startswith("storage.state_dir=")]
    return sorted((Path(folder) / "prefixes" / "smollm2").glob("*"))
