"""Looking at this machine, whatever it is."""

from pathlib import Path

import pytest

from edged.config.schema import Config, Model, Storage
from edged.doctor.examine import examine
from edged.doctor.facts import Frequency, MemLock
from edged.doctor.gather import (
    frequency,
    gather,
    limit_of_unit,
    parse_swaps,
    parse_unit,
    with_known_rates,
)
from edged.policy.types import Measured
from tests.gguf_files import write_tiny_gguf
from tests.unit.policy.machines import machine

SWAPS = """Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/dev/mmcblk0p3                          partition\t102396\t\t1024\t\t-2
/my\\040swap                             file\t\t204796\t\t0\t\t-3
nonsense
"""


def test_swaps() -> None:
    assert list(parse_swaps(SWAPS)) == [("/dev/mmcblk0p3", 1 << 20), ("/my swap", 0)]
    assert list(parse_swaps("")) == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (
            "LoadState=loaded\nLimitMEMLOCK=8388608\nUser=edged",
            MemLock(limit_bytes=8 << 20, owner="edged.service"),
        ),
        (
            "LoadState=loaded\nLimitMEMLOCK=infinity\nUser=edged",
            MemLock(limit_bytes=None, owner="edged.service"),
        ),
        ("LoadState=loaded\nLimitMEMLOCK=8388608\nUser=", MemLock(limit_bytes=None, owner="edged.service")),
        ("LoadState=not-found\nLimitMEMLOCK=8388608\nUser=", None),
        ("LoadState=loaded\nLimitMEMLOCK=many\nUser=edged", None),
        ("", None),
    ],
)
def test_the_limit_of_the_service(shown: str, expected: MemLock | None) -> None:
    assert limit_of_unit(parse_unit(shown)) == expected


def test_frequency(tmp_path: Path) -> None:
    assert frequency(tmp_path) == Frequency()
    (tmp_path / "scaling_governor").write_text("ondemand\n")
    (tmp_path / "scaling_driver").write_text("cpufreq-dt\n")
    (tmp_path / "scaling_available_governors").write_text("ondemand schedutil \n")
    found = frequency(tmp_path)
    assert found == Frequency(governor="ondemand", driver="cpufreq-dt", available=("ondemand", "schedutil"))


def test_a_rate_that_loads_measured_stands_in_for_the_probe() -> None:
    measured = Measured(bytes_per_s={"mmcblk0": 21e6})
    (known,) = with_known_rates(machine(bytes_per_s=None), measured).storage
    assert known.sequential_bytes_per_s == 21e6
    (probed,) = with_known_rates(machine(bytes_per_s=40e6), measured).storage
    assert probed.sequential_bytes_per_s == 40e6


def test_this_machine(tmp_path: Path) -> None:
    """Best effort by field: whatever this machine hides, there are facts, and they can be examined."""
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    write_tiny_gguf(tmp_path / "absurd.gguf", metadata={"llama.attention.key_length_mla": ("str", "wide")})
    write_tiny_gguf(tmp_path / "tiny.gguf")
    config = Config(
        storage=Storage(model_dir=str(tmp_path), state_dir=str(tmp_path / "state")),
        models={name: Model(file=f"{name}.gguf") for name in ("tiny", "broken", "absurd", "gone")},
    )
    known = gather(config)
    assert set(known.problems) == {"broken", "absurd", "gone"}
    (tiny,) = known.models
    assert (tiny.plan.model, tiny.receipt, tiny.size_bytes) == (
        "tiny",
        "none",
        (tmp_path / "tiny.gguf").stat().st_size,
    )
    assert [plan.model for plan in known.unlimited] == ["tiny"]
    assert known.llama is not None
    assert known.memlock is not None
    assert known.mounts
    found = [finding for finding in examine(known, "python3") if finding.check == "model_file"]
    assert len(found) == 3
