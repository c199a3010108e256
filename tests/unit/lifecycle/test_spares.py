"""Real runner processes that are started before there is anything to load."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from edged.config.schema import Config, Model
from edged.errors import ModelFileError
from edged.hw.snapshot import CpuFacts, HardwareSnapshot, MemoryFacts
from edged.lifecycle import spares as spares_module
from edged.lifecycle import standby as standby_module
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.planner import Planned
from edged.lifecycle.pool import Pool
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.runs import Means
from edged.lifecycle.spares import Ahead, Spares, begin_is_cached, how_many, imports_are_cached
from edged.lifecycle.supervision import Supervision
from edged.policy.types import LoadPlan
from edged.runner import protocol
from tests.device.page_cache import cold
from tests.plans import fake_plan
from tests.unit.lifecycle.scripted import PATIENCE_S, Noted, unlimited

GIB = 1 << 30
SUPERVISION = Supervision(
    load_timeout_s=60, backoff_s=60, backoff_max_s=60, max_queue_requests=1, max_queue_tokens=1, lease_fd=None
)


@pytest.fixture(name="spares")
def _spares() -> Iterator[Spares]:
    spares = Spares(2, ())
    yield spares
    spares.close()


@pytest.mark.parametrize(
    ("models", "memory", "cores", "count"),
    [
        (0, MemoryFacts(available_bytes=GIB), 4, 0),
        (3, MemoryFacts(available_bytes=GIB), 4, 3),
        (9, MemoryFacts(available_bytes=GIB), 4, 4),
        (3, MemoryFacts(available_bytes=GIB, cgroup_limit_bytes=200 << 20), 4, 2),
        (3, MemoryFacts(available_bytes=64 << 20), 4, 0),
        (3, MemoryFacts(), 4, 1),
    ],
)
def test_no_more_than_models_cores_and_memory_allow(
    models: int, memory: MemoryFacts, cores: int, count: int
) -> None:
    assert how_many(models, memory, cores) == count


def test_a_spare_waits_for_its_model_and_is_used_once(spares: Spares) -> None:
    first, second = spares.take(), spares.take()
    assert first is not None
    assert second is not None
    assert first.pid != second.pid
    assert spares.take() is None
    for process in (first, second):
        process.send(protocol.Shutdown())  # no model: it ends
        assert list(process.events(lambda: PATIENCE_S)) == []
        assert process.close() == 1


def test_a_spare_that_died_is_reaped_and_not_handed_out(spares: Spares) -> None:
    first = spares.take()
    assert first is not None
    first.kill()
    spares._waiting.append(first)
    while first.alive:
        os.sched_yield()
    second = spares.take()
    assert second is not None
    second.kill()
    second.close()
    assert spares.take() is None
    assert _gone(first.pid)


def test_those_that_are_not_used_end(spares: Spares) -> None:
    pids = [process.pid for process in spares._waiting]
    spares.keep(1)
    assert [_gone(pid) for pid in pids] == [False, True]
    spares.close()
    assert _gone(pids[0])


def test_none_is_better_than_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_module: str, _inherited: Sequence[int]) -> RunnerProcess:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(spares_module, "RunnerProcess", no_more)
    assert Spares(2, ()).take() is None


def test_a_spare_taken_for_a_damaged_file_is_reaped(spares: Spares) -> None:
    pids = [process.pid for process in spares._waiting]

    def damaged(_plan: LoadPlan) -> None:
        raise ModelFileError("m.gguf is damaged")

    noted = Noted()
    handle = RunnerHandle(
        fake_plan(path="m.gguf"), SUPERVISION, noted, Means(unlimited(), damaged, spares.take)
    )
    handle.load("boot")
    assert "damaged" in noted.next_failure()
    assert [_gone(pid) for pid in pids] == [True, False]
    handle.close()


def test_no_spare_outlives_plans_that_do_not_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files are there, so runners are started; both models are refused."""
    started: list[Spares] = []

    def watched(count: int, inherited: Sequence[int]) -> Spares:
        started.append(Spares(min(count, 2), inherited))
        return started[0]

    monkeypatch.setattr(standby_module, "Spares", watched)
    monkeypatch.setattr(spares_module, "imports_are_cached", lambda: True)
    pids: list[int] = []

    def refusing(_ahead: Ahead | None) -> Planned:
        pids.extend(process.pid for process in started[0]._waiting)
        plans = [fake_plan("a", str(tmp_path / "a")), fake_plan("b", str(tmp_path / "b"))]
        return Planned(
            snapshot=HardwareSnapshot(memory=MemoryFacts(), cpu=CpuFacts()),
            plans=tuple(msgspec.structs.replace(plan, strategy="refused") for plan in plans),
            problems={},
        )

    pool = Pool(_two_models(tmp_path), refusing, Noted())
    assert pids
    assert not any(map(_gone, pids))
    pool.start()
    assert all(map(_gone, pids))
    pool.close()


def test_no_spare_outlives_planning_that_fails(tmp_path: Path) -> None:
    def failing(_ahead: Ahead | None) -> Planned:
        raise KeyboardInterrupt

    before = _children()
    with pytest.raises(KeyboardInterrupt):
        Pool(_two_models(tmp_path), failing, Noted())
    assert _children() == before


def test_nothing_is_started_ahead_where_imports_would_read_what_is_being_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Ahead | None] = []

    def planner(ahead: Ahead | None) -> Planned:
        told.append(ahead)
        return Planned(
            snapshot=HardwareSnapshot(memory=MemoryFacts(), cpu=CpuFacts()),
            plans=(),
            problems=dict.fromkeys("ab", "damaged"),
        )

    for cached in (False, True):
        monkeypatch.setattr(spares_module, "imports_are_cached", lambda cached=cached: cached)
        Pool(_two_models(tmp_path), planner, Noted()).close()
    assert [ahead is not None for ahead in told] == [False, True]


def test_whether_the_libraries_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("llama_cpp")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    library = next(Path(spec.submodule_search_locations[0], "lib").glob("libllama.so*"))
    library.read_bytes()
    assert imports_are_cached()
    monkeypatch.setattr(spares_module, "begin_is_cached", lambda path: path != library)
    assert not imports_are_cached()


def test_a_file_that_has_to_be_read_from_storage() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="edged-test-") as folder:
        file = Path(folder, "library")
        file.write_bytes(os.urandom(1 << 20))
        assert begin_is_cached(file)
        cold(file)
        assert not begin_is_cached(file)
        assert begin_is_cached(Path(folder, "missing"))


def _two_models(folder: Path) -> Config:
    for name in ("a", "b"):
        (folder / name).write_bytes(b"GGUF")
    return Config(models={name: Model(file=str(folder / name)) for name in ("a", "b")})


def _children() -> str:
    return Path("/proc/self/task", str(os.getpid()), "children").read_text()


def _gone(pid: int) -> bool:
    """Whether a child was reaped: a zombie still takes signal 0."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
