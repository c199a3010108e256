"""What is planned in cases that a person can check by hand, and how it is explained."""

import re
from typing import Any

import msgspec
import pytest

from edged.config.schema import Bytes
from edged.config.units import format_bytes
from edged.hw.snapshot import CpuFacts
from edged.policy.plan import plan
from edged.policy.types import LoadPlan, LoadTimes, Measured
from tests.unit.policy.machines import GIB, MIB, gains, machine, model, plan_one, said, settings


def test_warm_when_it_fits_and_reading_is_within_the_start_budget() -> None:
    found = plan_one(machine(bytes_per_s=40e6), model("smollm2"))
    assert (found.strategy, found.load_at_start, found.kind) == ("warm", True, "generate")
    assert (found.n_ctx, found.n_seq_max, found.n_batch, found.n_ubatch) == (4096, 4, 512, 512)
    assert (found.type_k, found.type_v, found.n_threads) == ("f16", "f16", 4)
    wanted_bytes = sum(piece.length for piece in found.prefetch)
    assert found.predicted.ready_s == pytest.approx(wanted_bytes / 40e6, abs=0.2)
    assert "that are not cached takes" in said(found)
    assert "at 40.0 MB/s" in said(found)
    assert "within loading.start_budget (10 s)" in said(found)


def test_stream_when_the_storage_is_too_slow_to_wait_for() -> None:
    found = plan_one(machine(bytes_per_s=2e6), model("smollm2"))
    assert found.strategy == "stream"
    assert found.prefetch
    assert found.predicted.ready_s is not None
    assert found.predicted.ready_s < 1
    assert found.predicted.first_answer_s is not None
    assert found.predicted.first_answer_s > 30
    assert "more than loading.start_budget (10 s): it serves at once" in said(found)


def test_the_start_budget_decides_between_warm_and_stream() -> None:
    slow = machine(bytes_per_s=2e6)
    assert plan_one(slow, model("smollm2"), settings(start_budget_s=300)).strategy == "warm"
    assert (
        plan_one(machine(bytes_per_s=40e6), model("smollm2"), settings(start_budget_s=1)).strategy == "stream"
    )
    assert (
        plan_one(machine(cached_share=1.0), model("smollm2"), settings(start_budget_s=0)).strategy == "stream"
    )


def test_what_is_cached_need_not_be_read() -> None:
    found = plan_one(machine(bytes_per_s=2e6, cached_share=1.0), model("smollm2"))
    assert found.strategy == "warm"
    assert found.predicted.ready_s is not None
    assert found.predicted.ready_s < 2
    assert "are in the page cache" in said(found)
    half = plan_one(machine(bytes_per_s=10e6, cached_share=0.5), model("smollm2"))
    assert half.predicted.ready_s == pytest.approx(sum(p.length for p in half.prefetch) / 20e6, abs=0.2)


def test_unknown_storage_is_not_waited_for() -> None:
    found = plan_one(machine(bytes_per_s=None, cached_share=None), model("smollm2"))
    assert found.strategy == "stream"
    assert found.predicted.first_answer_s is None
    assert "is unknown: it serves at once" in said(found)
    assert "how much of its file is in the page cache is unknown" in said(found)


def test_a_measured_rate_stands_in_for_an_unknown_one() -> None:
    found = plan_one(
        machine(bytes_per_s=None), model("smollm2"), measured=Measured(bytes_per_s={"mmcblk0": 40e6})
    )
    assert found.strategy == "warm"
    assert "at 40.0 MB/s" in said(found)


def test_measured_times_replace_the_defaults() -> None:
    quick = machine(cached_share=1.0)
    times = LoadTimes(load_s=3.0, context_s=0.5, warmup_s=0.25)
    measured = Measured(spawn_s=1.0, models={"/models/smollm2.gguf": times})
    found = plan_one(quick, model("smollm2"), measured=measured)
    assert found.predicted.ready_s == pytest.approx(1.0 + 3.0 + 0.5 + 0.25)
    assert found.predicted.first_answer_s == pytest.approx(1.0 + 3.0 + 0.5 + 0.5)


