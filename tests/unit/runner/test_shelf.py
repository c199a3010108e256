"""Prefixes over a restart: only what is whole, ours and worth reading."""

import os
import resource
import time
from pathlib import Path

import pytest

from edged.runner.engine.pace import Pace
from edged.runner.protocol import Start
from edged.runner.shelf import Rates, Shelf, put_away, rates_of

TOKENS = list(range(100))


class FakeCells:
    """A sequence's cells are its number, as many times as there is room for."""

    def __init__(self, size_bytes: int = 5000) -> None:
        self.size_bytes = size_bytes
        self.restored: dict[int, bytes] = {}
        self.fits = True

    def save(self, sequence: int) -> bytes:
        return bytes([sequence]) * self.size_bytes

    def restore(self, sequence: int, cells: memoryview) -> bool:
        self.restored[sequence] = bytes(cells)
        return self.fits


def _shelf(folder: Path, cells: FakeCells, key: str = "model", limit_bytes: int = 1 << 20) -> Shelf:
    return Shelf(folder / "shelf", limit_bytes, key, cells, Rates(Pace(0.1, 4)))


def _soon() -> float:
    return time.monotonic() + 30


def test_a_prefix_is_there_after_a_restart(tmp_path: Path) -> None:
    assert _shelf(tmp_path, FakeCells()).keep(3, TOKENS, _soon())
    cells = FakeCells()
    assert _shelf(tmp_path, cells).restore(1, [*TOKENS, 7, 8], 0) == TOKENS
    assert cells.restored == {1: bytes([3]) * 5000}
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "shelf").iterdir()] == [0o600]


def test_a_prefix_that_saves_too_little_stays_where_it_is(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, FakeCells())
    shelf.keep(0, TOKENS, _soon())
    assert shelf.restore(1, [*TOKENS, 7], 90) is None
    assert shelf.restore(1, [500, *TOKENS], 0) is None
    pace = Pace(0.1, 4)
    pace.measured(0, 1000, 0.001)  # computing is quicker than reading here
    for read_bytes_per_s, pays in ((40e6, False), (5e9, True)):
        rates = Rates(pace, read_bytes_per_s)
        there = Shelf(tmp_path / "shelf", 1 << 20, "model", FakeCells(), rates).restore(1, [*TOKENS, 7], 0)
        assert (there is not None) == pays


@pytest.mark.parametrize("at", [0, 9, 300, -1])
def test_a_flipped_byte_is_noticed_and_the_file_removed(tmp_path: Path, at: int) -> None:
    _shelf(tmp_path, FakeCells()).keep(3, TOKENS, _soon())
    (path,) = (tmp_path / "shelf").iterdir()
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(content)
    cells = FakeCells()
    assert _shelf(tmp_path, cells).restore(1, [*TOKENS, 7], 0) is None
    assert cells.restored == {}
    assert not path.exists()


@pytest.mark.parametrize("n_bytes", [0, 5, 44, 200, 5000])
def test_a_file_cut_short_is_removed(tmp_path: Path, n_bytes: int) -> None:
    _shelf(tmp_path, FakeCells()).keep(3, TOKENS, _soon())
    (path,) = (tmp_path / "shelf").iterdir()
    path.write_bytes(path.read_bytes()[:n_bytes])
    cells = FakeCells()
    assert _shelf(tmp_path, cells).restore(1, [*TOKENS, 7], 0) is None
    assert cells.restored == {}
    assert not path.exists()


def test_files_of_other_models_and_leftovers_are_removed(tmp_path: Path) -> None:
    _shelf(tmp_path, FakeCells()).keep(3, TOKENS, _soon())
    (tmp_path / "shelf" / "abc.part").write_bytes(b"half")
    assert _shelf(tmp_path, FakeCells(), key="other").restore(1, [*TOKENS, 7], 0) is None
    assert list((tmp_path / "shelf").iterdir()) == []


def test_cells_that_llama_cpp_refuses_leave_an_empty_slot(tmp_path: Path) -> None:
    cells = FakeCells()
    shelf = _shelf(tmp_path, cells)
    shelf.keep(3, TOKENS, _soon())
    cells.fits = False
    assert shelf.restore(1, [*TOKENS, 7], 0) == []
    assert list((tmp_path / "shelf").iterdir()) == []


