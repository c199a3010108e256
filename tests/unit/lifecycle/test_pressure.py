"""What is done, said and counted as memory becomes short, and when it no longer is."""

import logging

import pytest

from edged.lifecycle.pressure import PressureWatch
from edged.policy.pressure import CALM_S

MIB = 1 << 20


class Household:
    """Remembers what it was asked for; a test says how short memory is."""

    def __init__(self) -> None:
        self.short = -512 * MIB
        self.by_design = False
        self.asked: list[str] = []
        self.frees = 0  # bytes that cooling gives back

    def short_bytes(self) -> int:
        return self.short

    def reserve_bytes(self) -> int:
        return 128 * MIB

    def stalls_by_design(self) -> bool:
        return self.by_design

    def read_ahead(self, *, allowed: bool) -> None:
        self.asked.append("read ahead" if allowed else "read less")

    def cool(self, *, shrink: bool) -> None:
        self.asked.append("shrink" if shrink else "cool")
        self.short -= self.frees

    def unload(self, lacking_bytes: int) -> None:
        self.asked.append(f"unload {lacking_bytes // MIB}")

    def refuse_loads(self, why: str | None) -> None:
        self.asked.append("admit loads" if why is None else "refuse loads")

    def recover(self) -> None:
        self.asked.append("recover")

    def next(self) -> list[str]:
        """What was asked for since the last time."""
        asked, self.asked = self.asked, []
        return asked


class Alarm:
    """By the clock alone; stalls are as a test says."""

    is_triggered = False

    def __init__(self) -> None:
        self.stalled = 0.0

    def stalled_s(self) -> float | None:
        return self.stalled

    def wait(self, longest_s: float) -> bool:
        raise AssertionError(longest_s)

    def pause(self, duration_s: float) -> bool:
        raise AssertionError(duration_s)

    def stop(self) -> None: ...
    def close(self) -> None: ...


class Counter:
    """Remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.share = -1.0

    def strained(self, step: str, level: int, *, risen: bool) -> None:
        self.steps.append(f"{'+' if risen else '-'}{step} {level}")

    def pressed(self, stalled_share: float, short_bytes: int) -> None:  # noqa: ARG002
        self.share = stalled_share


class Scene:
    """A watch that looks when the test says so, once a second."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.household, self.alarm, self.counter = Household(), Alarm(), Counter()
        self.watch = PressureWatch(self.household, self.counter, self.alarm, lambda: self.now_s)

    def look(self, n: int = 1) -> list[str]:
        for _ in range(n):
            self.now_s += 1.0
            self.watch.look()
        return self.household.next()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_nothing_is_done_while_it_is_calm(scene: Scene) -> None:
    assert scene.look(20) == []
    assert scene.watch.text is None


def test_each_step_asks_for_more_and_all_is_given_back(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene.household.short = 10 * MIB
    assert scene.look() == ["read less"]
    assert scene.look() == ["read less", "cool"]
    assert scene.look() == ["read less", "shrink"]
    assert scene.look() == ["read less", "shrink", "unload 10"]
    assert scene.look() == ["refuse loads", "read less", "shrink", "unload 10"]
    assert scene.watch.text == "memory is short: no model is loaded any more"
    scene.household.short = -512 * MIB
    asked = scene.look(int(CALM_S) * 6)
    assert asked.count("admit loads") == 1
    assert asked[-2:] == ["read ahead", "recover"]
    assert scene.watch.text is None
    rises = [record for record in caplog.records if getattr(record, "EVENT", "") == "pressure_rose"]
    falls = [record for record in caplog.records if getattr(record, "EVENT", "") == "pressure_fell"]
    steps = ["read_less", "cool", "shrink", "unload", "refuse"]
    assert [getattr(record, "STEP", "") for record in rises] == steps
    assert [getattr(record, "STEP", "") for record in falls] == steps[::-1]
    assert "models hold 10 MiB more than there is for them" in rises[0].getMessage()
    assert scene.counter.steps == [
        *(f"+{step} {level}" for level, step in enumerate(steps, 1)),
        *(f"-{step} {level}" for level, step in reversed(list(enumerate(["calm", *steps[:-1]])))),
    ]


def test_only_what_cooling_did_not_free_is_unloaded(scene: Scene) -> None:
    scene.household.short, scene.household.frees = 200 * MIB, 150 * MIB
    assert scene.look() == ["read less", "shrink", "unload 50"]


def test_stalls_are_counted_from_look_to_look(scene: Scene) -> None:
    scene.household.short = -100 * MIB
    scene.alarm.stalled = 0.3
    assert scene.look() == ["read less"]
    assert scene.counter.share == pytest.approx(0.3)
    scene.look()
    assert scene.counter.share == 0.0


def test_a_model_that_is_read_through_from_storage_stalls_by_design(scene: Scene) -> None:
    scene.household.by_design = True
    scene.household.short = -100 * MIB
    for _ in range(5):
        scene.alarm.stalled += 0.9
        assert scene.look() == []
    assert scene.counter.share == pytest.approx(0.9), "it is shown nevertheless"