def test_embeddings_leave_the_token_table_to_page_faults() -> None:
    found = plan_one(machine(), model("minilm"))
    assert (found.kind, found.n_ctx, found.n_seq_max) == ("embed", 512, 64)
    assert found.n_ubatch >= found.n_ctx
    assert found.n_batch >= found.n_ubatch
    (table,) = found.random_access
    assert table.length > 10_000_000
    assert all(
        piece.offset + piece.length <= table.offset or piece.offset >= table.offset + table.length
        for piece in found.prefetch
    )


def test_shrinking_takes_the_cheapest_steps_that_are_enough() -> None:
    shrunk = plan_one(machine(available_bytes=560 * MIB), model("smollm2"))
    assert (shrunk.n_seq_max, shrunk.n_ctx, shrunk.type_k, shrunk.n_ubatch) == (2, 4096, "f16", 512)
    assert "n_seq_max 4 → 2" in said(shrunk)
    smaller = plan_one(machine(available_bytes=275 * MIB), model("smollm2"))
    assert (smaller.strategy, smaller.n_seq_max, smaller.type_k) == ("warm", 1, "q8_0")
    assert 512 <= smaller.n_ctx < 4096
    assert smaller.predicted.anon_bytes + smaller.predicted.file_bytes <= (275 - 128) * MIB


def test_lazy_when_the_file_does_not_fit() -> None:
    found = plan_one(machine(available_bytes=230 * MIB, bytes_per_s=40e6), model("smollm2"))
    assert (found.strategy, found.repack) == ("lazy", False)
    assert 0 < found.mlock_bytes == sum(piece.length for piece in found.prefetch)
    assert found.predicted.anon_bytes + found.mlock_bytes <= 102 * MIB
    assert found.predicted.anon_bytes <= 102 * MIB < found.predicted.anon_bytes + found.predicted.file_bytes
    assert "there is no room for all" in said(found)
    assert "a token may take as long as reading the other" in said(found)


def test_refused_when_even_the_anonymous_part_does_not_fit() -> None:
    found = plan_one(machine(available_bytes=150 * MIB), model("gemma"))
    assert (found.strategy, found.load_at_start, found.prefetch) == ("refused", False, ())
    (reason,) = found.reasons
    assert reason.startswith("needs at least ")
    assert "22 MiB for models (150 MiB available, 128 MiB in reserve)" in reason
    assert "set memory.reserve to " in reason


def test_a_refusal_names_the_setting_that_stands_in_the_way() -> None:
    small = machine(available_bytes=230 * MIB)
    warm = plan_one(small, model("smollm2", strategy="warm"))
    assert warm.strategy == "refused"
    assert "set models.smollm2.strategy to auto, and it fits" in said(warm)
    long = plan_one(small, model("smollm2", n_ctx=8192, n_seq_max=4))
    assert "set models.smollm2.n_ctx to auto, and it fits" in said(long)
    both = plan_one(small, model("smollm2", n_ctx=8192, n_seq_max=64, strategy="warm"))
    assert "set models.smollm2.strategy to auto and models.smollm2." in said(both)
    least = plan_one(machine(available_bytes=180 * MIB), model("smollm2", n_ctx_min=8000))
    assert "set models.smollm2.n_ctx_min to 128, and it fits" in said(least)
    nothing = plan_one(machine(available_bytes=20 * MIB), model("gemma"))
    assert "no setting makes it fit on this machine" in said(nothing)
    assert "models.gemma.file" in said(nothing)


def test_the_memory_settings_that_a_refusal_names_are_enough() -> None:
    cases: list[tuple[int | None, dict[str, Any]]] = [
        (150 * MIB, {}),
        (8 * GIB, {"budget": Bytes(30 * MIB)}),
        (150 * MIB, {"budget": Bytes(30 * MIB), "reserve": Bytes(100 * MIB)}),
        (None, {"budget": Bytes(30 * MIB)}),
    ]
    for available, memory in cases:
        refused = plan_one(machine(available), model("gemma"), settings(**memory))
        assert refused.strategy == "refused"
        named = re.findall(r"memory\.(budget|reserve) to (\d+)MiB", said(refused))
        assert named
        remedy: dict[str, Any] = {**memory, **{name: Bytes(int(size) * MIB) for name, size in named}}
        assert plan_one(machine(available), model("gemma"), settings(**remedy)).strategy == "lazy"


