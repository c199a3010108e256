import fcntl
import os
import subprocess
import sys
from pathlib import Path

from edged.store import work
from tests.unit.store.samples import Recorder


def test_the_same_pull_finds_its_folder_again(tmp_path: Path) -> None:
    first = work.open_work(tmp_path, "tiny", {"files": ["a"]})
    first.part("a").parent.mkdir()
    first.part("a").write_bytes(b"half")
    again = work.open_work(tmp_path, "tiny", {"files": ["a"]})
    assert again.part("a").read_bytes() == b"half"
    work.open_work(tmp_path, "just-begun", {})
    assert work.unfinished(tmp_path) == {"tiny": 4}


def test_another_pull_under_the_same_id_starts_empty(tmp_path: Path) -> None:
    first = work.open_work(tmp_path, "tiny", {"files": ["a"]})
    first.part("a").parent.mkdir()
    first.part("a").write_bytes(b"half")
    other = work.open_work(tmp_path, "tiny", {"files": ["b"]})
    assert not other.part("a").exists()


def test_a_folder_that_says_nothing_readable_starts_empty(tmp_path: Path) -> None:
    for damage in (b"", b"\xff{", b"null"):
        opened = work.open_work(tmp_path, "tiny", {"files": ["a"]})
        (opened.root / "stray").write_bytes(b"x")
        (opened.root / "about.json").write_bytes(damage)
        assert not (work.open_work(tmp_path, "tiny", {"files": ["a"]}).root / "stray").exists()
    (opened.root / "about.json").unlink()
    assert (work.open_work(tmp_path, "tiny", {"files": ["a"]}).root / "about.json").exists()


def test_scratch_folders_of_dead_pulls_go(tmp_path: Path) -> None:
    opened = work.open_work(tmp_path, "tiny", {})
    (opened.root / "scratch-1").mkdir()
    (opened.root / "scratch-1" / "half.whl").write_bytes(b"x")
    fresh = work.open_work(tmp_path, "tiny", {}).scratch()
    assert [path.name for path in opened.root.glob("scratch-*")] == [fresh.name]
    (fresh / "log").write_bytes(b"x")
    assert list(opened.scratch().iterdir()) == []


def test_parts_of_nested_files_lie_beside_each_other(tmp_path: Path) -> None:
    opened = work.Work(tmp_path)
    assert opened.part("1_Pooling/config.json").parent == opened.part("config.json").parent
    assert opened.part("1_Pooling/config.json") != opened.part("config.json")


def test_a_second_pull_waits_for_the_first(tmp_path: Path) -> None:
    """The child can enter only once the lock is free; both sides wait on pipes, nobody sleeps."""
    code = (
        "import sys; from pathlib import Path; from edged.store import work\n"
        "class Said:\n"
        "    def say(self, text): print(text, flush=True)\n"
        "    def advance(self, *_): ...\n"
        "with work.locked(Path(sys.argv[1]), Said()): print('entered', flush=True)\n"
    )
    with work.locked(tmp_path, Recorder()):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert child.stdout is not None
        assert "waiting" in child.stdout.readline()
    with child:
        assert child.stdout.readline() == "entered\n"
    assert child.returncode == 0


def test_what_is_left_of_a_finished_pull_is_forgotten_unless_a_pull_is_under_way(tmp_path: Path) -> None:
    work.forget(tmp_path, "tiny")
    opened = work.open_work(tmp_path, "tiny", {})
    with work.locked(tmp_path, Recorder()):
        work.forget(tmp_path, "tiny")
        assert opened.root.exists()
    work.forget(tmp_path, "tiny")
    assert not opened.root.exists()


def test_a_free_lock_is_taken_without_a_word(tmp_path: Path) -> None:
    progress = Recorder()
    with work.locked(tmp_path / "new" / "folder", progress):
        descriptor = os.open(tmp_path / "new" / "folder" / ".partial" / work.LOCK, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            held = True
        else:
            held = False
        finally:
            os.close(descriptor)
    assert held
    assert progress.lines == []


def test_sizes_are_measured_while_files_come_and_go(tmp_path: Path) -> None:
    assert work.folder_bytes(tmp_path / "absent") == 0
    (tmp_path / "a").write_bytes(b"x" * 8192)
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 30)
    assert 8192 <= work.folder_bytes(tmp_path) < 1 << 20
