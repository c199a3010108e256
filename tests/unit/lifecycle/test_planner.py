"""Planning for files that lie on this machine."""

from pathlib import Path

import pytest

from edged.config.schema import Config, Model, Storage
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle.planner import plan_models
from edged.lifecycle.spares import Ahead
from edged.policy.types import Measured
from tests.gguf_files import Value, write_tiny_gguf


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.attention.key_length_mla", ("str", "wide")),
        ("llama.expert_used_count", ("u32", 1 << 31)),
    ],
)
def test_a_file_that_makes_no_sense_does_not_spoil_the_other_plans(
    tmp_path: Path, key: str, value: Value
) -> None:
    write_tiny_gguf(tmp_path / "bad.gguf", metadata={key: value})
    write_tiny_gguf(tmp_path / "good.gguf")
    config = Config(
        storage=Storage(model_dir=str(tmp_path)),
        models={name: Model(file=f"{name}.gguf") for name in ("bad", "good")},
    )
    planned = plan_models(config, Measured())
    assert [plan.model for plan in planned.plans] == ["good"]
    assert key in planned.problems["bad"]


def test_what_a_runner_started_ahead_does_while_the_storage_is_measured_is_not_waited_for(
    tmp_path: Path,
) -> None:
    write_tiny_gguf(tmp_path / "m.gguf")
    config = Config(storage=Storage(model_dir=str(tmp_path)), models={"m": Model(file="m.gguf")})
    memory = MemoryFacts(available_bytes=1 << 31)
    measured = Measured(spawn_s=60.0)
    alone, ahead = (plan_models(config, measured, each) for each in (None, Ahead(memory=memory)))
    assert ahead.snapshot.memory == memory
    alone_s, ahead_s = (planned.plans[0].predicted.ready_s for planned in (alone, ahead))
    assert alone_s is not None
    assert ahead_s is not None
    assert alone_s - ahead_s == pytest.approx(ahead.snapshot.probe_s, abs=0.01)