def test_two_models_share_the_memory() -> None:
    minilm, smollm2 = plan(
        machine(available_bytes=500 * MIB), [model("minilm"), model("smollm2")], settings()
    )
    # a warm-up would pick its rows beside the other one's reader
    assert (minilm.strategy, smollm2.strategy) == ("stream", "warm")
    assert minilm.n_ctx == 512
    assert smollm2.n_seq_max < 4
    assert "are its share" in said(smollm2)


def test_equal_models_get_equal_shares_and_the_first_what_is_left() -> None:
    first, second = plan(
        machine(available_bytes=700 * MIB),
        [model("smollm2"), model("second", model("smollm2").header)],
        settings(),
    )
    assert (first.n_ctx, first.n_seq_max, first.type_k) == (4096, 2, "f16")
    assert (second.n_ctx, second.n_seq_max, second.type_k) == (4096, 1, "f16")


def test_one_that_does_not_fit_beside_the_others_is_loaded_on_demand() -> None:
    fixed: dict[str, Any] = {"n_ctx": 4096, "n_seq_max": 4, "type_k": "f16", "type_v": "f16", "n_ubatch": 512}
    first, second = plan(
        machine(available_bytes=700 * MIB),
        [model("smollm2", **fixed), model("second", model("smollm2").header, **fixed)],
        settings(),
    )
    assert (first.strategy, first.load_at_start) == ("warm", True)
    assert (second.strategy, second.load_at_start) == ("on_demand", False)
    assert "does not fit beside the models that come before it" in said(second)
    assert "others are unloaded for it, since it needs" in said(second)
    assert (first.makes_room, second.makes_room) == (False, True)


def _bytes(found: LoadPlan) -> int:
    return found.predicted.anon_bytes + found.predicted.file_bytes


def test_a_pinned_model_comes_before_those_that_are_named_before_it() -> None:
    fixed: dict[str, Any] = {"n_ctx": 4096, "n_seq_max": 4, "type_k": "f16", "type_v": "f16", "n_ubatch": 512}
    first, second = plan(
        machine(available_bytes=700 * MIB),
        [model("smollm2", **fixed), model("second", model("smollm2").header, pinned=True, **fixed)],
        settings(lazy_available=False),
    )
    assert (first.load_at_start, second.load_at_start) == (False, True)
    assert first.strategy == "refused"
    assert f"{format_bytes(_bytes(second))} taken by second, which is pinned" in said(first)
    unpinned = [model("smollm2", **fixed), model("second", model("smollm2").header, **fixed)]
    assert plan(machine(available_bytes=700 * MIB), unpinned, settings(lazy_available=False))[1].makes_room


def test_a_model_for_which_only_pinned_ones_are_in_the_way_says_so() -> None:
    fixed: dict[str, Any] = {"n_ctx": 512, "n_seq_max": 1, "type_k": "q8_0", "type_v": "q8_0", "n_ubatch": 64}
    room = machine(available_bytes=200 * MIB + settings().memory.reserve)
    models = [
        model("minilm", pinned=True, n_ctx=512, n_ctx_min=128),
        model("smollm2", n_ctx_min=128, **fixed),
    ]
    _, refused = plan(room, models, settings(lazy_available=False))
    assert refused.strategy == "refused"
    assert "set models.minilm.pinned to false, and it fits" in said(refused)


