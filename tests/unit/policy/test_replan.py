"""Planning beside models that are loaded already."""

import msgspec

from edged.config.schema import Config, Model
from edged.policy.replan import as_loaded, works_alike
from tests.plans import fake_plan

CONFIG = Config(models={"new": Model(file="n.gguf"), "old": Model(file="o.gguf", max_queue_requests=3)})


def test_loaded_models_come_first_and_keep_what_they_have() -> None:
    plan = msgspec.structs.replace(fake_plan("old", "o.gguf"), n_ctx=777, strategy="warm", repack=True)
    config = as_loaded(CONFIG, {"old": plan})
    assert list(config.models) == ["old", "new"]
    old = config.models["old"]
    assert (old.n_ctx, old.strategy, old.repack, old.type_k) == (777, "warm", True, "f16")
    assert (old.file, old.max_queue_requests) == ("o.gguf", 3)
    assert config.models["new"] == CONFIG.models["new"]


def test_nothing_loaded_changes_nothing() -> None:
    assert as_loaded(CONFIG, {}) == CONFIG
    assert list(as_loaded(CONFIG, {}).models) == ["new", "old"]


def test_a_runner_is_as_good_as_another_unless_its_context_differs() -> None:
    plan = fake_plan()
    for same in (
        {"strategy": "warm"},
        {"load_at_start": False},
        {"makes_room": True},
        {"reasons": ("another",)},
    ):
        assert works_alike(plan, msgspec.structs.replace(plan, **same))
    for other in ({"n_ctx": 65}, {"n_seq_max": 1}, {"type_k": "q8_0"}, {"path": "x"}):
        assert not works_alike(plan, msgspec.structs.replace(plan, **other))
