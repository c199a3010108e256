"""What repacking gains is measured with the real llama.cpp, kept, and used by the next plan."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.config.schema import Config, Model, Storage
from edged.hw.cpu import cpu_facts
from edged.lifecycle.calibration import Calibration
from edged.lifecycle.planner import Planned, plan_models
from edged.lifecycle.record import Record
from edged.lifecycle.repack_gain import GainMeter, Work
from edged.policy.repacking import LEAST_RATIO
from edged.policy.types import RepackGain
from tests.quantized import cached_q4_0

_PATIENCE_S = 120.0


@pytest.fixture(name="lease_fd")
def _lease_fd() -> Iterator[int]:
    descriptor = os.memfd_create("lease")
    yield descriptor
    os.close(descriptor)


@pytest.fixture(autouse=True)
def _other_work_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.lifecycle.repack_gain._BUSY_PERCENT", 101.0)


def test_the_next_plan_knows_what_repacking_gains_on_this_cpu(
    models: Path, tmp_path: Path, lease_fd: int
) -> None:
    if not {"avx2", "asimddp", "i8mm"} & set(cpu_facts().instruction_sets):
        pytest.skip("llama.cpp repacks nothing on this CPU")
    file = cached_q4_0(models / "smollm2.gguf")
    config = Config(storage=Storage(model_dir=str(file.parent)), models={"m": Model(file=file.name)})

    def planned() -> Planned:
        return plan_models(config, Calibration.load(tmp_path / "calibration.json").measured())

    before = planned()
    assert "Q4_0" in before.repack_gains_wanted.values()
    assert "not yet measured on this CPU" in "\n".join(before.plans[0].reasons)

    record, told = Record(Calibration(tmp_path / "calibration.json")), threading.Semaphore(0)

    def keep(key: str, gain: RepackGain) -> None:
        record.repack_gain(key, gain)
        told.release()

    meter = GainMeter(keep, quiet_s=0.01)
    meter.begin(
        Work(
            weight_types=before.repack_gains_wanted,
            n_threads=before.plans[0].n_threads,
            lease_fd=lease_fd,
            is_idle=lambda: True,
        )
    )
    for _ in before.repack_gains_wanted:
        assert told.acquire(timeout=_PATIENCE_S)
    meter.close()
    record.close()

    after = planned()
    assert after.repack_gains_wanted == {}
    (plan,) = after.plans
    said = next(reason for reason in plan.reasons if reason.startswith("repack "))
    assert ", measured on this CPU)" in said
    ratio = float(said.split("prompt speed x")[1].split()[0])
    if ratio >= LEAST_RATIO + 0.01 and plan.strategy == "warm":
        assert plan.repack
    assert 0.1 < ratio < 20