def test_what_is_loaded_on_demand_is_planned_for_all_that_is_not_pinned() -> None:
    room_bytes = 500 * MIB + settings().memory.reserve
    minilm, smollm2, later = plan(
        machine(available_bytes=room_bytes),
        [
            model("minilm", pinned=True),
            model("smollm2"),
            model("later", model("smollm2").header, preload=False),
        ],
        settings(),
    )
    assert minilm.load_at_start
    assert smollm2.load_at_start
    assert later.makes_room
    assert room_bytes - settings().memory.reserve - _bytes(smollm2) < _bytes(later)
    assert _bytes(later) <= room_bytes - settings().memory.reserve - _bytes(minilm)
    assert later.n_ctx == 4096


def test_nobody_has_to_leave_for_one_that_serves_as_well_with_what_is_left() -> None:
    (alone,) = plan(machine(), [model("smollm2", n_seq_max=4)], settings())
    need_bytes = _bytes(alone)
    small = model("small", model("smollm2").header, preload=False)
    room_bytes = settings().memory.reserve + need_bytes
    beside = plan(machine(room_bytes + 230 * MIB), [model("smollm2", n_seq_max=4), small], settings())[1]
    assert (beside.makes_room, beside.n_ctx) == (False, 4096)
    assert beside.n_seq_max < 4
    assert _bytes(beside) <= 230 * MIB
    short = plan(machine(room_bytes + 150 * MIB), [model("smollm2", n_seq_max=4), small], settings())[1]
    assert (short.makes_room, short.n_ctx, short.n_seq_max) == (True, 4096, 4)


def test_not_preloaded_is_on_demand() -> None:
    for one, why in (
        (model("smollm2", preload=False), "preload is off"),
        (model("smollm2", strategy="on_demand"), "strategy is set to on_demand"),
    ):
        found = plan_one(machine(), one)
        assert (found.strategy, found.load_at_start) == ("on_demand", False)
        assert f"{why}: it is loaded when a request asks for it, beside the others" in said(found)
        assert found.prefetch
    warm = plan_one(machine(), model("smollm2", preload=False, strategy="warm"))
    assert (warm.strategy, warm.load_at_start) == ("warm", False)


def test_on_demand_pages_where_the_file_does_not_fit() -> None:
    found = plan_one(machine(available_bytes=230 * MIB), model("smollm2", strategy="on_demand"))
    assert found.strategy == "on_demand"
    assert 0 < found.mlock_bytes == sum(piece.length for piece in found.prefetch)
    assert "there is no room for all" in said(found)


_GAINS = gains(machine().cpu, Q4_K=2.0)


def test_what_is_repacked_is_let_go_in_the_file() -> None:
    repacked = plan_one(machine(), model("gemma"), measured=Measured(repack_gains=_GAINS))
    assert repacked.repack
    assert sum(piece.length for piece in repacked.replaced) == 12.65625 * MIB
    assert plan_one(machine(), model("gemma", repack=False)).replaced == ()


def test_repacking_is_on_where_it_pays_fits_and_does_not_delay_the_start() -> None:
    faster = Measured(repack_gains=_GAINS)
    found = plan_one(machine(), model("gemma"), measured=faster)
    assert (found.strategy, found.repack) == ("warm", True)
    assert "repack on: prompt speed x1.14 (Q4_K x2.00, measured on this CPU), for 12.7 MiB" in said(found)
    slow = plan_one(machine(bytes_per_s=2e6), model("gemma"), measured=faster)
    assert (slow.strategy, slow.repack) == ("stream", False)
    assert "repack off: repacking would read all weights before the first answer" in said(slow)
    late = msgspec.structs.replace(
        faster, models={"/models/gemma.gguf": LoadTimes(load_s=1.0, load_repacked_s=20.0)}
    )
    within = plan_one(machine(), model("gemma"), measured=late)
    assert (within.strategy, within.repack) == ("warm", False)
    assert "would be ready later" in said(within)
    assert plan_one(machine(bytes_per_s=2e6), model("gemma", repack=True)).repack is True
    assert plan_one(machine(), model("gemma", repack=False), measured=faster).repack is False
    plain = machine(cpu=CpuFacts(usable_cores=1))
    assert plan_one(plain, model("gemma"), measured=faster).repack is False