def test_the_folder_stays_within_its_bound_and_the_oldest_go_first(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, FakeCells(), limit_bytes=12_000)
    for number in range(4):
        assert shelf.keep(number, [number * 1000 + token for token in TOKENS], _soon())
    assert sum(path.stat().st_size for path in (tmp_path / "shelf").iterdir()) <= 12_000
    assert shelf.restore(0, [3000 + token for token in range(101)], 0) is not None
    assert shelf.restore(0, list(range(101)), 0) is None
    assert shelf.keep(9, [9] * 9000, _soon()), "larger than the bound: left out"
    assert shelf.restore(0, [9] * 9001, 0) is None


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, FakeCells())
    shelf.keep(0, TOKENS, _soon())
    shelf.keep(1, TOKENS[:50], _soon())
    assert len(list((tmp_path / "shelf").iterdir())) == 1


def test_writing_ends_with_its_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, FakeCells())
    put_away(shelf, [(0, TOKENS), (1, [5] * 60)], lambda _slot, n_tokens: n_tokens, save_s=-1.0)
    assert list((tmp_path / "shelf").iterdir()) == []


def test_only_what_the_slot_still_holds_is_put_away(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, FakeCells())
    put_away(shelf, [(0, TOKENS), (1, [5] * 60), (2, [6] * 8)], lambda slot, n: n if slot else 0)
    assert shelf.restore(4, [5] * 61, 0) == [5] * 60
    assert len(list((tmp_path / "shelf").iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_told_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shelf").write_text("a file")
    assert not _shelf(tmp_path, FakeCells()).keep(0, TOKENS, _soon())
    assert "cannot be kept" in capsys.readouterr().err


def test_what_is_no_file_of_ours_is_neither_read_nor_left(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    os.mkfifo(folder / "pipe.kv")  # opening it would wait for ever
    (folder / "link.kv").symlink_to("/dev/zero")
    (folder / "empty.kv").touch()
    with (folder / "huge.kv").open("wb") as huge:
        huge.write(b"EDGEDKV1")
        huge.truncate(1 << 40)
    assert _shelf(tmp_path, FakeCells()).restore(0, [*TOKENS, 7], 0) is None
    assert list(folder.iterdir()) == []


def test_a_smaller_bound_holds_at_once(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, FakeCells())
    for number in range(3):
        shelf.keep(number, [number * 1000 + token for token in TOKENS], _soon())
    _shelf(tmp_path, FakeCells(), limit_bytes=12_000)
    assert len(list((tmp_path / "shelf").iterdir())) == 2


def test_a_full_disk_is_told_and_leaves_no_half_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = _shelf(tmp_path, FakeCells())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        assert not shelf.keep(0, TOKENS, _soon())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be kept" in capsys.readouterr().err
    assert list((tmp_path / "shelf").iterdir()) == []
    assert shelf.keep(0, TOKENS, _soon())


def test_two_processes_on_one_folder_lose_prefixes_at_most(tmp_path: Path) -> None:
    one = _shelf(tmp_path, FakeCells())
    one.keep(0, TOKENS, _soon())
    _shelf(tmp_path, FakeCells(), key="other settings")  # removes what is not its own
    assert one.restore(1, [*TOKENS, 7], 0) is None
    assert one.keep(0, TOKENS, _soon())
    assert one.restore(1, [*TOKENS, 7], 0) == TOKENS


def test_cells_that_are_not_there_yet_are_not_kept(tmp_path: Path) -> None:
    assert _shelf(tmp_path, FakeCells(size_bytes=0)).keep(0, TOKENS, _soon())
    assert not (tmp_path / "shelf").exists()


def test_the_rate_of_the_models_storage_counts_on_the_same_device_only(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()

    def rate(path: str, measured: float | None) -> float:
        start = Start(
            path=path, kind="generate", wait_for_prefetch=False, warmup=False, repack=False, n_ctx=1,
            n_seq_max=1, n_batch=1, n_ubatch=1, type_k="f16", type_v="f16", n_threads=1, prefetch=(),
            random_access=(), mlock_bytes=0, max_queue_tokens=1, max_queue_requests=1,
            read_bytes_per_s=measured,
            prefix_dir=str(tmp_path / "state" / "prefixes" / "m"),
        )  # fmt: skip
        return rates_of(start, Pace(0.1, 4)).read_bytes_per_s

    assert rate(str(tmp_path / "m.gguf"), 9e9) == 9e9
    assumed = rate(str(tmp_path / "m.gguf"), None)
    assert assumed < 1e9
    assert rate("/proc/self/status", 9e9) == rate(str(tmp_path / "gone.gguf"), 9e9) == assumed
