import os
import subprocess
import sys
from pathlib import Path

from edged.store import receipt
from edged.store.receipt import Receipt
from tests.unit.store.samples import sha256

_CONTENT = b"weights" * 1000


def _pulled(folder: Path) -> Path:
    path = folder / "tiny.gguf"
    path.write_bytes(_CONTENT)
    facts = path.stat()
    receipt.write(
        path,
        Receipt(
            sha256=sha256(_CONTENT),
            size_bytes=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            origin="tiny",
            source="a test",
        ),
    )
    return path


def test_an_untouched_file_is_ok(tmp_path: Path) -> None:
    path = _pulled(tmp_path)
    assert not receipt.changed_since_pull(path)
    heard: list[int] = []
    assert receipt.verify(path, heard.append).status == "ok"
    assert heard[-1] == len(_CONTENT)


def test_a_flipped_bit_shows_in_the_hash_alone(tmp_path: Path) -> None:
    path = _pulled(tmp_path)
    facts = path.stat()
    with path.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\x00")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert not receipt.changed_since_pull(path)
    result = receipt.verify(path)
    assert result.status == "changed"
    assert sha256(_CONTENT) in result.reason


def test_a_truncated_or_rewritten_file_shows_at_once(tmp_path: Path) -> None:
    path = _pulled(tmp_path)
    os.truncate(path, 10)
    assert receipt.changed_since_pull(path)
    path = _pulled(tmp_path)
    os.utime(path, ns=(1, 1))
    assert receipt.changed_since_pull(path)


def test_a_file_that_is_gone_has_changed(tmp_path: Path) -> None:
    path = _pulled(tmp_path)
    path.unlink()
    assert receipt.changed_since_pull(path)
    assert receipt.verify(path).status == "missing"


def test_nothing_is_claimed_without_a_readable_receipt(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(_CONTENT)
    assert not receipt.changed_since_pull(path)
    assert receipt.verify(path).status == "no_receipt"
    path = _pulled(tmp_path)
    (tmp_path / ".receipts" / "tiny.gguf.json").write_bytes(b'{"sha256": ')
    assert receipt.read(path) is None
    assert not receipt.changed_since_pull(path)


def test_a_receipt_can_be_read_by_the_service_user(tmp_path: Path) -> None:
    _pulled(tmp_path)
    stored = tmp_path / ".receipts" / "tiny.gguf.json"
    assert stored.stat().st_mode & 0o777 == 0o644
    assert list((tmp_path / ".receipts").iterdir()) == [stored]


def test_importing_it_is_light_enough_for_the_daemon() -> None:
    heavy = ("numpy", "rich", "huggingface_hub", "urllib.request", "zipfile", "gguf", "llama_cpp")
    code = f"import sys, edged.store.receipt; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert run.stdout.strip() == "[]"