def test_a_gain_that_is_small_or_a_loss_is_not_worth_copies() -> None:
    for ratio in (0.8, 1.2):  # of a fifth of the weights
        measured = Measured(repack_gains=gains(machine().cpu, Q4_K=ratio))
        found = plan_one(machine(), model("gemma"), measured=measured)
        assert not found.repack
        assert "measured on this CPU), not worth 12.7 MiB of copies" in said(found)
        assert plan_one(machine(), model("gemma", repack=True), measured=measured).repack


def test_what_was_measured_elsewhere_does_not_count() -> None:
    other = CpuFacts(model_name="another", usable_cores=4, instruction_sets=("avx2",))
    for kept in (gains(other, Q4_K=2.0), gains(machine().cpu, "another build", Q4_K=2.0)):
        found = plan_one(machine(), model("gemma"), measured=Measured(repack_gains=kept))
        assert "repack off: prompt speed x0.92 (Q4_K x0.75, not yet measured on this CPU)" in said(found)


def test_repacking_gets_only_what_no_model_needs_otherwise() -> None:
    """On Arm the token table is repacked as the output matrix, and needed in the file as well."""
    arm = CpuFacts(usable_cores=4, instruction_sets=("asimd", "asimddp"))
    faster = Measured(repack_gains=gains(arm, Q8_0=2.0))
    first, second = model("gemma"), model("smollm2", repack=False)
    demanded = model("smollm2", repack=False, strategy="on_demand")
    whole = [
        each.predicted for each in plan(machine(cpu=CpuFacts(usable_cores=4)), [first, second], settings())
    ]
    needs_bytes = sum(each.anon_bytes + each.file_bytes for each in whole) + settings().memory.reserve + MIB
    table = first.header.tensor("token_embd.weight")
    assert table is not None
    for models in ([first, second], [first, demanded]):
        for room_bytes, repacks in ((needs_bytes, False), (needs_bytes + table.size_bytes, True)):
            found = plan(machine(room_bytes, cpu=arm), models, settings(), faster)
            assert found[0].repack is repacks
            assert [each.n_ctx * each.n_seq_max for each in found] == [4 * 4096] * 2
            assert not found[1].makes_room
        short = plan(machine(needs_bytes, cpu=arm), models, settings(), faster)
        assert "repack off: there is no room for " in said(short[0])


def test_what_is_pinned_of_a_model_that_is_lazy_by_setting_is_said() -> None:
    fixed: dict[str, Any] = {
        "n_ctx": 512,
        "n_seq_max": 1,
        "n_ubatch": 128,
        "type_k": "q8_0",
        "type_v": "q8_0",
    }
    found = plan_one(machine(available_bytes=245 * MIB), model("smollm2", strategy="lazy", **fixed))
    assert found.prefetch
    assert "of its weights are pinned" in said(found)
    assert "nothing is read ahead" not in said(found)
    roomy = plan_one(machine(available_bytes=GIB), model("smollm2", strategy="lazy", **fixed))
    assert roomy.prefetch == ()
    assert "pinned" not in said(roomy)


def test_without_the_lazy_map_only_warm_is_left() -> None:
    slow = plan_one(machine(bytes_per_s=2e6), model("smollm2"), settings(lazy_available=False))
    assert slow.strategy == "warm"
    assert "over loading.start_budget (10 s)" in said(slow)
    assert "no C compiler was found" in said(slow)
    small = plan_one(machine(available_bytes=230 * MIB), model("smollm2"), settings(lazy_available=False))
    assert small.strategy == "refused"
    assert "it would fit if it were loaded lazily, but the lazy map is not there" in said(small)
    fixed = plan_one(machine(), model("smollm2", strategy="lazy"), settings(lazy_available=False))
    assert fixed.strategy == "refused"
    assert "strategy lazy is not possible: the lazy map is not there" in said(fixed)


def test_without_prefetch_nothing_is_read_ahead() -> None:
    slow = plan_one(machine(bytes_per_s=2e6), model("smollm2"), settings(prefetch=False))
    assert (slow.strategy, slow.prefetch) == ("lazy", ())
    assert "loading.prefetch is off" in said(slow)
    quick = plan_one(machine(bytes_per_s=400e6), model("smollm2"), settings(prefetch=False))
    assert (quick.strategy, quick.prefetch) == ("warm", ())


