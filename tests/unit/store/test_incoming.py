from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store.catalog import Artifact
from edged.store.incoming import Incoming, WrongContent
from tests.unit.store.samples import sha256

_CONTENT = bytes(range(256)) * 8
_PINNED = Artifact(name="model", size_bytes=len(_CONTENT), sha256=sha256(_CONTENT))


def test_nothing_is_in_place_before_it_is_delivered(tmp_path: Path) -> None:
    with Incoming(tmp_path / "parts" / "model.part", _PINNED) as incoming:
        incoming.write(_CONTENT)
        assert not (tmp_path / "model").exists()
        assert incoming.deliver(tmp_path / "model") == _PINNED.sha256
    assert (tmp_path / "model").read_bytes() == _CONTENT
    assert not (tmp_path / "parts" / "model.part").exists()


@pytest.mark.parametrize("kept", [0, 1, 255, 2047, 2048])
def test_going_on_from_kept_bytes_gives_the_same_file(tmp_path: Path, kept: int) -> None:
    part = tmp_path / "model.part"
    part.write_bytes(_CONTENT[:kept] + b"garbage written before the power went")
    with Incoming(part, _PINNED, keep_bytes=kept) as incoming:
        assert incoming.received_bytes == kept
        incoming.write(_CONTENT[kept:])
        incoming.deliver(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == _CONTENT


def test_a_part_shorter_than_said_is_not_padded(tmp_path: Path) -> None:
    part = tmp_path / "model.part"
    part.write_bytes(_CONTENT[:10])
    with Incoming(part, _PINNED, keep_bytes=100) as incoming:
        assert incoming.received_bytes == 10


def _receive(part: Path, content: bytes) -> None:
    with Incoming(part, _PINNED) as incoming:
        incoming.write(content)
        incoming.deliver(part.with_suffix(""))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (_CONTENT[:-1], "2047 bytes, expected 2048"),
        (_CONTENT + b"x", "larger than the 2048"),
        (_CONTENT[:-1] + b"x", "sha256"),
    ],
)
def test_wrong_content_is_thrown_away(tmp_path: Path, content: bytes, complaint: str) -> None:
    part = tmp_path / "model.part"
    with pytest.raises(WrongContent, match=complaint):
        _receive(part, content)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so() -> None:
    with (
        pytest.raises(PullError, match="the disk is full"),
        Incoming(Path("/dev/full"), Artifact(name="model")) as incoming,
    ):
        incoming.write(b"x")
