import os
from pathlib import Path

from edged.store import receipt
from edged.store.owner import give
from edged.store.receipt import Receipt

_NOBODY = 65534


def _folder(tmp_path: Path) -> Path:
    """A folder of somebody else's, where this test may make one."""
    folder = tmp_path / "models"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    return folder


def test_a_file_gets_the_owner_of_the_folder(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    path = folder / "x.gguf"
    path.touch()
    give(path, folder)
    assert path.stat().st_uid == folder.stat().st_uid


def test_a_link_s_target_stays_whose_it_is(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    target = tmp_path / "mine"
    target.touch()
    (folder / "link").symlink_to(target)
    give(folder / "link", folder)
    assert target.stat().st_uid == os.geteuid()


def test_receipts_belong_to_the_owner_of_the_models(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    receipt.write(
        folder / "x.gguf", Receipt(sha256="0" * 64, size_bytes=1, mtime_ns=1, origin="x", source="a test")
    )
    for path in (folder / ".receipts", folder / ".receipts/x.gguf.json"):
        assert path.stat().st_uid == folder.stat().st_uid
