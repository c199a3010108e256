"""Idle cores, by the kernel's books."""

from pathlib import Path

import pytest

from edged.runner.cores import IdleCores


def stat(path: Path, idle: dict[str, tuple[int, int]]) -> None:
    """Write a /proc/stat with (idle, iowait) ticks."""
    lines = [f"{name} 1 2 3 {ticks[0]} {ticks[1]} 0 0 0 0 0" for name, ticks in idle.items()]
    path.write_text("\n".join([*lines, "intr 5", ""]))


def test_idle_time_of_the_allowed_cores_by_elapsed_time(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    cores = IdleCores(path, {0, 2})
    stat(path, {"cpu": (0, 0), "cpu0": (0, 0), "cpu1": (0, 0), "cpu2": (10, 0)})
    assert cores.since(10.0) is None, "there is nothing to compare with"
    stat(path, {"cpu": (300, 0), "cpu0": (60, 0), "cpu1": (100, 0), "cpu2": (30, 20)})
    assert cores.since(10.1) is None, "too soon"
    assert cores.since(11.0) == pytest.approx(1.0)
    assert cores.since(12.0) == 0.0


@pytest.mark.parametrize("content", [None, "", "cpu0\n", "cpu0 1 2 3 x 4\n"])
def test_unreadable_books_are_unknown(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "stat"
    if content is not None:
        path.write_text(content)
    cores = IdleCores(path, {0})
    first = cores.since(1.0)
    assert (first, cores.since(2.0)) in ((None, None), (None, 0.0))


def test_this_machine() -> None:
    cores = IdleCores()
    cores.since(0.0)
    assert cores.since(1e9) is not None
