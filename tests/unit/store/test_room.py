from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store import room


def test_too_little_memory_names_both_sizes_and_the_way_out() -> None:
    with pytest.raises(PullError) as caught:
        room.check_memory("gemma3-270m", 500_000_000, 300_000_000, force=False)
    assert str(caught.value) == (
        "gemma3-270m needs about 0.5 GB of memory, this machine has 0.3 GB: pull anyway with --force"
    )


def test_sizes_that_would_look_the_same_get_more_digits() -> None:
    with pytest.raises(PullError, match=r"about 0\.52 GB of memory, this machine has 0\.51 GB"):
        room.check_memory("tiny", 520_000_000, 510_000_000, force=False)


def test_enough_unknown_or_forced_memory_passes() -> None:
    room.check_memory("tiny", 500, 500, force=False)
    room.check_memory("tiny", 500, None, force=False)
    room.check_memory("tiny", 500, 1, force=True)


def test_too_little_disk_names_the_folder(tmp_path: Path) -> None:
    room.check_disk("tiny", tmp_path, 1)
    with pytest.raises(PullError, match=rf"tiny needs 1000000000\.0 GB of disk, {tmp_path} has"):
        room.check_disk("tiny", tmp_path, 10**18)
