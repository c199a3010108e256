import os
import sys
from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store import child


def _run(tmp_path: Path, code: str, watch: child.Watch) -> tuple[int, str]:
    return child.run([sys.executable, "-c", code, str(tmp_path)], os.environ, tmp_path / "log", watch)


def test_status_and_words_come_back(tmp_path: Path) -> None:
    heard: list[int] = []
    code = (
        "import sys, pathlib\n"
        "pathlib.Path(sys.argv[1], 'f').write_bytes(bytes(8192))\n"
        "sys.exit('no: \\udcff')\n"
    )
    status, output = _run(tmp_path, code, child.Watch(tmp_path, 1 << 20, heard.append))
    assert status == 1
    assert output.startswith("no: ")
    assert heard[-1] >= 8192


def test_a_child_that_writes_without_end_is_stopped(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, os\n"
        "pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid()))\n"
        "f = pathlib.Path(sys.argv[1], 'f').open('wb', buffering=0)\n"
        "f.write(bytes(4 << 20))\n"
        "import signal; signal.pause()\n"
    )
    with pytest.raises(PullError, match="more than the 1048576 bytes"):
        _run(tmp_path, code, child.Watch(tmp_path, 1 << 20, lambda _now: None))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_interrupt_stops_the_child(tmp_path: Path) -> None:
    def interrupt(_now: int) -> None:
        if (tmp_path / "pid").exists():
            raise KeyboardInterrupt

    code = (
        "import sys, pathlib, os, signal\n"
        "path = pathlib.Path(sys.argv[1], 'pid.new'); path.write_text(str(os.getpid()))\n"
        "path.rename(path.with_suffix(''))\n"
        "signal.pause()\n"
    )
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, code, child.Watch(tmp_path, 1 << 20, interrupt))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
