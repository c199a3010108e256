"""All checks together."""

import msgspec

from edged.doctor.examine import examine
from edged.doctor.facts import Facts, SwapDevice
from edged.hw.mounts import Mount
from tests.unit.doctor.invented import facts, installed, storage

PYTHON = "python3"


def checks(known: Facts) -> list[str]:
    return [finding.check for finding in examine(known, PYTHON)]


def test_nothing_is_wrong_on_a_good_machine() -> None:
    assert checks(facts()) == []


def test_problems_come_first_the_dearest_before_the_others() -> None:
    squashfs = Mount(device="0:1", root="/", point="/models", fs_type="squashfs", source="x")
    known = facts(
        installed(receipt="none"),
        on=storage(readahead_bytes=0, free_bytes=1),
        problems={"gone": "the file is not there"},
        lazy_available=False,
        llama=None,
        mounts={"/models": squashfs},
        swaps=(SwapDevice(name="/dev/mmcblk0p3", kind="sd", used_bytes=1 << 30, bytes_per_s=40e6),),
    )
    found = examine(known, PYTHON)
    assert {finding.check for finding in found} >= {
        "model_file",
        "lazy_map",
        "native_build",
        "receipt",
        "readahead",
        "filesystem",
        "free_space",
        "swap_device",
    }
    levels = [finding.level for finding in found]
    assert levels == sorted(levels, key=("problem", "hint", "unknown").index)
    costs_s = [finding.cost_s or 0.0 for finding in found if finding.level == "problem"]
    assert costs_s == sorted(costs_s, reverse=True)
    assert all(finding.fix for finding in found if finding.level == "problem")


def test_only_what_nobody_reads_ahead_suffers_from_readahead() -> None:
    small = storage(readahead_bytes=16 << 10)
    assert "readahead" not in checks(facts(on=small))
    assert "readahead" in checks(facts(on=small, prefetch=False))
    assert "readahead" in checks(facts(installed(strategy="lazy"), on=small))
    assert "readahead" in checks(facts(on=small, lazy_available=False))


def test_a_machine_of_which_nothing_is_known() -> None:
    blind = facts(swaps=None, on=storage(device=None, kind="unknown", sequential_bytes_per_s=None))
    memory = type(blind.snapshot.memory)()
    cpu = type(blind.snapshot.cpu)()
    snapshot = msgspec.structs.replace(blind.snapshot, memory=memory, cpu=cpu)
    found = examine(msgspec.structs.replace(blind, snapshot=snapshot), PYTHON)
    assert {finding.level for finding in found} == {"unknown"}
    assert {finding.check for finding in found} == {
        "storage_rate",
        "no_swap",
        "memory_pressure",
        "native_build",
    }
