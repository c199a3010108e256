"""What each change of the configuration asks for."""

from pathlib import Path

import msgspec
import pytest

from edged.config.difference import Difference, difference
from edged.config.schema import Access, Bytes, Config, Loading, Memory, Model, Seconds, Server, Storage
from edged.config.shape import fields_of

KEY = "a-key-that-is-long-enough"
BEFORE = Config(models={"a": Model(file="a.gguf"), "b": Model(file="b.gguf", n_ctx=512)})
# One value for every key of a model that is not its default, by what its change asks for.
NEW_RUNNER = {
    "file": "other.gguf",
    "kind": "embed",
    "strategy": "lazy",
    "repack": False,
    "n_ctx": 2048,
    "n_ctx_min": 256,
    "n_seq_max": 2,
    "n_batch": 128,
    "n_ubatch": 64,
    "n_threads": 1,
    "type_k": "q8_0",
    "type_v": "q8_0",
    "speculation": "off",
    "prefix_cache": Bytes(0),
}
LIMITS = {
    "max_queue_requests": 2,
    "max_queue_tokens": 100,
    "step_time": Seconds(1),
    "pinned": True,
    "keep_alive": Seconds(1),
    "matryoshka": True,
}


def with_model(model: str, **changes: object) -> Config:
    """BEFORE with some keys of a model changed."""
    changed = msgspec.structs.replace(BEFORE.models[model], **changes)
    return msgspec.structs.replace(BEFORE, models={**BEFORE.models, model: changed})


def test_nothing_changes_nothing() -> None:
    same = Config(models={"a": Model(file="a.gguf"), "b": Model(file="b.gguf", n_ctx=512)})
    assert difference(BEFORE, same) == Difference()
    assert Difference().text == "nothing has changed"


def test_every_key_of_a_model_is_decided_on() -> None:
    assert {*NEW_RUNNER, *LIMITS, "preload"} == set(fields_of(Model))


@pytest.mark.parametrize(("key", "value"), NEW_RUNNER.items())
def test_what_a_runner_is_started_by_needs_a_new_one(key: str, value: object) -> None:
    found = difference(BEFORE, with_model("a", **{key: value}))
    assert (found.replaced, found.limited, found.added, found.removed) == (("a",), (), (), ())
    assert found.changes[0].startswith(f"models.a.{key}: ")


@pytest.mark.parametrize(("key", "value"), LIMITS.items())
def test_limits_leave_the_runner_alone(key: str, value: object) -> None:
    found = difference(BEFORE, with_model("a", **{key: value}))
    assert (found.replaced, found.limited, found.planning) == ((), ("a",), key == "pinned")


def test_whether_a_model_is_preloaded_is_no_reason_for_a_new_runner() -> None:
    found = difference(BEFORE, with_model("b", preload=False))
    assert (found.replaced, found.preloaded) == ((), ("b",))
    assert found.text == "models.b.preload: true → false"


def test_models_come_and_go() -> None:
    after = Config(models={"b": BEFORE.models["b"], "c": Model(file="c.gguf")})
    found = difference(BEFORE, after)
    assert (found.added, found.removed, found.replaced) == (("c",), ("a",), ())
    assert found.text == "models.c: added; models.a: removed"


def test_another_model_directory_moves_only_files_that_lie_in_it(tmp_path: Path) -> None:
    models = {"in": Model(file="m.gguf"), "out": Model(file="/elsewhere/m.gguf")}
    before = Config(models=models, storage=Storage(model_dir="/one"))
    after = Config(models=models, storage=Storage(model_dir="/two"))
    assert difference(before, after).replaced == ("in",)


@pytest.mark.parametrize(
    ("path", "after"),
    [
        ("server.port", Config(server=Server(port=1))),
        ("server.host", Config(server=Server(host="0.0.0.0"))),
        ("storage.state_dir", Config(storage=Storage(state_dir="/x"))),
    ],
)
def test_what_is_bound_once_cannot_change(path: str, after: Config) -> None:
    assert difference(Config(), after).fixed == (path,)


@pytest.mark.parametrize(
    ("after", "memory", "planning"),
    [
        (Config(memory=Memory(reserve=Bytes(1))), True, True),
        (Config(loading=Loading(start_budget=Seconds(1))), False, True),
        (Config(loading=Loading(prefetch=False)), False, True),
        (Config(loading=Loading(request_wait=Seconds(1))), False, False),
        (Config(server=Server(max_requests=1)), False, False),
    ],
)
def test_what_models_are_planned_on(after: Config, memory: bool, planning: bool) -> None:
    found = difference(Config(), after)
    assert (found.memory, found.planning) == (memory, planning)
    assert len(found.changes) == 1


def test_keys_are_not_shown() -> None:
    found = difference(Config(), Config(access=Access(mode="any", api_keys=(KEY,), hosts=("edge.local",))))
    assert KEY not in repr(found)
    assert found.changes == (
        "access.mode: loopback → any",
        "access.api_keys: changed",
        "access.hosts: none → edge.local",
    )


def test_many_changes_are_cut_short_in_a_sentence() -> None:
    found = Difference(changes=tuple(f"key{n}: 1 → 2" for n in range(11)))
    assert found.text.endswith("key7: 1 → 2; 3 more")
