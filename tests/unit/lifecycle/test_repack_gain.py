"""When it is measured what repacking gains, and what stops it. Children are real, their figures are not."""

import json
import os
import queue
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edged.lifecycle.repack_gain import GainMeter, Work, llama_build
from edged.policy.types import RepackGain

_GAIN = {"prompt_ratio": 1.5, "answer_ratio": 1.1, "prompt_s_per_weight": 1e-11, "answer_s_per_weight": 2e-11}
_PRINTS = f"print({json.dumps(json.dumps(_GAIN))})"
_PATIENCE_S = 60.0


class Scene:
    """A meter whose child does what `code` says, and what it has told."""

    def __init__(self, code: str, lease_fd: int) -> None:
        self.kept: queue.Queue[tuple[str, RepackGain]] = queue.Queue()
        self.idle: Callable[[], bool] = lambda: True
        self._lease_fd = lease_fd
        self.meter = GainMeter(
            lambda key, gain: self.kept.put((key, gain)), 0.01, (sys.executable, "-c", code)
        )

    def begin(self, **weight_types: str) -> None:
        self.meter.begin(
            Work(weight_types=weight_types, n_threads=2, lease_fd=self._lease_fd, is_idle=lambda: self.idle())
        )


@pytest.fixture(name="lease_fd")
def _lease_fd() -> Iterator[int]:
    descriptor = os.memfd_create("lease")
    yield descriptor
    os.close(descriptor)


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run beside others."""
    monkeypatch.setattr("edged.lifecycle.repack_gain._BUSY_PERCENT", 101.0)


def test_every_type_is_measured_and_told(lease_fd: int) -> None:
    code = f"import sys; _, kind, *rest = sys.argv; assert rest == ['2', '{lease_fd}']; {_PRINTS}"
    scene = Scene(code, lease_fd)
    scene.begin(a="Q4_0", b="Q4_K")
    told = [scene.kept.get(timeout=_PATIENCE_S) for _ in range(2)]
    assert told == [(key, msgspec.convert(_GAIN, RepackGain)) for key in ("a", "b")]
    scene.meter.close()


def test_it_waits_until_nothing_else_is_done(lease_fd: int) -> None:
    scene = Scene(_PRINTS, lease_fd)
    asked: list[bool] = []

    def idle() -> bool:
        asked.append(len(asked) >= 3)
        assert scene.kept.empty()
        return asked[-1]

    scene.idle = idle
    scene.begin(a="Q4_0")
    scene.kept.get(timeout=_PATIENCE_S)
    assert asked[:4] == [False, False, False, True]
    scene.meter.close()


def test_a_request_stops_it_and_it_begins_again_later(lease_fd: int, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    once = tmp_path / "once"
    code = (
        f"import os, time\nif not os.path.exists({str(once)!r}):\n"
        f" open({str(once)!r}, 'w').close()\n open({str(begun)!r}, 'w').close()\n time.sleep(1000)\n{_PRINTS}"
    )
    scene = Scene(code, lease_fd)
    scene.begin(a="Q4_0")
    begun.read_text()  # returns when the child has opened it
    scene.meter.interrupt()
    assert scene.kept.get(timeout=_PATIENCE_S)[0] == "a"
    scene.meter.close()


def test_what_others_disturbed_is_measured_again(lease_fd: int, tmp_path: Path) -> None:
    once = str(tmp_path / "once")
    code = (
        f"import os\nif not os.path.exists({once!r}):\n open({once!r}, 'w').close()\n os._exit(75)\n{_PRINTS}"
    )
    scene = Scene(code, lease_fd)
    scene.begin(a="Q4_0")
    assert scene.kept.get(timeout=_PATIENCE_S)[0] == "a"
    scene.meter.close()


def test_closing_ends_it_at_once(lease_fd: int, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    scene = Scene(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(1000)", lease_fd)
    scene.begin(a="Q4_0")
    begun.read_text()
    scene.meter.close()
    assert scene.kept.empty()
    scene.begin(a="Q4_0")  # too late: nothing happens
    scene.meter.close()


@pytest.mark.parametrize(
    "bad", ["raise SystemExit(3)", "print('no figures')", _PRINTS.replace("1.5", "-1.5"), "print(b'\\xff')"]
)
def test_a_type_that_cannot_be_measured_is_left_out(
    lease_fd: int, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(f"import sys\nif sys.argv[1] == 'Q4_0':\n {bad}\nelse:\n {_PRINTS}", lease_fd)
    scene.begin(a="Q4_0", b="Q4_K")
    assert scene.kept.get(timeout=_PATIENCE_S)[0] == "b"
    assert "what repacking Q4_0 gains cannot be measured" in caplog.text
    scene.meter.close()
    assert scene.kept.empty()


def test_nothing_is_measured_where_memory_is_short(lease_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.lifecycle.repack_gain._ROOM_BYTES", 1 << 60)
    scene = Scene(_PRINTS, lease_fd)
    scene.begin(a="Q4_0")
    scene.meter._thread.join(_PATIENCE_S)  # type: ignore[union-attr]
    assert scene.kept.empty()
    scene.meter.close()


def test_the_installed_llama_cpp_has_a_build() -> None:
    size, _, time_ns = llama_build().partition("-")
    assert int(size) > 100_000
    assert int(time_ns) > 0
