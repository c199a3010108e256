"""Pinned pages, and advice, on a real map of a real file."""

import mmap
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.runner.mapping import Rows, advise_random, let_go, pin
from edged.runner.protocol import FileRange

MIB = 1 << 20


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[tuple[Path, mmap.mmap, bytes]]:
    path = tmp_path / "model.gguf"
    content = os.urandom(12 * MIB)
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        yield path, view, content


def _smaps(key: str, path: Path) -> int:
    """Bytes that smaps counts for the maps of a file."""
    text = Path("/proc/self/smaps").read_text()
    blocks = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    found = [re.search(rf"^{key}:\s+(\d+) kB", block, re.MULTILINE) for block in blocks if str(path) in block]
    return sum(int(match[1]) * 1024 for match in found if match)


def test_locked_pages_are_those_that_were_asked_for(mapped: tuple[Path, mmap.mmap, bytes]) -> None:
    path, view, content = mapped
    assert pin(str(path), [FileRange(0, 2 * MIB), FileRange(8 * MIB, 2 * MIB)]) == 4 * MIB
    if _may_lock(4 * MIB):
        assert _smaps("Locked", path) == 4 * MIB
    assert view[:] == content


def test_the_name_of_another_map_need_not_be_text(
    mapped: tuple[Path, mmap.mmap, bytes], tmp_path: Path
) -> None:
    path, _, _ = mapped
    other = tmp_path / os.fsdecode(b"caf\xe9")
    other.write_bytes(bytes(mmap.PAGESIZE))
    with other.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        assert pin(str(path), [FileRange(0, MIB)]) == MIB


def test_pages_that_are_let_go_are_no_longer_ours_and_still_there(
    mapped: tuple[Path, mmap.mmap, bytes],
) -> None:
    path, view, content = mapped
    assert view[:] == content
    assert _smaps("Rss", path) == 12 * MIB
    let_go(str(path), [FileRange(2 * MIB, 4 * MIB)])
    assert _smaps("Rss", path) == 8 * MIB
    assert view[:] == content


def test_without_the_right_to_lock_copies_take_their_place(tmp_path: Path) -> None:
    """In a process of its own, which gives the right up."""
    path = tmp_path / "model.gguf"
    path.write_bytes(os.urandom(12 * MIB))
    code = f"""
import ctypes, mmap, resource
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
libc = ctypes.CDLL(None)
header, drop = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capset(header, drop)
from edged.runner.mapping import pin
from edged.runner.protocol import FileRange
path = {str(path)!r}
content = open(path, "rb").read()
with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
    assert libc.mlock(content, 4096) != 0, "this process may lock after all"
    assert pin(path, [FileRange({MIB}, {6 * MIB})]) == {6 * MIB}
    assert view[:] == content
    rows = [line for line in open("/proc/self/maps") if path in line]
    covered = sum(int(b, 16) - int(a, 16) for a, b in (row.split()[0].split("-") for row in rows))
    assert covered == {6 * MIB}, rows
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_page_that_is_only_partly_wanted_is_left(mapped: tuple[Path, mmap.mmap, bytes]) -> None:
    path, _, _ = mapped
    assert pin(str(path), [FileRange(10, mmap.PAGESIZE), FileRange(12 * MIB, MIB)]) == 0


def test_advice_reaches_the_kernel(mapped: tuple[Path, mmap.mmap, bytes]) -> None:
    path, _, _ = mapped
    advise_random(str(path), [FileRange(4 * MIB, 4 * MIB)])
    text = Path("/proc/self/smaps").read_text()
    blocks = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    advised = [
        block for block in blocks if str(path) in block and re.search(r"^VmFlags:.* rr\b", block, re.M)
    ]
    begin, end = (int(part, 16) for part in advised[0].split()[0].split("-"))
    assert end - begin == 4 * MIB


def _may_lock(n_bytes: int) -> bool:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return os.geteuid() == 0 or soft in (-1, resource.RLIM_INFINITY) or soft >= n_bytes


def test_the_rows_of_tokens_are_asked_for_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, *what: asked.append(what))
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(1000))
    rows = Rows(str(path), [FileRange(100, 640)], 64)
    rows.want([[3, 40], [40]])
    willneed = os.POSIX_FADV_WILLNEED
    assert sorted(asked) == [(130, 10, willneed), (500, 10, willneed)]
    rows.want([[3, 5]])
    assert asked[2:] == [(150, 10, willneed)]


@pytest.mark.parametrize("tables", [[], [FileRange(0, 100), FileRange(200, 100)], [FileRange(0, 101)]])
def test_tables_whose_rows_cannot_be_told_are_left_alone(tables: list[FileRange]) -> None:
    Rows("/nowhere", tables, 100).want([[1]])
