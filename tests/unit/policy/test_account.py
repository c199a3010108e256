"""The memory account."""

import pytest

from edged.config.schema import Bytes, Memory
from edged.hw.snapshot import MemoryFacts
from edged.policy.account import Account, Claim, budget_now, claim_of, measured_claim
from edged.policy.memory import UNLIMITED_BYTES
from edged.policy.pinning import WINDOW_BYTES
from tests.unit.policy.machines import GIB, MIB, machine, model, plan_one, settings

_ONE = Claim(anon_bytes=30, hot_bytes=50, cold_bytes=7)
_TWO = Claim(anon_bytes=10, hot_bytes=5)


def test_a_claim_needs_everything_but_what_is_cold() -> None:
    assert _ONE.need_bytes == 80
    assert Claim().need_bytes == 0


def test_a_load_counts_in_full_from_its_beginning() -> None:
    account = Account(budget_bytes=100).begin("one", _ONE)
    assert (account.taken_bytes, account.room_bytes) == (80, 20)
    assert account.by_kind() == {"anonymous": 0, "file_hot": 0, "file_cold": 0, "in_flight": 80, "spare": 0}
    settled = account.settle("one", _ONE)
    assert (settled.taken_bytes, settled.room_bytes) == (80, 20)
    assert settled.by_kind() == {"anonymous": 30, "file_hot": 50, "file_cold": 7, "in_flight": 0, "spare": 0}


def test_a_measured_claim_replaces_the_planned_one() -> None:
    account = Account(budget_bytes=100).settle("one", _ONE).settle("one", _TWO)
    assert account.loaded == {"one": _TWO}
    assert account.taken_bytes == 15


def test_a_runner_that_is_started_again_is_not_counted_twice() -> None:
    account = Account(budget_bytes=100).settle("one", _ONE).begin("one", _TWO)
    assert (dict(account.loaded), dict(account.in_flight)) == ({}, {"one": _TWO})


def test_who_has_left_holds_nothing_and_leaving_again_changes_nothing() -> None:
    account = Account(budget_bytes=100, loaded={"one": _ONE}, in_flight={"two": _TWO})
    assert account.without("one").taken_bytes == 15
    assert account.without("two").taken_bytes == 80
    assert account.without("three") is account
    assert account.taken_bytes == 95  # nothing above has changed it


def test_a_budget_that_shrank_shows_as_missing_room() -> None:
    assert Account(budget_bytes=60, loaded={"one": _ONE}).room_bytes == -20


@pytest.mark.parametrize("name", ["minilm", "smollm2", "gemma"])
def test_a_model_that_fits_claims_what_its_plan_predicts(name: str) -> None:
    found = plan_one(machine(8 * GIB), model(name))
    claim = claim_of(found)
    assert claim.need_bytes == found.predicted.anon_bytes + found.predicted.file_bytes
    assert claim.cold_bytes == sum(piece.length for piece in found.replaced)


def test_a_model_without_prefetch_claims_its_file_all_the_same() -> None:
    found = plan_one(machine(8 * GIB), model("gemma", preload=False), settings(prefetch=False))
    assert claim_of(found).hot_bytes == found.predicted.file_bytes


def test_copies_take_the_place_of_the_pages_that_they_were_made_from() -> None:
    found = plan_one(machine(8 * GIB), model("gemma", repack=True))
    claim = claim_of(found)
    assert found.replaced
    assert claim.cold_bytes == sum(piece.length for piece in found.replaced)
    assert claim.hot_bytes == found.predicted.file_bytes


def test_a_paged_file_is_cold_but_for_what_is_locked_and_the_window_beside_it() -> None:
    found = plan_one(machine(420 * MIB), model("gemma"))
    assert found.paged
    assert found.mlock_bytes > 0
    claim = claim_of(found)
    assert claim.hot_bytes == found.mlock_bytes + WINDOW_BYTES
    assert claim.hot_bytes + claim.cold_bytes == found.predicted.file_bytes
    assert claim.need_bytes <= 420 * MIB - Memory().reserve  # what its plan fitted into is enough for it


def test_a_file_that_is_lazy_by_choice_claims_none_of_its_pages() -> None:
    found = plan_one(machine(8 * GIB), model("gemma", strategy="lazy"))
    assert claim_of(found).hot_bytes == 0
    assert claim_of(found).cold_bytes == found.predicted.file_bytes


def test_what_models_hold_is_theirs_and_others_growth_is_not() -> None:
    memory = Memory(reserve=Bytes(100))
    assert budget_now(MemoryFacts(available_bytes=500), memory, held_bytes=200) == 600
    assert budget_now(MemoryFacts(available_bytes=50), memory, held_bytes=200) == 150
    assert budget_now(MemoryFacts(available_bytes=20), memory, held_bytes=30) == 0


def test_the_own_limit_and_the_configured_budget_count() -> None:
    limited = MemoryFacts(available_bytes=900, cgroup_limit_bytes=400, cgroup_used_bytes=250)
    assert budget_now(limited, Memory(reserve=Bytes(0)), held_bytes=200) == 350
    assert budget_now(limited, Memory(reserve=Bytes(0), budget=Bytes(120)), held_bytes=200) == 120
    assert budget_now(MemoryFacts(), Memory(), held_bytes=200) == UNLIMITED_BYTES


def test_a_ready_model_claims_what_it_has_and_the_buffers_that_it_has_not_used_yet() -> None:
    found = plan_one(machine(8 * GIB), model("gemma"))
    planned, loaded_bytes = claim_of(found), found.predicted.loaded_anon_bytes
    less = measured_claim(found, loaded_bytes - 30 * MIB)
    assert less.anon_bytes == planned.anon_bytes - 30 * MIB
    assert less.hot_bytes == planned.hot_bytes
    much_more = measured_claim(found, loaded_bytes + 100 * MIB)
    assert much_more.anon_bytes == planned.anon_bytes + 100 * MIB


def test_a_little_more_than_planned_and_what_is_unknown_change_nothing() -> None:
    found = plan_one(machine(8 * GIB), model("gemma"))
    assert measured_claim(found, found.predicted.loaded_anon_bytes + MIB) == claim_of(found)
    assert measured_claim(found, None) == claim_of(found)
    paged = plan_one(machine(420 * MIB), model("gemma"))
    assert measured_claim(paged, 1) == claim_of(paged)  # locked pages may be copies: nothing to learn