def test_locked_pins_what_is_read() -> None:
    found = plan_one(machine(), model("smollm2", strategy="locked"))
    assert found.strategy == "locked"
    assert found.mlock_bytes == sum(piece.length for piece in found.prefetch) > 0
    assert "its pages are locked in memory" in said(found)
    assert plan_one(machine(swap_total_bytes=GIB), model("smollm2")).mlock_bytes == 0


def test_the_budget_is_never_more_than_what_is_there() -> None:
    found = plan_one(machine(available_bytes=560 * MIB), model("smollm2"), settings(budget=Bytes(4 * GIB)))
    assert found.n_seq_max == 2
    assert "memory.budget is 4 GiB, but only 560 MiB available" in said(found)
    limited = plan_one(machine(cgroup_limit_bytes=600 * MIB, cgroup_used_bytes=40 * MIB), model("smollm2"))
    assert limited.n_seq_max == 2
    fixed = plan_one(machine(), model("smollm2"), settings(budget=Bytes(432 * MIB)))
    assert fixed.n_seq_max == 2


def test_unknown_memory_is_said() -> None:
    found = plan_one(machine(available_bytes=None), model("smollm2"))
    assert (found.strategy, found.n_seq_max) == ("warm", 4)
    assert "available memory is unknown" in said(found)
    assert "set memory.budget" in said(found)
    small = plan_one(machine(available_bytes=None), model("smollm2"), settings(budget=Bytes(432 * MIB)))
    assert small.n_seq_max == 2


@pytest.mark.parametrize(
    ("cpu", "n_threads"),
    [
        (CpuFacts(usable_cores=4), 4),
        (CpuFacts(usable_cores=8, performance_cores=2), 2),
        (CpuFacts(usable_cores=1, performance_cores=4), 1),
        (CpuFacts(logical_cores=6), 6),
        (CpuFacts(), 1),
    ],
)
def test_one_thread_for_each_usable_core(cpu: CpuFacts, n_threads: int) -> None:
    assert plan_one(machine(cpu=cpu), model("minilm")).n_threads == n_threads


def test_threads_adapt_to_the_cores_that_are_free_unless_their_number_is_fixed() -> None:
    assert plan_one(machine(), model("minilm")).adapt_threads
    assert not plan_one(machine(), model("minilm", n_threads=4)).adapt_threads


def test_too_many_threads_are_kept_and_said() -> None:
    found = plan_one(machine(), model("minilm", n_threads=9))
    assert found.n_threads == 9
    assert "n_threads 9 is more than the 4 cores" in said(found)


@pytest.mark.parametrize(
    ("name", "fixed", "reason"),
    [
        (
            "minilm",
            {"n_ctx": 512, "n_ubatch": 256},
            "n_ubatch or n_batch 256 is below n_ctx 512: set models.minilm.n_ub",
        ),
        (
            "minilm",
            {"n_ctx": 1024},
            "more than the 512 positions the model has: set models.minilm.n_ctx to 512",
        ),
        (
            "minilm",
            {"kind": "generate"},
            "bert is an encoder and cannot generate: set models.minilm.kind to embed",
        ),
        (
            "smollm2",
            {"kind": "embed"},
            "no way to pool vectors, so it gives none: set models.smollm2.kind to gen",
        ),
        ("smollm2", {"n_ctx": 10**12}, "can count: set models.smollm2.n_ctx lower"),
        ("smollm2", {"strategy": "lazy", "repack": True}, "set models.smollm2.repack to false"),
    ],
)
def test_impossible_settings_are_refused(name: str, fixed: dict[str, Any], reason: str) -> None:
    found = plan_one(machine(), model(name, **fixed))
    assert found.strategy == "refused"
    assert reason in said(found)


