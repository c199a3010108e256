"""What the installation and the files cost."""

import pytest

from edged.doctor.files import lazy_map, receipt, unusable
from tests.unit.doctor.invented import SIZE_BYTES, facts, installed, storage


def test_without_the_lazy_map_whole_files_are_read_first() -> None:
    found = lazy_map(facts(lazy_available=False))
    assert found is not None
    assert found.cost_s == pytest.approx(SIZE_BYTES / 40e6)
    assert found.fix == ("sudo apt-get install gcc python3-dev && ./install.sh run",)
    assert lazy_map(facts()) is None
    unknown = lazy_map(facts(lazy_available=False, on=storage(sequential_bytes_per_s=None)))
    assert unknown is not None
    assert unknown.cost.startswith("unknown: 93.5 MiB")


def test_a_file_that_changed_is_hashed_first() -> None:
    found = receipt(installed(receipt="changed", origin="smollm2"), 40e6)
    assert found is not None
    assert found.cost_s == pytest.approx(SIZE_BYTES / 40e6)
    assert found.fix == ("edged models --verify", "edged pull --force smollm2")
    unknown = receipt(installed(receipt="changed", origin="/models/smollm2.gguf"), None)
    assert unknown is not None
    assert unknown.cost.startswith("unknown")
    assert unknown.fix == ("edged models --verify",)  # pulling it from itself would bless the damage


def test_a_file_that_nobody_pulled_is_a_hint() -> None:
    found = receipt(installed(receipt="none"), 40e6)
    assert found is not None
    assert found.level == "hint"
    assert found.fix == ("edged pull --force --name smollm2 /models/smollm2.gguf",)
    assert receipt(installed(), 40e6) is None


def test_files_that_cannot_be_loaded() -> None:
    (found,) = unusable([("gone", "the file is not there")])
    assert found.what == "gone: the file is not there"
    assert found.fix == ("edged pull --force gone",)
