"""Which settings a model starts from, and in which order they shrink."""

import itertools
from typing import Any

import pytest

from edged.gguf.header import GgufHeader
from edged.policy.settings import Level, Settings, impossible, kind_of, larger, levels
from edged.policy.types import Kind
from tests.unit.gguf import headers
from tests.unit.policy.machines import model

AVX2 = ("avx2",)


def levels_of(name: str, **fixed: Any) -> tuple[Level, ...]:
    one = model(name, **fixed)
    return levels(one, kind_of(one), AVX2)


def changes(found: tuple[Level, ...]) -> list[str]:
    """What each step changes."""
    return [
        "+".join(
            name
            for name in Settings.__struct_fields__
            if getattr(before.settings, name) != getattr(after.settings, name)
        )
        for before, after in itertools.pairwise(found)
    ]


def test_the_order_of_shrinking() -> None:
    found = changes(levels_of("gemma"))
    assert list(dict.fromkeys(found)) == ["repack", "n_ubatch", "n_seq_max", "type_k+type_v", "n_ctx"]


@pytest.mark.parametrize("name", ["gemma", "smollm2", "minilm"])
def test_every_step_saves(name: str) -> None:
    found = levels_of(name)
    for before, after in itertools.pairwise(found):
        if before.settings.repack == after.settings.repack:
            assert after.resident_bytes < before.resident_bytes


def test_the_context_never_shrinks_below_its_minimum() -> None:
    assert levels_of("smollm2")[-1].settings.n_ctx == 512
    assert levels_of("smollm2", n_ctx_min=700)[-1].settings.n_ctx == 700
    assert levels_of("smollm2", n_ctx_min=100_000)[-1].settings.n_ctx == 4096
    assert levels_of("minilm", n_ctx_min=100)[-1].settings.n_ctx == 100


def test_an_embedding_batch_shrinks_with_its_context() -> None:
    for level in levels_of("minilm", n_ctx_min=16):
        now = level.settings
        assert now.n_ctx <= now.n_ubatch == now.n_batch


def test_what_is_fixed_does_not_shrink() -> None:
    assert "n_seq_max" not in changes(levels_of("gemma", n_seq_max=4))
    assert "repack" not in changes(levels_of("gemma", repack=True))
    assert "n_ubatch" not in changes(levels_of("gemma", n_ubatch=512))
    assert "n_ctx" not in changes(levels_of("gemma", n_ctx=4096))
    assert "type_v" in changes(levels_of("gemma", type_k="f16"))
    assert not {"type_k", "type_v", "type_k+type_v"} & set(
        changes(levels_of("gemma", type_k="bf16", type_v="f16"))
    )
    assert len(levels_of("minilm", n_ctx=512)) == 1


def test_batches_follow_what_is_fixed() -> None:
    first = levels_of("smollm2", n_ubatch=1024)[0].settings
    assert (first.n_batch, first.n_ubatch) == (1024, 1024)
    first = levels_of("smollm2", n_batch=128)[0].settings
    assert (first.n_batch, first.n_ubatch) == (128, 128)
    first = levels_of("minilm", n_batch=8, n_ctx=8)[0].settings
    assert (first.n_batch, first.n_ubatch, first.n_seq_max) == (8, 8, 8)


def odd_heads() -> GgufHeader:
    """Heads that no quantized cache can hold."""
    return headers.header(
        "llama",
        {
            "block_count": 2,
            "embedding_length": 80,
            "context_length": 4096,
            "feed_forward_length": 160,
            "attention.head_count": 4,
        },
        [headers.tensor("token_embd.weight", "F16", 80, 1000)],
        {"tokenizer.ggml.tokens": 1000},
    )


def test_a_cache_whose_heads_do_not_divide_stays_as_it_is() -> None:
    one = model("odd", odd_heads())
    assert levels(one, "generate", AVX2)[-1].settings.type_k == "f16"
    fixed = model("odd", odd_heads(), type_k="q8_0")
    assert impossible(fixed, "generate") == (
        "heads are 20 wide, which q8_0 cannot hold in blocks of 32: set models.odd.type_k to f16"
    )
    assert impossible(one, "generate") is None


def test_the_kind_comes_from_the_configuration_or_else_the_file() -> None:
    assert kind_of(model("minilm")) == "embed"
    assert kind_of(model("smollm2")) == "generate"
    assert kind_of(model("smollm2", kind="embed")) == "embed"
    assert kind_of(model("cross", headers.cross_encoder())) == "rank"


def test_a_cross_encoder_computes_inputs_as_an_embedding_model_does() -> None:
    ranking = levels(model("cross", headers.cross_encoder()), "rank", AVX2)
    embedding = levels(model("minilm"), "embed", AVX2)
    assert [level.settings for level in ranking] == [level.settings for level in embedding]
    assert ranking[0].footprint.compute_bytes == embedding[0].footprint.compute_bytes


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("cross", "embed", "gives scores, not vectors: set models.cross.kind to rank"),
        ("cross", "generate", "bert is an encoder and cannot generate: set models.cross.kind to rank"),
        ("minilm", "rank", "has no classifier, so it gives no scores: set models.minilm.kind to auto"),
        ("bare", "rank", "has no classifier"),
        ("bare", "embed", "says that it ranks, but has no classifier"),
    ],
)
def test_what_a_file_is_not_made_for_is_refused(name: str, kind: Kind, why: str) -> None:
    made = {"cross": headers.cross_encoder(), "bare": headers.cross_encoder(head=False)}
    assert why in (impossible(model(name, made.get(name)), kind) or "")


def test_larger_tries_the_most_painful_loss_first() -> None:
    found = levels_of("smollm2")
    tried = list(larger(found[0].settings, found[-1].settings))
    assert [settings.n_ctx for settings in tried[:3]] == [4096, 2048, 1024]
    assert tried[3].type_k == "f16"
    assert list(larger(found[0].settings, found[0].settings)) == []
