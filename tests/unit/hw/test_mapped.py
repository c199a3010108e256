"""Pages of a file in a process's page tables."""

import mmap
import os
import time
from pathlib import Path

from edged.hw.mapped import Span, mapped_bytes, spans_of

MAPS = """\
00400000-00401000 r--p 00000000 08:01 1234 /usr/bin/python3.11
7f0000000000-7f0000100000 r--s 00000000 08:01 99 /models/a b.gguf
7f0000100000-7f0000200000 r--s 00100000 08:01 99 /models/a b.gguf
7f0000300000-7f0000301000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
"""
PAGES = 8192  # the kernel maps some of the neighbours of what is touched, up to 2 MiB of them


def soon() -> float:
    return time.monotonic() + 20


def test_where_a_file_is_mapped() -> None:
    assert list(spans_of(MAPS, "/models/a b.gguf")) == [
        Span(0x7F0000000000, 0x7F0000100000),
        Span(0x7F0000100000, 0x7F0000200000),
    ]
    assert not list(spans_of(MAPS, "/models/a"))
    assert not list(spans_of("nonsense", "/models/a"))


def test_only_pages_that_were_touched_count(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(PAGES * mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        assert mapped_bytes(os.getpid(), str(path), soon()) == 0
        mapping[0] = 1
        one = mapped_bytes(os.getpid(), str(path), soon())
        assert one
        mapping[PAGES // 2 * mmap.PAGESIZE] = 1
        both = mapped_bytes(os.getpid(), str(path), soon())
        assert both is not None
        assert one < both < PAGES * mmap.PAGESIZE
        link = tmp_path / "link.gguf"
        link.symlink_to(path)
        assert mapped_bytes(os.getpid(), str(link), soon()) == both
        assert mapped_bytes(os.getpid(), str(path), time.monotonic() - 1) is None


def test_a_process_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    assert mapped_bytes(1, "/models/a", soon(), tmp_path) is None


def test_one_that_may_not_be_asked_is_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "maps").write_text(MAPS)
    assert mapped_bytes(7, "/models/a b.gguf", soon(), tmp_path) is None
    assert mapped_bytes(7, "/models/other.gguf", soon(), tmp_path) is None