def test_a_fixed_ubatch_bounds_the_context_of_an_embedding_model() -> None:
    found = plan_one(machine(), model("minilm", n_ubatch=128))
    assert (found.n_ctx, found.n_ubatch) == (128, 128)
    found = plan_one(machine(), model("minilm", n_batch=256))
    assert (found.n_ctx, found.n_batch, found.n_ubatch) == (256, 256, 256)


def test_a_context_beyond_training_is_kept_and_said() -> None:
    found = plan_one(machine(), model("smollm2", n_ctx=10000))
    assert found.n_ctx == 10000
    assert "n_ctx 10000 is beyond the 8192 tokens it was trained on" in said(found)


def test_a_pass_waits_for_the_reader_only_where_faults_are_slow() -> None:
    quick = machine()
    disk = msgspec.structs.replace(
        quick, storage=(msgspec.structs.replace(quick.storage[0], random_latency_s=0.008),)
    )
    streamed = plan_one(disk, model("smollm2", strategy="stream"))
    assert streamed.pass_waits
    assert "this storage is slow at reads here and there" in said(streamed)
    assert not plan_one(quick, model("smollm2", strategy="stream")).pass_waits
    assert not plan_one(disk, model("smollm2", strategy="lazy")).pass_waits


def test_no_models() -> None:
    assert plan(machine(), [], settings()) == ()


def test_models_that_load_together_take_turns_at_the_storage() -> None:
    slow, two = machine(bytes_per_s=40e6), [model("minilm"), model("smollm2")]
    small, large = plan(slow, two, settings())
    small_bytes, large_bytes = (sum(piece.length for piece in found.prefetch) for found in (small, large))
    assert small.predicted.first_answer_s == pytest.approx(small_bytes / 40e6, rel=0.25)
    assert large.predicted.ready_s == pytest.approx((small_bytes + large_bytes) / 40e6, rel=0.1)
    assert f"after {format_bytes(small_bytes)} for other models," in said(large)
    assert "for other models," not in said(small)
    assert "for other models," not in said(plan_one(slow, model("smollm2")))


def test_a_warm_up_that_delays_the_first_answer_is_left_out() -> None:
    quick = machine(cached_share=1.0)
    for warmup_s, strategy in ((0.01, "warm"), (2.0, "stream")):
        times = LoadTimes(load_s=0.1, context_s=0.1, warmup_s=warmup_s)
        measured = Measured(spawn_s=0.1, models={"/models/smollm2.gguf": times})
        found = plan_one(quick, model("smollm2"), measured=measured)
        assert found.strategy == strategy
        assert ("put off an early request's answer" in said(found)) == (strategy == "stream")
        assert "more than loading.start_budget" not in said(found)


def test_a_load_with_repacking_that_was_held_up_is_not_held_against_repacking() -> None:
    times = LoadTimes(load_repacked_s=5.0)  # without it, none was measured
    measured = Measured(repack_gains=_GAINS, models={"/models/gemma.gguf": times})
    assert plan_one(machine(cached_share=1.0), model("gemma"), measured=measured).repack


def test_rather_on_demand_in_the_place_of_others_than_paged_beside_them() -> None:
    small = machine(available_bytes=367 * MIB + settings().memory.reserve)
    minilm, gemma = plan(small, [model("minilm"), model("gemma")], settings())
    assert minilm.load_at_start
    assert (gemma.strategy, gemma.load_at_start, gemma.makes_room, gemma.paged) == (
        "on_demand", False, True, False,
    )  # fmt: skip
    assert gemma.n_ctx == 4096
    assert "does not fit beside the models that come before it" in said(gemma)


def test_what_would_be_paged_in_any_case_is_so_from_the_start() -> None:
    tiny = machine(available_bytes=290 * MIB + settings().memory.reserve)
    _, gemma = plan(tiny, [model("minilm", n_ctx=512), model("gemma")], settings())
    assert gemma.load_at_start
    assert gemma.paged
    pinned = machine(available_bytes=367 * MIB + settings().memory.reserve)
    _, gemma = plan(pinned, [model("minilm", pinned=True), model("gemma")], settings())
    assert (gemma.load_at_start, gemma.paged) == (True, True), "minilm never makes room for it"
