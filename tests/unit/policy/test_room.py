"""What becomes of a load, and what those are told who wait for it."""

from typing import Any

from edged.config.schema import Bytes, Memory
from edged.policy.account import Account, Claim
from edged.policy.evict import Candidate
from edged.policy.room import Decision, Scene, Wish, decide, why_refused, why_waiting

MIB = 1 << 20


def claim(size: int) -> Claim:
    return Claim(anon_bytes=size * MIB)


def wish(size: int, *, is_urgent: bool = True) -> Wish:
    return Wish(model="new", claim=claim(size), is_urgent=is_urgent)


def scene(budget: int, loaded: dict[str, int], **more: Any) -> Scene:
    """With all that are loaded as candidates, but for the pinned and the leaving."""
    stays = {*more.get("pinned", ()), *more.get("leaving", ())}
    return Scene(
        account=Account(
            budget_bytes=budget * MIB, loaded={model: claim(size) for model, size in loaded.items()}
        ),
        candidates=[
            Candidate(model=model, frees_bytes=size * MIB, reload_s=1.0, use_probability=0.5)
            for model, size in loaded.items()
            if model not in stays
        ],
        **more,
    )


def test_what_fits_is_admitted() -> None:
    assert decide(wish(40), scene(100, {"a": 60})) == Decision("admitted")
    assert decide(wish(40, is_urgent=False), scene(100, {"a": 60})) == Decision("admitted")


def test_others_leave_only_for_what_somebody_waits_for() -> None:
    assert decide(wish(50), scene(100, {"a": 60})) == Decision("waits", ("a",))
    assert decide(wish(50, is_urgent=False), scene(100, {"a": 60})) == Decision("refused")


def test_room_that_will_be_there_is_waited_for_and_nobody_else_leaves() -> None:
    leaving = scene(100, {"a": 60, "b": 30}, leaving={"a"})
    for urgent in (True, False):
        assert decide(wish(50, is_urgent=urgent), leaving) == Decision("waits")


def test_a_later_load_takes_nothing_that_an_earlier_one_waits_for() -> None:
    assert decide(wish(10), scene(100, {"a": 60}, ahead_bytes=30 * MIB)) == Decision("admitted")
    assert decide(wish(20), scene(100, {"a": 60}, ahead_bytes=30 * MIB)) == Decision("waits", ("a",))


def test_what_does_not_fit_beside_the_pinned_ones_is_refused_at_once() -> None:
    assert decide(wish(50), scene(100, {"a": 60, "b": 40}, pinned=["a"])) == Decision("refused")
    assert decide(wish(40), scene(100, {"a": 60, "b": 40}, pinned=["a"])) == Decision("waits", ("b",))


def test_a_model_waits_for_its_own_runner_of_before() -> None:
    assert decide(wish(10), scene(100, {"new": 10})) == Decision("waits")


def test_a_refusal_names_need_and_have_and_a_setting_that_helps() -> None:
    beside = scene(100, {"a": 60, "b": 20}, pinned=["a"])
    said = why_refused(wish(50), beside, Memory())
    assert "it needs 50 MiB, and there are, beside a (60 MiB), which is pinned, 40 MiB of the 100 MiB" in said
    assert said.endswith("set models.a.pinned to false, and it fits")
    said = why_refused(wish(110), scene(100, {}), Memory(budget=Bytes(100 * MIB), reserve=Bytes(30 * MIB)))
    assert "set models.new.n_ctx or n_seq_max lower" in said
    assert "memory.budget to 110MiB or more" in said
    assert "memory.reserve to 20MiB or less" in said
    said = why_refused(wish(50, is_urgent=False), scene(100, {"a": 60}), Memory())
    assert (
        said
        == "it needs 50 MiB, and 40 MiB of 100 MiB are free: others leave for it when a request asks for it"
    )


def test_who_waits_hears_for_what() -> None:
    assert why_waiting(wish(50), scene(100, {"a": 60})) == "it needs 50 MiB, and 40 MiB are free"
    said = why_waiting(wish(50), scene(100, {"a": 60, "b": 10}, leaving={"a", "b"}))
    assert said.endswith("30 MiB are free; a, b will be unloaded after the present requests")
